"""Rows of launches by their keys."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClaimedLaunch:
    """A row of ``claim_launch``: a launch that is this process's to do.

    Attributes:
        launch_id: of the run in Prefect, whoever asks for it and however often.
        attempts: how often it was claimed, this time included.
        lost: an earlier attempt may have launched, or may do so yet, without anybody hearing of it.
    """

    launch_id: str
    attempts: int
    lost: bool


@dataclass(frozen=True, slots=True)
class KeyedLaunch(ClaimedLaunch):
    """A row of ``keyed_launch``.

    Attributes:
        same: it was asked for with the same body.
        answer: what it was answered, encrypted; None if that is not known.
        under_way: a panel is at it.
    """

    same: bool
    answer: bytes | None
    under_way: bool
