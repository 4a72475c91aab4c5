"""Networks that the settings name."""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address_of(text: str) -> Address | None:
    """An IP address; one of IPv4 that came in over IPv6 is one of IPv4. None if it is none."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


class Networks:
    """Networks and single addresses, such as ``10.0.0.0/8`` or ``::1``.

    Raises:
        ValueError: one of them is neither.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(name, strict=False) for name in names]

    def __contains__(self, address: object) -> bool:
        found = address_of(address) if isinstance(address, str) else None
        return found is not None and any(found in network for network in self._networks)
