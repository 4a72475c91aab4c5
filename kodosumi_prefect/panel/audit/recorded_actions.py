"""What is recorded: every action, in one place. A new one is one line here and one in ``rules``."""

from enum import StrEnum


class Action(StrEnum):
    """Something that somebody requests, with a short label; see ``Outcome``."""

    words: str

    def __new__(cls, value: str, words: str) -> "Action":
        self = str.__new__(cls, value)
        self._value_ = value
        self.words = words
        return self

    SIGN_IN = "sign_in", "Sign in with a password"
    SIGN_OUT = "sign_out", "Sign out"
    LAUNCH = "launch", "Launch an execution"
    RUN_AGAIN = "run_again", "Run an execution again"
    CANCEL = "cancel", "Cancel an execution"
    RETRY = "retry", "Retry an execution"
    ARCHIVE = "archive", "Archive an execution"
    CONTENTS_READ = "contents_read", "Read another account's execution"
    RUN_TOKEN = "run_token", "Make a token of an execution"
    LOCK_ASKED = "lock_asked", "Ask people a question of a run"
    LOCK_REMINDED = "lock_reminded", "Remind people of a question"
    LOCK_ESCALATED = "lock_escalated", "Ask others a question too"
    LOCK_ANSWER = "lock_answer", "Answer a question of a run"
    LOCK_DELEGATE = "lock_delegate", "Hand a question on"
    LINK_CREATE = "link_create", "Make a link to answer with"
    FILE_ADD = "file_add", "Add files to an execution"
    FILE_DOWNLOAD = "file_download", "Download a file"
    FILE_DELETE = "file_delete", "Delete files of an execution"
    SCHEDULE_CREATE = "schedule_create", "Create a schedule"
    SCHEDULE_PAUSE = "schedule_pause", "Pause a schedule"
    SCHEDULE_RESUME = "schedule_resume", "Resume a schedule"
    SCHEDULE_DELETE = "schedule_delete", "Delete a schedule"
    ACCOUNT_CREATE = "account_create", "Create an account"
    ACCOUNT_CHANGE = "account_change", "Change an account's name or email"
    ACCOUNT_PASSWORD = "account_password", "Set an account's password"
    ACCOUNT_OPERATOR = "account_operator", "Make an account an operator, or take that back"
    ACCOUNT_DISABLE = "account_disable", "Disable an account"
    ACCOUNT_ENABLE = "account_enable", "Enable an account"
    ACCOUNT_DELETE = "account_delete", "Delete an account"
    TEAM_CREATE = "team_create", "Create a team"
    TEAM_CHANGE = "team_change", "Change a team"
    TEAM_DELETE = "team_delete", "Delete a team"
    OWNER_EXPORT = "owner_export", "Export all that is kept of an account"
    OWNER_ERASE = "owner_erase", "Erase all that is kept of an account"
    KEY_CREATE = "key_create", "Create an API key"
    KEY_REVOKE = "key_revoke", "Revoke an API key"
    SOURCE_REGISTER = "source_register", "Register a source of endpoints"
    SOURCE_UNREGISTER = "source_unregister", "Unregister a source of endpoints"
    SOURCE_REFRESH = "source_refresh", "Read sources of endpoints"
    PREFECT_PASSWORD = "prefect_password", "See the password of Prefect's server"
    AUDIT_EXPORT = "audit_export", "Export the audit"
    BUDGET_SET = "budget_set", "Set a budget"
    BUDGET_REMOVE = "budget_remove", "Remove a budget"
    WEBHOOK_CREATE = "webhook_create", "Make a webhook"
    WEBHOOK_CHANGE = "webhook_change", "Change, pause or resume a webhook"
    WEBHOOK_ROTATE = "webhook_rotate", "Give a webhook a new secret"
    WEBHOOK_DELETE = "webhook_delete", "Delete a webhook"
    WEBHOOK_SEND_AGAIN = "webhook_send_again", "Send again what was set aside of a webhook"
    CLEAN = "clean", "Delete what is past its retention"


class Outcome(StrEnum):
    """Its outcome: ``refused`` by a rule or for its input, ``failed`` if something is away."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"

    @staticmethod
    def of_status(code: int) -> "Outcome":
        """The outcome that an HTTP status stands for."""
        if code < 400:
            return Outcome.OK
        return Outcome.REFUSED if code < 500 else Outcome.FAILED
