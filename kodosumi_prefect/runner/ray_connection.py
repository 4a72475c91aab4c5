"""This process's one connection to Ray."""

import logging
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from kodosumi_prefect._compat.ray import CONNECTION_LOGGER, NO_SIGTERM_HANDLER
from kodosumi_prefect.runner.ray_client import is_stillborn, prepare_ray_client
from kodosumi_prefect.settings import Settings, read_address

NAMESPACE = "prefect"  # of Ray jobs; prefect-ray's default
DOOR = 5.0  # seconds for a first connection
TRIES = 3  # at a Ray Client server, which may die as it starts; Ray reports that after 40 s

logger = logging.getLogger(__name__)
_connecting = threading.Lock()


class NoRayError(RuntimeError):
    """There is no Ray to run on."""


def connect_ray(
    settings: Settings, address: str | None = None, init_kwargs: dict[str, Any] | None = None
) -> None:
    """Connect this process to Ray, once; an existing connection stays.

    Raises:
        NoRayError: no cluster is configured or recorded, or it refuses.
    """
    with _connecting:
        # Inside: two threads that import Ray at once may see half of it.
        import ray

        # The worker connects from a thread on purpose: its handler for SIGTERM is Prefect's.
        logging.getLogger(CONNECTION_LOGGER).addFilter(_is_of_interest)
        if ray.is_initialized():
            return
        recorded = read_address(settings, "ray")
        address = address or settings.ray_address or (recorded or {}).get("address")
        if address is None and settings.ray_local:
            address = "local"
        if address is None:
            raise NoRayError(
                "no Ray cluster is configured and none runs for "
                f"{settings.data_dir}; set ray_address, start `kodosumi-prefect up`, or set "
                "ray_local"
            )
        if recorded and recorded.get("address") == address:
            prepare_ray_client(settings)
        _check_door(address)
        options: dict[str, Any] = {"namespace": NAMESPACE, "configure_logging": False}
        if address == "local":
            options["include_dashboard"] = False
        try:
            with sigterm_kept():
                _join(address, options | (init_kwargs or {}))
        except (ConnectionError, RuntimeError, ValueError) as exc:
            detail = " ".join(str(exc).split())
            raise NoRayError(f"ray_address {address} refused the connection: {detail}") from exc


def _join(address: str, options: dict[str, Any]) -> None:
    import ray

    for attempt in range(1, TRIES + 1):
        try:
            ray.init(address=address, **options)
            return
        except ConnectionError as exc:
            if attempt == TRIES or not is_stillborn(str(exc)):
                raise
            logger.warning(
                "the server that Ray started for this client behind %s ended at once; "
                "asking for another (%s of %s)",
                address,
                attempt + 1,
                TRIES,
            )


def keep_sigterm() -> None:
    """Put Python's handler for SIGTERM back in place; for the main thread, after ``connect_ray``.

    Ray's C++ core sets one of its own that prints its stack as if it had crashed.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None:
        signal.signal(signal.SIGTERM, handler)


def _is_of_interest(record: logging.LogRecord) -> bool:
    return NO_SIGTERM_HANDLER not in record.getMessage()


def _check_door(address: str) -> None:
    """Refuse an address at which nobody listens at once; Ray would try for minutes.

    Raises:
        NoRayError: it refuses.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # "auto", "local" and others without host and port
    try:
        socket.create_connection((host.strip("[]"), int(port)), DOOR).close()
    except OSError as exc:
        raise NoRayError(f"ray_address {address} refused the connection: {exc}") from exc


@contextmanager
def sigterm_kept() -> Generator[None, None, None]:
    """Keep the handler for SIGTERM that Prefect set: Ray's own would end the run as a crash."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before):
            signal.signal(signal.SIGTERM, before)
