"""The endpoints of a source, and what is wrong with it."""

from dataclasses import asdict, dataclass, field
from typing import Any

from kodosumi_prefect.panel.services.register.address import uid
from kodosumi_prefect.refusals import InvalidError


@dataclass(frozen=True, slots=True)
class ListedEndpoint:
    """An endpoint as its source lists it.

    Attributes:
        url: path of the panel at which it is served.
        target: URL at which its service serves it; a path if the service is mounted.
        base_url: where the service runs.
        deployment_id: of a Prefect deployment, which has no target.
    """

    method: str
    url: str
    base_url: str
    target: str | None = None
    deployment_id: str | None = None
    summary: str | None = None
    description: str | None = None
    deprecated: bool = False
    author: str | None = None
    organization: str | None = None
    version: str | None = None
    tags: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """As the query ``store_source`` takes it."""
        return {"uid": uid(self.url), **asdict(self)}


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading a source.

    Attributes:
        failed: bases that cannot be read now; their endpoints stay.
        trouble: why, in one line.
    """

    endpoints: list[ListedEndpoint]
    failed: list[str] = field(default_factory=list)
    trouble: str | None = None


class SourceError(InvalidError):
    """Why a source cannot be read, in one line.

    Arguments:
        why: names the source and, if there is one, the way out.
        away: it may be there again later; else it has to be corrected.
        missing: there is nothing at that address.
    """

    def __init__(self, why: str, *, away: bool = False, missing: bool = False) -> None:
        super().__init__(" ".join(why.split())[:500])
        self.away = away
        self.missing = missing
