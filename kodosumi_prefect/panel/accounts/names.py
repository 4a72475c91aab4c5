"""Names of accounts."""

import unicodedata
from uuid import UUID

LONGEST = 200  # characters, so that mail addresses fit
# What questions are asked of beside accounts: the owner of a run, a team, an account by its id.
RESERVED = ("owner", "team:", "@")


def folded(text: str) -> str:
    """The same for all spellings of a name, whether an account can have it or not."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def clean_name(text: str) -> str:
    """A name as it is stored.

    Raises:
        ValueError: it is empty or too long, or would be read as something else in an address.
    """
    name = unicodedata.normalize("NFKC", text).strip()
    if not name or len(name) > LONGEST:
        raise ValueError(f"a name has 1 to {LONGEST} characters")
    if not name.isprintable() or "/" in name:
        raise ValueError("a name has only visible characters and no slash")
    try:
        UUID(name)
    except ValueError:
        return name
    raise ValueError("a name must not be a UUID, which would be read as an account's id")


def new_name(text: str) -> str:
    """The name of an account from now on, as it is stored.

    Raises:
        ValueError: as ``clean_name``, or questions that are asked of others would find it.
    """
    name, (owner, *prefixes) = clean_name(text), RESERVED
    if folded(name) == owner or folded(name).startswith(tuple(prefixes)):
        raise ValueError(
            f"a name must not be {owner!r} or begin with {' or '.join(map(repr, prefixes))}: "
            "questions of runs are asked of others by these"
        )
    return name
