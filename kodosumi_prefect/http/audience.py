"""Whether a service is the one that the panel signed for.

A hostile service gets signatures too, and could send them on to another one. So each signature
names its service, by the address at which that is registered, and a service has to know
its own. It cannot use the Host header: the sender of a request writes that. Nor does it look names
up: the owner of a name decides where it leads. What counts are the addresses that the setting
``service_url`` names; without it, the end of the connection that is the service's own.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from starlette.types import Scope

PORTS = {"http": 80, "https": 443}  # of addresses that name none
LOOPBACK = frozenset({ip_address("127.0.0.1"), ip_address("::1")})  # where localhost leads


class Address(NamedTuple):
    """Where a service is registered; ``path`` is decoded, without a slash at its end."""

    scheme: str
    host: str
    port: int
    path: str


def another_service(scope: Scope, base: str, path: str, urls: Sequence[str]) -> str | None:
    """Why a request is not the one that was signed, in one line; None if it is.

    Arguments:
        base, path: what was signed: where the service is registered, and the path of the request
            there, decoded.
        urls: the setting ``service_url``.
    """
    signed = _read(base)
    if signed is None:
        return f"the panel's signature is for {base[:200]!r}, which is not an address of a service"
    if urls:
        if signed not in [_read(url) for url in urls]:
            return (
                f"the panel's signature is for the service at {base}, and service_url says that "
                f"this one is at {', '.join(urls)}"
            )
    elif not _is_here(scope, signed):
        return (
            f"the panel's signature is for the service at {base}, and this one listens at "
            f"{_listens(scope)}; if it is the same, set service_url to {base}"
        )
    own = path.rstrip("/")
    below = own == signed.path or own.startswith(f"{signed.path}/")
    # Only a service that knows its address can tell what a proxy takes off.
    if not below or own not in _paths(scope, signed.path, stripped=bool(urls)):
        return f"the panel's signature is for {path}, not for {scope['path']}"
    return None


def _read(url: str) -> Address | None:
    try:
        parts = urlsplit(url)
        usual = PORTS[parts.scheme]
        port = parts.port or usual
    except (ValueError, KeyError):
        return None
    if not parts.hostname:
        return None
    return Address(parts.scheme, parts.hostname, port, unquote(parts.path).rstrip("/"))


def _is_here(scope: Scope, signed: Address) -> bool:
    """Whether the connection's own end is at the address that was signed."""
    host, port = scope.get("server") or (None, None)
    here = _ip(host)
    if here is None or port != signed.port:
        return False
    there = _ip(signed.host)
    is_local = signed.host == "localhost" or signed.host.endswith(".localhost")
    if is_local or (there is not None and there.is_unspecified):
        return here in LOOPBACK
    if there is not None:
        return here == there
    return signed.host == socket.gethostname().lower()


def _ip(host: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _listens(scope: Scope) -> str:
    host, port = scope.get("server") or (None, None)
    if host is None:
        return "an unknown address"
    if port is None:
        return f"the Unix socket {host}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _paths(scope: Scope, base: str, *, stripped: bool) -> set[str]:
    """The paths for which a request may have been signed, without a slash at the end.

    Arguments:
        base: path of the signed address.
        stripped: a proxy before the service may have taken it off.
    """
    seen = str(scope["path"]).rstrip("/")
    root = str(scope.get("root_path", "")).rstrip("/")
    if not base.endswith(root):
        return set()  # another application behind the same port
    inner = seen[len(root) :] if f"{seen}/".startswith(f"{root}/") else seen
    return {root + inner, base + inner} if stripped else {root + inner}
