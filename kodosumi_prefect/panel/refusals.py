"""Why the panel does not do something; ``web.errors`` knows which HTTP status each kind has."""


class RefusedError(Exception):
    """What was requested is not done.

    Arguments:
        detail: one line that names the thing, the value and the way out.

    Attributes:
        retry_after: seconds after which it may be requested again; None if that makes no
            difference.
    """

    retry_after: float | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


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


class TooManyError(RefusedError):
    """Too many requests of this kind."""


class UpstreamError(RefusedError):
    """Prefect or a service does not answer, or answers with a failure."""


class UnavailableError(RefusedError):
    """Something that the panel needs for this is not there."""
