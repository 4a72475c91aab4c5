"""Which action each operation of the panel is. A test holds this against the panel's routes."""

from typing import NamedTuple

from kodosumi_prefect.panel.audit.recorded_actions import Action


class Rule(NamedTuple):
    """What is recorded of an operation.

    Attributes:
        actions: what its handler may record; the first is recorded if the handler records nothing.
        kind: of what it is done to.
        parameter: of the path, which holds its id.
        silent: only what the handler records is stored.
    """

    actions: tuple[Action, ...]
    kind: str | None = None
    parameter: str | None = None
    silent: bool = False


def _of(kind: str, parameter: str | None, *actions: Action) -> Rule:
    return Rule(actions, kind, parameter)


_ACCOUNT = (
    Action.ACCOUNT_CHANGE,
    Action.ACCOUNT_PASSWORD,
    Action.ACCOUNT_OPERATOR,
    Action.ACCOUNT_DISABLE,
    Action.ACCOUNT_ENABLE,
)
_LAUNCH = (Action.LAUNCH, Action.SCHEDULE_CREATE)

# By method and path, as the routes have them.
RULES: dict[str, Rule] = {
    "POST /login": Rule((Action.SIGN_IN,), silent=True),
    "POST /api/login": Rule((Action.SIGN_IN,), silent=True),
    "GET /logout": Rule((Action.SIGN_OUT,)),
    "POST /logout": Rule((Action.SIGN_OUT,)),
    "POST /keys": _of("key", None, Action.KEY_CREATE),
    "DELETE /keys/{id}": _of("key", "id", Action.KEY_REVOKE),
    "POST /account/keys": _of("key", None, Action.KEY_CREATE),
    "POST /account/keys/{id}/revoke": _of("key", "id", Action.KEY_REVOKE),
    "POST /account/password": _of("account", None, Action.ACCOUNT_PASSWORD),
    "POST /role": _of("account", None, Action.ACCOUNT_CREATE),
    "PUT /role/{id}": _of("account", "id", *_ACCOUNT),
    "DELETE /role/{id}": _of("account", "id", Action.ACCOUNT_DELETE),
    "POST /users": _of("account", None, Action.ACCOUNT_CREATE),
    "POST /users/{id}": _of("account", "id", *_ACCOUNT),
    "POST /users/{id}/password": _of("account", "id", Action.ACCOUNT_PASSWORD),
    "POST /users/{id}/delete": _of("account", "id", Action.ACCOUNT_DELETE),
    "POST /team": _of("team", None, Action.TEAM_CREATE),
    "PUT /team/{name}": _of("team", "name", Action.TEAM_CHANGE),
    "DELETE /team/{name}": _of("team", "name", Action.TEAM_DELETE),
    "POST /teams": _of("team", None, Action.TEAM_CREATE),
    "POST /teams/{name}": _of("team", "name", Action.TEAM_CHANGE),
    "POST /teams/{name}/delete": _of("team", "name", Action.TEAM_DELETE),
    "POST /-/{address:path}": _of("endpoint", "address", *_LAUNCH),
    "PUT /-/{address:path}": _of("endpoint", "address", *_LAUNCH),
    "PATCH /-/{address:path}": _of("endpoint", "address", *_LAUNCH),
    "DELETE /-/{address:path}": _of("endpoint", "address", *_LAUNCH),
    "POST /services/{uid}": _of("endpoint", "uid", Action.LAUNCH, Action.RUN_AGAIN),
    "POST /inputs/-/{address:path}": _of("endpoint", "address", Action.LAUNCH, Action.RUN_AGAIN),
    "POST /services/{uid}/schedule": _of("endpoint", "uid", Action.SCHEDULE_CREATE),
    "POST /outputs/{fid}/cancel": _of("execution", "fid", Action.CANCEL),
    "POST /outputs/{fid}/retry": _of("execution", "fid", Action.RETRY),
    "POST /outputs/{fid}/token": _of("execution", "fid", Action.RUN_TOKEN),
    "DELETE /outputs/{fid}": _of("execution", "fid", Action.ARCHIVE),
    "DELETE /outputs": _of("execution", None, Action.ARCHIVE),
    "POST /executions/{fid}/cancel": _of("execution", "fid", Action.CANCEL),
    "POST /executions/{fid}/retry": _of("execution", "fid", Action.RETRY),
    "POST /executions/{fid}/archive": _of("execution", "fid", Action.ARCHIVE),
    "POST /executions/bulk": Rule((Action.CANCEL, Action.ARCHIVE, Action.RUN_AGAIN), silent=True),
    "POST /lock/{fid}/{lid}": _of("lock", "lid", Action.LOCK_ANSWER),
    "POST /waiting/{fid}/{lid}": _of("lock", "lid", Action.LOCK_ANSWER),
    "POST /lock/{fid}/{lid}/links": _of("lock", "lid", Action.LINK_CREATE),
    "POST /waiting/{fid}/{lid}/links": _of("lock", "lid", Action.LINK_CREATE),
    "POST /answer/{token}": Rule((Action.LOCK_ANSWER,), silent=True),
    "POST /lock/{fid}/{lid}/delegate": _of("lock", "lid", Action.LOCK_DELEGATE),
    "POST /waiting/{fid}/{lid}/delegate": _of("lock", "lid", Action.LOCK_DELEGATE),
    "POST /inputs/lock/{fid}/{lid}": _of("lock", "lid", Action.LOCK_ANSWER),
    "POST /schedules/{schedule_id}/pause": _of("schedule", "schedule_id", Action.SCHEDULE_PAUSE),
    "POST /schedules/{schedule_id}/resume": _of("schedule", "schedule_id", Action.SCHEDULE_RESUME),
    "DELETE /schedules/{schedule_id}": _of("schedule", "schedule_id", Action.SCHEDULE_DELETE),
    "POST /schedules/change": Rule(
        (Action.SCHEDULE_PAUSE, Action.SCHEDULE_RESUME, Action.SCHEDULE_DELETE), silent=True
    ),
    "POST /files/complete/{direction}": Rule((Action.FILE_ADD,), silent=True),
    "POST /files/complete/{fid}/{batch_id}/{direction}": _of("execution", "fid", Action.FILE_ADD),
    "GET /files/{fid}/{direction}/{path:path}": _of("file", "path", Action.FILE_DOWNLOAD),
    "POST /executions/{fid}/files.zip": _of("execution", "fid", Action.FILE_DOWNLOAD),
    "DELETE /files/{fid}/{direction}/{path:path}": _of("file", "path", Action.FILE_DELETE),
    "DELETE /files/{fid}/{direction}": _of("execution", "fid", Action.FILE_DELETE),
    "POST /flow/register": _of("source", None, Action.SOURCE_REGISTER),
    "POST /flow/unregister": _of("source", None, Action.SOURCE_UNREGISTER),
    "PUT /flow/register": _of("source", None, Action.SOURCE_REFRESH),
    "POST /system/sources": _of("source", None, Action.SOURCE_REGISTER),
    "POST /system/sources/refresh": _of("source", None, Action.SOURCE_REFRESH),
    "POST /system/sources/remove": _of("source", None, Action.SOURCE_UNREGISTER),
    "POST /budgets": _of("budget", None, Action.BUDGET_SET),
    "POST /budgets/remove": _of("budget", None, Action.BUDGET_REMOVE),
    "POST /system/prefect-password": Rule((Action.PREFECT_PASSWORD,)),
    "POST /webhooks": _of("webhook", None, Action.WEBHOOK_CREATE),
    "PUT /webhooks/{webhook_id}": _of("webhook", "webhook_id", Action.WEBHOOK_CHANGE),
    "POST /webhooks/{webhook_id}/rotate": _of("webhook", "webhook_id", Action.WEBHOOK_ROTATE),
    "POST /webhooks/{webhook_id}/send-again": _of(
        "webhook", "webhook_id", Action.WEBHOOK_SEND_AGAIN
    ),
    "POST /account/webhooks": _of("webhook", None, Action.WEBHOOK_CREATE),
    "POST /account/webhooks/{webhook_id}": _of("webhook", "webhook_id", Action.WEBHOOK_CHANGE),
    "POST /account/webhooks/{webhook_id}/rotate": _of(
        "webhook", "webhook_id", Action.WEBHOOK_ROTATE
    ),
    "POST /account/webhooks/{webhook_id}/send-again": _of(
        "webhook", "webhook_id", Action.WEBHOOK_SEND_AGAIN
    ),
    "DELETE /webhooks/{webhook_id}": _of("webhook", "webhook_id", Action.WEBHOOK_DELETE),
    "POST /account/webhooks/{webhook_id}/delete": _of(
        "webhook", "webhook_id", Action.WEBHOOK_DELETE
    ),
    "POST /account/webhooks/{webhook_id}/active": _of(
        "webhook", "webhook_id", Action.WEBHOOK_CHANGE
    ),
    "GET /audit.csv": Rule((Action.AUDIT_EXPORT,)),
    "GET /audit.jsonl": Rule((Action.AUDIT_EXPORT,)),
}

