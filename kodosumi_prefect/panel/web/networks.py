"""Networks that the settings name."""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOOPBACK = "127.0.0.1"


def address_of(text: str) -> Address | None:
    """An IP address; one of IPv4 that came in over IPv6 is one of IPv4. None if it is none."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def source_of(address: str) -> str:
    """The key under which a client is counted, so that nobody counts as many.

    This machine is one, whatever address of it; so is a /64 of IPv6, which one customer has all of,
    and what is no address counts as itself.
    """
    ip = address_of(address)
    if ip is None:
        return address[:80]
    if ip.is_loopback:
        return LOOPBACK
    return ip.exploded[:19] if ip.version == 6 else str(ip)


class Networks:
    """Networks and single addresses, such as ``10.0.0.0/8`` or ``::1``.

    Raises:
        ValueError: one of them is neither.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(name, strict=False) for name in names]

    def __contains__(self, address: object) -> bool:
        ip = address_of(address) if isinstance(address, str) else None
        return ip is not None and any(ip in network for network in self._networks)
