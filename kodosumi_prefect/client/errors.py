"""Why the panel does not do something; ``refusals`` has what it says by its status."""

from collections.abc import Mapping
from typing import Any

import httpx

from kodosumi_prefect.http.statuses import STATUSES
from kodosumi_prefect.refusals import ConflictError, RefusedError

KINDS = {status: kind for kind, status in STATUSES.items()}


class UnreachableError(Exception):
    """The panel does not answer, for longer than the client's patience."""


class FieldsError(Exception):
    """A form was not filled in as it has to be.

    Attributes:
        errors: messages by field; under ``_global_`` those about the whole.
        elements: the form.
    """

    def __init__(
        self, errors: Mapping[str, list[str]], elements: list[dict[str, Any]] | None
    ) -> None:
        self.errors = {name: [*messages] for name, messages in errors.items() if messages}
        self.elements = elements or []
        super().__init__("; ".join(self._lines()))

    def _lines(self) -> list[str]:
        return [
            message if name == "_global_" else f"{name}: {message}"
            for name, messages in self.errors.items()
            for message in messages
        ]


class AnsweredError(ConflictError):
    """Somebody has answered the lock already."""


class RunError(Exception):
    """The run failed or was cancelled.

    Attributes:
        fid: the execution.
    """

    def __init__(self, fid: str, message: str) -> None:
        super().__init__(message or "the run failed without a message")
        self.fid = fid


class RestoredError(Exception):
    """The panel's database was restored to before what this client has; begin anew."""


class DamagedError(Exception):
    """A file did not come as it was stored."""


def refusal_of(answer: httpx.Response) -> RefusedError:
    """What an answer with a status from 400 on means, in the panel's own words."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    detail = body.get("detail") if isinstance(body, dict) else None
    text = str(detail or f"{answer.status_code} from {answer.url.path}")
    fallback = KINDS[502] if answer.status_code >= 500 else RefusedError
    return KINDS.get(answer.status_code, fallback)(text, retry_after=retry_after(answer))


def is_of_panel(answer: httpx.Response) -> bool:
    """Whether an error comes from the panel itself, not from a proxy before it."""
    try:
        body = answer.json()
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("status_code") == answer.status_code


def retry_after(answer: httpx.Response) -> float | None:
    """Seconds after which the panel may be asked again, if it says so."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
