"""What can be told, by the names that events and webhooks have for it."""

from enum import StrEnum

PREFIX = "kodosumi."


class TellKind(StrEnum):
    """A kind, with what people read; outside it is named with ``PREFIX`` before it."""

    words: str

    def __new__(cls, value: str, words: str) -> "TellKind":
        self = str.__new__(cls, value)
        self._value_ = value
        self.words = words
        return self

    LOCK_OPENED = "lock.opened", "A run asks a question"
    LOCK_REMINDED = "lock.reminded", "Somebody was reminded of a question"
    LOCK_ANSWERED = "lock.answered", "A question was answered"
    LOCK_EXPIRED = "lock.expired", "A question's time is up"
    FINISHED = "execution.finished", "A run finished"
    FAILED = "execution.failed", "A run failed"
    CRASHED = "execution.crashed", "A run crashed"
    CANCELLED = "execution.cancelled", "A run was cancelled"
    SILENT = "execution.silent", "A schedule is silent"
    OVER_BUDGET = "execution.over-budget", "A run's budget is spent"

    @property
    def full(self) -> str:
        """As Prefect and receivers of webhooks know it."""
        return PREFIX + self.value
