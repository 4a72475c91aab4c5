"""The HTTP status that each kind of refusal is answered with."""

from kodosumi_prefect.refusals import (
    ConflictError,
    FaultyError,
    ForbiddenError,
    InvalidError,
    LateError,
    MalformedError,
    NotFoundError,
    OversizedError,
    RefusedError,
    TooManyError,
    UnavailableError,
    UnidentifiedError,
    UnsupportedError,
    UpstreamError,
)

STATUSES: dict[type[RefusedError], int] = {
    MalformedError: 400,
    UnidentifiedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    OversizedError: 413,
    UnsupportedError: 415,
    InvalidError: 422,
    TooManyError: 429,
    FaultyError: 500,
    UpstreamError: 502,
    UnavailableError: 503,
    LateError: 504,
}


def status_of(refusal: RefusedError) -> int:
    """The HTTP status that a refusal is answered with, by the kind it derives from first."""
    return next(STATUSES[kind] for kind in type(refusal).__mro__ if kind in STATUSES)
