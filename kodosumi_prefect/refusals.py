"""Why something is not done; ``http.statuses`` knows which HTTP status each kind has."""


class RefusedError(Exception):
    """What was requested is not done.

    Arguments:
        detail: one line that names the thing, the value and the way out.
        retry_after: seconds after which it may be requested again; None if that makes no
            difference.
    """

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class UnidentifiedError(RefusedError):
    """It is not known who requests it."""


class ForbiddenError(RefusedError):
    """This account may not do it."""


class NotFoundError(RefusedError):
    """The thing does not exist, or this account may not see it."""


class ConflictError(RefusedError):
    """The thing is not in a state in which this can be done."""


class InvalidError(RefusedError):
    """What was sent is not usable."""


class MalformedError(RefusedError):
    """What was sent cannot be read at all."""


class UnsupportedError(RefusedError):
    """What was sent is written in a way that is not read here."""


class OversizedError(RefusedError):
    """What was sent is larger than what is read."""


class TooManyError(RefusedError):
    """Too many requests of this kind."""


class FaultyError(RefusedError):
    """The service that was asked is wrong itself."""


class UpstreamError(RefusedError):
    """Prefect or a service does not answer, or answers with a failure."""


class UnavailableError(RefusedError):
    """Something that is needed for this is not there."""


class LateError(RefusedError):
    """A service does not answer in time."""