# Operations that change something and are not recorded, and why.
UNRECORDED: dict[str, str] = {
    **dict.fromkeys(
        (
            "POST /ingest",
            "POST /ingest/heartbeat",
            "POST /ingest/hello",
            "POST /ingest/standing",
        ),
        "a run records itself, with a token whose making is recorded",
    ),
    "POST /v1/traces": "says what is done in a run, and changes nothing that was said before",
    "POST /account/theme": "sets a cookie with the look that somebody likes, and nothing else",
    "POST /account/shortcuts": "sets a cookie with whether keys do anything, and nothing else",
    "POST /services/{uid}/favourite": "says in what order somebody's own list stands",
    **dict.fromkeys(
        ("POST /executions/views", "POST /executions/views/{view}/delete"),
        "keeps a filter of a list under a name, and changes no execution",
    ),
    **dict.fromkeys(
        (
            *("POST /deploy", "DELETE /deploy", "POST /deploy/{name}", "DELETE /deploy/{name}"),
            *("POST /serve", "DELETE /serve"),
        ),
        "does nothing but say that it does not",
    ),
    **dict.fromkeys(
        (
            *("POST /files/init_batch", "POST /files/init", "POST /files/chunk"),
            "DELETE /files/cancel/{upload_id}",
        ),
        "nobody but its sender has it, until it is launched with or completed",
    ),
    **dict.fromkeys(
        ("POST /run-files/{fid}/contents", "POST /run-files/{fid}/bind"),
        "a process of a run does it, whose events say so",
    ),
}
