"""Why something is not launched or scheduled."""

from fastapi import HTTPException


class LaunchError(HTTPException):
    """A launch that is refused, in one line that names the thing, the value and the way out.

    Arguments:
        status_code: 409 for what the installation forbids, 422 for what the caller asked wrongly,
            500 for a service that is wrong itself, 502 and 503 for what is away.
    """

    def __init__(self, status_code: int, why: str) -> None:
        super().__init__(status_code, " ".join(why.split()))
