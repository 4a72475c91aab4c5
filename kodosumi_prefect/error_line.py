"""One line that describes an error, wherever a whole traceback is too much."""

import re
import traceback
from collections.abc import Iterable

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.events import clean, plain

MAX_LINE = 1000  # characters
MAX_LEAVES = 5  # errors of a group that are named

_HEADER = "Traceback (most recent call last):"
_BEGINS = re.compile(rf"(  \+ Exception Group )?{re.escape(_HEADER)}$")  # not within a group
_MARGIN = re.compile(r"^ *[|+] ?")
_RULE = re.compile(r"^ *\+-[+-]")  # between the errors of a group
_IS_GROUP = re.compile(r"\(\d+ sub-exceptions?\)$")
_FROM_RAY = re.compile(r"RayTaskError(\(\w+\))?: ray::")


def error_line(error: BaseException) -> str:
    """An exception in one line; never raises.

    Of a ``KodosumiError`` its message, which is written for people. Of others type and message,
    without their notes: of several lines the first one. Of a group the errors in it, and of what
    Ray wraps an error in, that error.
    """
    if isinstance(error, KodosumiError):
        return plain(error)
    if isinstance(error, BaseExceptionGroup):
        return _joined([error_line(leaf) for leaf in _leaves(error)])
    cause = getattr(error, "cause", None)
    if type(error).__name__.startswith("RayTaskError") and isinstance(cause, BaseException):
        return error_line(cause)
    try:
        text = next(
            # Of a SyntaxError the place comes first, indented.
            part
            for part in traceback.format_exception_only(error)
            if not part[:1].isspace()
        )
    except Exception as exc:  # an author's exception whose __str__ raises
        return f"{type(error).__name__} whose text raised {type(exc).__name__}"
    return _first(text.splitlines())


def line_of(text: str) -> str:
    """The same of a traceback's text; of any other text its last line that is not empty."""
    lines = text.splitlines()
    start = max((n for n, line in enumerate(lines) if _BEGINS.match(line)), default=None)
    if start is None:
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:MAX_LINE]
    if lines[start].startswith(" "):
        return _joined(_leaves_of(lines[start:]))
    message = _message_of(lines[start:])
    if message and _FROM_RAY.search(message[0]):
        return message[-1].strip()[:MAX_LINE]
    return _first(message)


def _message_of(lines: list[str]) -> list[str]:
    """What stands behind the frames of the last traceback in these lines."""
    start = max((n for n, line in enumerate(lines) if line.endswith(_HEADER)), default=-1)
    message = lines[start + 1 :]
    while message and (not message[0] or message[0][0].isspace()):
        del message[0]
    return message


def _first(lines: Iterable[str]) -> str:
    """The first line; with the next one if it ends in a colon, as it is incomplete."""
    words: list[str] = []
    for line in lines:
        if stripped := line.strip():
            words.append(stripped)
            if not stripped.endswith(":"):
                break
    return clean(" ".join(words))[:MAX_LINE]


def _joined(lines: list[str]) -> str:
    distinct = list(dict.fromkeys(lines))
    more = len(distinct) - MAX_LEAVES
    return "; ".join(distinct[:MAX_LEAVES]) + (f"; and {more} more" if more > 0 else "")


def _leaves(group: "BaseExceptionGroup[BaseException]") -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def _leaves_of(lines: list[str]) -> list[str]:
    """The errors of a group in its text: after each rule comes one, its traceback before it."""
    leaves = []
    part: list[str] = []
    for line in lines[1:]:
        if not _RULE.match(line):
            part.append(_MARGIN.sub("", line, count=1))
            continue
        message = _message_of(part)
        if message and not any(map(_IS_GROUP.search, message)):
            leaves.append(_first(message))
        part = []
    return leaves
