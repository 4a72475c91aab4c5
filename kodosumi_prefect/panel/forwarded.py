"""Where a request comes from, and what a reverse proxy says about it."""

import ipaddress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORWARDING = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")

__all__ = ["FORWARDING", "ASGIApp", "Message", "Receive", "Send", "is_local", "own_path"]


def own_path(scope: Scope) -> str:
    """The path of a request below where the panel is mounted."""
    root = str(scope.get("root_path", "")).rstrip("/")
    path = str(scope["path"])
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def is_local(scope: Scope) -> bool:
    """Whether a program on this machine sent this itself, as far as that can be told."""
    peer = (scope.get("client") or ("",))[0]
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
