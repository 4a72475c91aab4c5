"""Paths of files within an execution: which are taken, and which count as the same.

A file's content is stored under a random key, so that no path reaches the storage. People download
files to machines of all kinds, though: a path that some of them cannot hold, or take for another
one's, is refused where it comes in.
"""

import unicodedata
from enum import StrEnum

from kodosumi_prefect.error import KodosumiError

LONGEST_NAME = 255  # bytes of UTF-8 between two slashes, which is what file systems take
LONGEST_PATH = 1024  # bytes of UTF-8 in all
DEEPEST = 32  # names of a path
# Names that Windows keeps for devices, whatever suffix they have.
DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in "123456789¹²³"}
)
FORBIDDEN = frozenset('<>:"|?*\\')
# Formatting characters that belong into words of some scripts and emoji.
JOINERS = frozenset("\u200c\u200d")


class Direction(StrEnum):
    """Whether a file was given to a run, or made by it."""

    IN = "in"
    OUT = "out"


class FileNameError(KodosumiError, ValueError):
    """A path that no file can have."""


def checked_path(path: str) -> str:
    """A path below ``in/`` or ``out/``, in the one form that it is stored in.

    Arguments:
        path: names with slashes between them.

    Raises:
        FileNameError: some machine cannot hold it, or it leads out of its folder.
    """
    if not isinstance(path, str):
        raise FileNameError(f"a file's name is text, not {type(path).__name__}")
    path = unicodedata.normalize("NFC", path)
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise _refused(path, "contains half a character (a lone surrogate)") from None
    if size > LONGEST_PATH:
        raise _refused(path, f"has {size} bytes; {LONGEST_PATH} at most")
    names = path.split("/")
    if len(names) > DEEPEST:
        raise _refused(path, f"has {len(names)} levels; {DEEPEST} at most")
    for name in names:
        if (reason := _fault(name)) is not None:
            raise _refused(path, reason)
    return path


def comparable(path: str) -> str:
    """What two paths share that some file systems take for the same.

    Arguments:
        path: checked.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", path).casefold())


def split(path: str) -> tuple[Direction, str]:
    """The direction of a path that begins with ``in/`` or ``out/``, and the rest of it, checked.

    Raises:
        FileNameError: it begins otherwise, or the rest is no path.
    """
    direction, rest = split_folder(path)
    if not rest:
        raise FileNameError(f"{path[:100]!r} is a folder; name a file in it")
    return direction, rest


def split_folder(path: str) -> tuple[Direction, str]:
    """As ``split``; the rest is empty for the whole of ``in`` or ``out``."""
    first, _, rest = path.rstrip("/").partition("/")
    try:
        direction = Direction(first)
    except ValueError:
        raise FileNameError(
            f"{path[:100]!r} is in neither in/ nor out/, where the files of a run are"
        ) from None
    return direction, checked_path(rest) if rest else ""


def _fault(name: str) -> str | None:
    """Why no file has this name, if that is so."""
    if not name:
        return "has an empty name in it, or begins with a slash"
    if name in (".", ".."):
        return f"has {name} in it"
    if len(name.encode()) > LONGEST_NAME:
        return f"has a name of more than {LONGEST_NAME} bytes"
    if name[0] == " " or name[-1] in " .":
        return "has a name that begins or ends with a space, or ends with a dot"
    for character in name:
        if character in FORBIDDEN:
            return f"contains {character!r}"
        kind = unicodedata.category(character)
        if kind in ("Cc", "Zl", "Zp") or (kind == "Cf" and character not in JOINERS):
            return f"contains {character!r}, which nobody sees"
    if name.split(".")[0].rstrip().casefold() in DEVICES:
        return f"has the name of a device ({name.split('.')[0]}) in it"
    return None


def _refused(path: str, reason: str) -> FileNameError:
    return FileNameError(f"file name {path[:100]!r} {reason}")
