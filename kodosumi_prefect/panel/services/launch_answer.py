"""What a launch is answered, and whether it has launched."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self
from uuid import UUID

import orjson

from kodosumi_prefect.panel.services.calls import Answered
from kodosumi_prefect.vocabulary import LAUNCH_HEADER, SCHEDULED_HEADER

LARGEST_KEPT = 256 * 1024  # bytes of an answer; of a larger one only what was launched
LEFT_OUT = frozenset({"content-length", "content-encoding", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class LaunchAnswer:
    """An answer to a launch.

    Attributes:
        headers: by their names in lower case, without those about its length.
        fid: of the run that began.
        schedule: id of the schedule that was made.
    """

    status: int
    body: str
    headers: dict[str, str]
    fid: str | None = None
    schedule: str | None = None

    @classmethod
    def of_service(cls, answered: Answered) -> Self:
        """What a service answered."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in answered.headers
            if name.decode("latin-1") not in LEFT_OUT
        }
        fid, schedule = headers.get(LAUNCH_HEADER), headers.get(SCHEDULED_HEADER)
        if answered.status < 400 and fid is None and schedule is None:
            fid, schedule = _launched(answered.body)  # without headers, as of older services
        body = answered.body.decode("utf-8", "surrogateescape")
        return cls(answered.status, body, headers, fid, schedule)

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> Self:
        """The fields of an answer that the panel itself makes."""
        ids = {LAUNCH_HEADER: fields.get("result"), SCHEDULED_HEADER: fields.get("schedule")}
        headers = {name: id_ for name, id_ in ids.items() if id_}
        headers["content-type"] = "application/json"
        return cls(200, json.dumps(fields), headers, fields.get("result"), fields.get("schedule"))

    @classmethod
    def of_run(cls, fid: str) -> Self:
        """Of a run that is there while its first answer is not."""
        return cls.of_fields({"result": fid, "elements": []})

    @classmethod
    def of_json(cls, text: str) -> Self:
        """As ``as_json`` made it."""
        return cls(**json.loads(text))

    def as_json(self) -> str:
        """To be kept."""
        return json.dumps(asdict(self))

    @property
    def has_launched(self) -> bool:
        """Whether a run or a schedule came of it."""
        return self.fid is not None or self.schedule is not None

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return self.body.encode("utf-8", "surrogateescape")

    def kept(self) -> "LaunchAnswer":
        """Itself, or the short of it if it is large."""
        if len(self.body) <= LARGEST_KEPT:
            return self
        what = {"result": self.fid} if self.fid is not None else {"schedule": self.schedule}
        return self.of_fields(what | {"elements": []})


def _launched(body: bytes) -> tuple[str | None, str | None]:
    """The fid or the schedule that a body tells of."""
    try:
        fields = orjson.loads(body)
    except ValueError:
        return None, None
    if not isinstance(fields, dict) or fields.get("errors"):
        return None, None
    fid = _uuid(fields.get("result")) or _uuid(fields.get("fid"))
    schedule = fields.get("schedule")
    return fid, schedule if isinstance(schedule, str) and schedule else None


def _uuid(value: Any) -> str | None:
    try:
        return str(UUID(value))
    except (ValueError, TypeError, AttributeError):
        return None
