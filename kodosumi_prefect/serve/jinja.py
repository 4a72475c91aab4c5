"""Templates of a service."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from fastapi.templating import Jinja2Templates

PANEL = Path(__file__).parents[1] / "panel"  # by path: serve is below panel


class Templates(Jinja2Templates):
    """FastAPI's templates, with the panel's own folders searched first.

    Arguments:
        directory: folders of the service.
        more: what ``Jinja2Templates`` takes.
    """

    def __init__(
        self,
        directory: str | PathLike[str] | Sequence[str | PathLike[str]] = (),
        **more: Any,
    ) -> None:
        own = [directory] if isinstance(directory, str | PathLike) else list(directory)
        super().__init__(directory=[*sorted(PANEL.glob("*/templates")), *own], **more)
