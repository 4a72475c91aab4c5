"""Whose run it is: a signed label that Prefect keeps with the flow run."""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from prefect.client.schemas.objects import FlowRun

from kodosumi_prefect.keys import NoKeyError, run_keys
from kodosumi_prefect.settings import Settings, get_settings
from kodosumi_prefect.vocabulary import OWNER_LABEL

DIGEST = "sha256"
BY_SCHEDULE = "SCHEDULE"  # the creator that Prefect's server sets on a scheduled run


class Owner(NamedTuple):
    """Who launched a run.

    Attributes:
        user: id of the account, a row of ``role``.
        name: what it signs in with.
    """

    user: str
    name: str


def signed(owner: Owner, launch: str, settings: Settings) -> str:
    """The label's value: who launched what, so that nobody can write it without our key.

    Arguments:
        launch: the launch's random id, which is also the run's idempotency key: a label that is
            copied to another run is not valid there.

    Raises:
        NoKeyError: there is no secret to sign with.
    """
    signed = _encoded(json.dumps([owner.user, owner.name, launch]).encode())
    return f"{signed}.{_encoded(_mac(signed, run_keys(settings).labels[0]))}"


def verified(labels: Mapping[str, Any], launch: str | None, settings: Settings) -> Owner | None:
    """The owner that a run's labels name; None without a label, or with one that is not genuine.

    Arguments:
        launch: the run's idempotency key.
    """
    signed, _, mac = str(labels.get(OWNER_LABEL) or "").partition(".")
    if not signed or launch is None:
        return None
    try:
        genuine = [_encoded(_mac(signed, key)) for key in run_keys(settings).labels]
        if not any(hmac.compare_digest(one.encode(), mac.encode()) for one in genuine):
            return None
        user, name, bound = json.loads(base64.urlsafe_b64decode(signed + "=" * (-len(signed) % 4)))
    except (NoKeyError, ValueError):
        return None
    return Owner(user, name) if bound == launch else None


def owner_of(flow_run: FlowRun) -> Owner | None:
    """The owner of a flow run, if its label is genuine."""
    return verified(flow_run.labels or {}, flow_run.idempotency_key, get_settings())


def schedule_of(flow_run: FlowRun) -> str | None:
    """The id of the deployment schedule that a run comes from; set by the server, not the client.

    Who made the schedule is in table ``schedule``.
    """
    creator = flow_run.created_by
    if creator is None or creator.type != BY_SCHEDULE or creator.id is None:
        return None
    return str(creator.id)


def _mac(signed: str, key: bytes) -> bytes:
    return hmac.digest(key, signed.encode(), DIGEST)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
