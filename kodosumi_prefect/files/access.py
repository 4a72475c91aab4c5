"""What a process on another machine needs to reach its run's files: the panel, and a token."""

from typing import NamedTuple

from kodosumi_prefect.files.tokens import token_for
from kodosumi_prefect.keys import NoKeyError
from kodosumi_prefect.settings import Settings, panel_url

MOST = 10_000  # executions whose access a process remembers


class FileAccess(NamedTuple):
    """How to reach the files of one execution.

    Attributes:
        panel_url: where the panel is.
        token: see ``tokens``.
    """

    panel_url: str
    token: str


# By execution: of tracers that arrived in this process, and of what it made itself.
_known: dict[str, FileAccess] = {}


def learn_access(fid: str, access: FileAccess) -> None:
    """Remember what came with a tracer."""
    if len(_known) > MOST:
        _known.clear()
    _known[fid] = FileAccess(*access)


def access_to(fid: str, settings: Settings) -> FileAccess | None:
    """What to hand to processes of a run elsewhere; None where nobody gave it, and there is no key.

    Made once, and the same from then on.
    """
    if fid not in _known:
        try:
            learn_access(fid, FileAccess(panel_url(settings), token_for(fid, settings)))
        except NoKeyError:
            return None
    return _known[fid]
