"""What a process elsewhere needs to reach its run's files and stream: the panel, and a token."""

from typing import NamedTuple

from kodosumi_prefect.files.tokens import fid_of, token_for
from kodosumi_prefect.keys import NoKeyError
from kodosumi_prefect.settings import Settings, panel_url

MOST = 10_000  # executions whose access a process remembers


class FileAccess(NamedTuple):
    """How to reach the files and the stream of one execution.

    Attributes:
        panel_url: where the panel is.
        token: see ``tokens``.
    """

    panel_url: str
    token: str


# By execution, the oldest first: of tracers that arrived in this process, and what it made itself.
_arrived: dict[str, FileAccess] = {}
_made: dict[str, FileAccess] = {}


def learn_access(fid: str, access: FileAccess) -> None:
    """Remember what came with a tracer."""
    _remember(_arrived, fid, FileAccess(*access))


def given_access(fid: str, settings: Settings) -> FileAccess | None:
    """What this process was given for an execution: by a tracer, or by its settings.

    A panel that is configured here goes before the one that a tracer names: the way to it may be
    another one from here.
    """
    token = None if settings.run_token is None else settings.run_token.get_secret_value()
    arrived = _arrived.get(fid)
    if arrived is not None:
        return arrived._replace(panel_url=settings.panel_url or arrived.panel_url)
    if token is not None and settings.panel_url and fid_of(token) == fid:
        return FileAccess(settings.panel_url, token)
    return None


def has_access(settings: Settings) -> bool:
    """Whether there is any execution that this process was given access to."""
    return bool(_arrived) or bool(settings.run_token and settings.panel_url)


def access_to(fid: str, settings: Settings) -> FileAccess | None:
    """What to hand to processes of a run elsewhere; None where nobody gave it, and there is no key.

    Made once, and the same from then on.
    """
    if (given := given_access(fid, settings)) is not None:
        return given
    if fid not in _made:
        try:
            made = FileAccess(panel_url(settings), token_for(fid, settings))
        except NoKeyError:
            return None
        _remember(_made, fid, made)
    return _made[fid]


def _remember(kept: dict[str, FileAccess], fid: str, access: FileAccess) -> None:
    kept[fid] = access
    while len(kept) > MOST:
        kept.pop(next(iter(kept)), None)
