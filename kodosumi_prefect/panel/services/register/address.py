"""The address at which the panel serves an endpoint, and its id."""

from hashlib import md5
from urllib.parse import quote, unquote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
SAFE = "/:@!$&'()*+,;=~"  # of a path, beside letters, digits and -._

LONGEST = 2048  # characters of a path
DEEPEST = 5  # times that a path may be percent-encoded

# These two are not hosts: no host has port 0.
MOUNTED = "/-/panel/0"
PREFECT = "/-/prefect/0"


def objection(path: str) -> str | None:
    """Why a path cannot be registered: it may lead elsewhere than it says. None if it can.

    Whoever takes a path apart on its way does so by rules of their own.
    """
    if len(path) > LONGEST:
        return f"it has {len(path):,} characters, at most {LONGEST:,} are accepted"
    if "?" in path or "#" in path:
        return "it has a query or a fragment"
    plain = path
    for _ in range(DEEPEST):
        if "\\" in plain:
            return "it has a backslash"
        if not plain.isprintable():
            return "it has invisible characters"
        if "//" in plain:
            return "it has two slashes in a row"
        if any(part in (".", "..") for part in plain.split("/")):
            return "it has a . or .. between slashes"
        if (decoded := unquote(plain)) == plain:
            return None
        plain = decoded
    return "it is percent-encoded too many times"


def canonical(path: str) -> str:
    """A path as the register writes it, however it was percent-encoded before."""
    return quote(unquote(path), safe=SAFE)


def of_service(base: str, path: str) -> str:
    """The panel's path for an operation: ``/-/{host}/{port}{path}/-/{endpoint}``.

    Arguments:
        base: URL of the app, such as ``http://localhost:8000/prefix``; its path is ``{path}``.
            The port is always written, 80 or 443 if it has none; IPv6 hosts have no brackets.
        path: of the operation below it, ``{endpoint}`` with the slash before it.
    """
    parts = urlsplit(base)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    prefix = parts.path.rstrip("/")
    return canonical(f"/-/{parts.hostname}/{port}{prefix}/-/{path.removeprefix('/')}")


def of_mounted(name: str) -> str:
    """The base of a service in the panel's own process: ``/-/panel/0/{module}:{app}``."""
    return canonical(f"{MOUNTED}/{name}")


def of_deployment(flow: str, deployment: str) -> str:
    """The panel's path for a Prefect deployment: ``/-/prefect/0/-/{flow}/{deployment}``."""
    name = f"{quote(flow, safe='')}/{quote(deployment, safe='')}"
    return canonical(f"{PREFECT}/-/{name}")


def uid(url: str) -> str:
    """The id of the endpoint at that path of the panel."""
    return md5(url.encode(), usedforsecurity=False).hexdigest()
