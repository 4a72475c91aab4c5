"""One operation of an agentic service that people can launch."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as declared, and what a launch takes from it.

    Attributes:
        app_name: the service; with the path it makes the endpoint's identity.
        path: below the service's root.
        method: of the operation that launches.
        summary: one line that people see in lists.
        description: longer text.
        tags: words to find it by.
        author, organization, version: who is responsible, and for which edition.
        deprecated: people should use another one.
        secrets: names of its password fields.
        options: for each launch: retries, timeouts, resources.
    """

    app_name: str
    path: str
    method: str = "POST"
    summary: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    author: str | None = None
    organization: str | None = None
    version: str | None = None
    deprecated: bool = False
    secrets: frozenset[str] = frozenset()
    options: dict[str, Any] = field(default_factory=dict)
