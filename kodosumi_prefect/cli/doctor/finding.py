"""What a check of ``doctor`` found."""

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """How bad it is; only ``FAIL`` means that something needed does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        check: what was looked at.
        text: what was found.
        remedy: what to do about it.
    """

    verdict: Verdict
    check: str
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(Verdict.OK, check, text)


def warn(check: str, text: str, remedy: str) -> Finding:
    """It works, but not as well as it could, or not for long."""
    return Finding(Verdict.WARN, check, text, remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    """Something needed does not work."""
    return Finding(Verdict.FAIL, check, text, remedy)


def one_line(exc: BaseException) -> str:
    """The first line of what an exception says, else its type."""
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__


def skew(check: str, seconds: float, other: str, most: float) -> Finding:
    """How far this machine's clock is ahead (positive) of another's."""
    text = f"this clock is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} {other}"
    if abs(seconds) <= most:
        return ok(check, f"within {most:g} s of {other}")
    return warn(check, text, "states are ordered by time: run NTP on both machines")
