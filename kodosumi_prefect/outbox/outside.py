"""Connections to addresses outside of the own network, whatever a name resolves to."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 6052 and RFC 2765: an IPv4 address in their last bits
TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::ffff:0:0:0/96")))
# Not of the public internet, though Python 3.11 takes them for it, or of some clouds' machines.
SPECIAL: "tuple[Network, ...]" = (
    *map(
        ipaddress.IPv6Network,
        (
            "64:ff9b:1::/48",  # RFC 8215: leads to IPv4 addresses as the network likes
            "fec0::/10",  # RFC 3879: inside a site
            "3fff::/20",  # RFC 9637: documentation
            "5f00::/16",  # RFC 9602: segment routing
        ),
    ),
    *map(
        ipaddress.IPv4Network,
        (
            "192.0.0.0/24",  # RFC 6890; Oracle's machines have their metadata there
            "192.88.99.0/24",  # RFC 7526: what led to 6to4
            "168.63.129.16/32",  # what Azure tells its machines
        ),
    ),
)
LOOKUPS = 64  # names that are resolved at the same time
ANY = "*"  # among the networks that are allowed


class InsideError(httpcore.ConnectError):
    """An address inside the network, which may not be connected to."""


class Outside:
    """Which addresses may be connected to: those of the public internet, and what is allowed.

    Arguments:
        allowed: networks or single addresses, such as ``10.1.0.0/16``; ``*`` for all.

    Raises:
        ValueError: one is neither.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._any = ANY in allowed
        self._networks: list[Network] = [
            ipaddress.ip_network(name, strict=False) for name in allowed if name != ANY
        ]

    def __contains__(self, address: object) -> bool:
        ip = ipaddress.ip_address(str(address).partition("%")[0])
        if self._any or any(ip in network for network in self._networks):
            return True
        return all(
            (one.is_global and not one.is_multicast and not any(one in net for net in SPECIAL))
            or any(one in network for network in self._networks)
            for one in _meant(ip)
        )


def _meant(ip: Address) -> Iterable[Address]:
    """The address, or those of IPv4 that traffic to it is led to."""
    if not isinstance(ip, ipaddress.IPv6Address):
        return [ip]
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip.sixtofour is not None:
        return [ip, ip.sixtofour]
    if ip.teredo is not None:
        return [ip, *ip.teredo]
    if any(ip in network for network in TRANSLATED):
        return [ip, ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)]
    if int(ip) >> 32 == 0:  # "IPv4-compatible", long deprecated
        return [ip, ipaddress.IPv4Address(int(ip))]
    return [ip]


class OutsideBackend(httpcore.AsyncNetworkBackend):
    """Connects only to addresses that are ``Outside``.

    The name is resolved here and the connection goes to the very address that was looked at, so
    that an answer of DNS which changes in between changes nothing; the far end is looked at once
    more when the connection is there.
    """

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._backend = httpcore.AnyIOBackend()
        # Of its own, since a lookup that nobody answers holds its thread for long after its end.
        self._lookups = ThreadPoolExecutor(LOOKUPS, "webhook-names")

    def close(self) -> None:
        """Look up nothing any more."""
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Try the addresses of a name in turn; raises InsideError if all are inside."""
        async with asyncio.timeout(timeout):
            candidates = await self._addresses(host, port)
            failure: Exception | None = None
            for address in candidates:
                try:
                    stream = await self._backend.connect_tcp(
                        address, port, timeout, local_address, socket_options
                    )
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                    failure = exc
                    continue
                peer = (stream.get_extra_info("server_addr") or (address,))[0]
                if peer not in self._outside:
                    await stream.aclose()
                    raise _inside(host)
                return stream
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: that would be this machine."""
        raise InsideError(f"{path} is a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """As ``asyncio.sleep``."""
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._lookups, _resolved, host, port)
        except OSError as exc:
            raise httpcore.ConnectError(f"{host} is not known: {exc.strerror}") from exc
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        outside = [address for address in addresses if address in self._outside]
        if addresses and not outside:
            raise _inside(host)
        return outside


def _resolved(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _inside(host: str) -> InsideError:
    return InsideError(
        f"{host} is inside the network; an operator allows addresses there by webhook_networks"
    )
