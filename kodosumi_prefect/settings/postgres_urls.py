"""Whether a text is the URL of a Postgres, and what is wrong with it; its password is not told."""

import re
from functools import lru_cache

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

_SCHEMES = ("postgresql://", "postgres://")
_EXAMPLE = "write it as postgresql://user:password@host:port/name"
_ENCODED = "percent-encode what is special in user and password, such as @ as %40 and % as %25"


class DatabaseUrlError(ValueError):
    """A setting is no URL of a Postgres; the message names the setting and never quotes it."""


@lru_cache(maxsize=8)
def database_url_fault(url: str) -> str | None:
    """What is wrong with the URL of a Postgres, or None; quotes nothing of it."""
    if "://" in url.split("=", 1)[0] and not url.startswith(_SCHEMES):
        return f"has a scheme that libpq does not know; {_EXAMPLE}"
    try:
        named = conninfo_to_dict(url)
    except (ProgrammingError, UnicodeError, ValueError):  # the first quotes what it stumbled over
        return f"cannot be read by libpq; {_EXAMPLE}, and {_ENCODED}"
    ports = str(named.get("port") or "").split(",")
    misread = any(port and not port.isdecimal() for port in ports)
    if url.startswith(_SCHEMES):
        # Else libpq takes the rest of a password for a host, or all of it for a database's name.
        address = url.partition("://")[2].partition("?")[0]
        authority = re.split("[/?]", address, maxsplit=1)[0]
        misread = misread or address.count("@") > 1 or ("@" in address and "@" not in authority)
    if misread:
        return f"has special characters in user, password or port; {_ENCODED}"
    return None
