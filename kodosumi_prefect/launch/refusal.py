"""Why something is not launched or scheduled."""

from kodosumi_prefect.refusals import (
    ConflictError,
    FaultyError,
    InvalidError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnidentifiedError,
    UpstreamError,
)


class LaunchError(RefusedError):
    """A launch that is refused, in one line; raised as one of the kinds below.

    Arguments:
        why: names the thing, the value and the way out.
    """

    def __init__(self, why: str) -> None:
        super().__init__(" ".join(why.split()))


class UnsignedLaunchError(LaunchError, UnidentifiedError):
    """No panel vouches for who launches."""


class GoneError(LaunchError, NotFoundError):
    """What is launched or changed is not there (any more)."""


class NotAllowedError(LaunchError, ConflictError):
    """The installation, or the state of things, forbids it."""


class WrongRequestError(LaunchError, InvalidError):
    """What the caller asked for is wrong."""


class FaultyServiceError(LaunchError, FaultyError):
    """The service is wrong itself."""


class PrefectError(LaunchError, UpstreamError):
    """Prefect is not known, is away, or refuses it."""


class UnavailableLaunchError(LaunchError, UnavailableError):
    """Postgres, the panel's key, or Prefect's answer is not there in time."""
