"""Changes of an account, by kind, as operators look for them."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from kodosumi_prefect.panel.accounts.accounts import Account
from kodosumi_prefect.panel.audit.entry import Target
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.panel.audit.recording import record


def record_changes(request: Request, account: Account, wanted: Mapping[str, Any]) -> None:
    """Record what differs from an account as stored, one entry per kind of change.

    Arguments:
        wanted: fields of the account and their values, of which only names are kept.
    """
    whose = Target("account", account.id, account.name)
    now = account.public()
    fields = [name for name in ("name", "email") if name in wanted and wanted[name] != now[name]]
    password = wanted.get("password") is not None
    operator, active = wanted.get("operator"), wanted.get("active")
    if password:
        record(request, Action.ACCOUNT_PASSWORD, whose)
    if operator is not None and operator != account.operator:
        record(request, Action.ACCOUNT_OPERATOR, whose, operator=operator)
    if active is not None and active != account.active:
        record(request, Action.ACCOUNT_ENABLE if active else Action.ACCOUNT_DISABLE, whose)
    if fields:
        record(request, Action.ACCOUNT_CHANGE, whose, fields=fields)
