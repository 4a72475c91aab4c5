"""The way of a process's deliveries: its own connection, the Spooler of its cluster, the panel."""

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kodosumi_prefect._compat.ray import runs_in_worker
from kodosumi_prefect.files.access import has_access
from kodosumi_prefect.settings import DatabaseUrlError, Settings, database_url
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.transport import (
    Backlog,
    NoDatabaseError,
    SpoolerAwayError,
    Transport,
)

if TYPE_CHECKING:
    from kodosumi_prefect.spooler.actor_transport import ActorTransport
    from kodosumi_prefect.spooler.panel_transport import PanelTransport

RECREATION_SECONDS = 5.0  # seconds for a Spooler that is gone to be started again
RESTART_SECONDS = 30.0  # seconds for one that exists and cannot be reached
LOOK_AGAIN = 5.0  # seconds between checks for a Spooler while there is none

logger = logging.getLogger(__name__)

_instance: str | None = None
_forked = False


def learn_instance(instance: str | None) -> None:
    """Remember the id of the database that this process's runs are recorded in.

    It travels with tasks and tracers, and names the Spooler to look for. The first one counts: a
    process records to one database.
    """
    global _instance
    if instance is None or instance == _instance:
        return
    if _instance is None:
        _instance = instance
    else:
        logger.warning(
            "this process records to database %s; runs that belong to %s are recorded there too",
            _instance,
            instance,
        )


def in_ray_worker() -> bool:
    """Whether this process is a Ray worker: it runs tasks or an actor."""
    # Another thread may be importing it just now; that is a driver then.
    is_initialized = getattr(sys.modules.get("ray"), "is_initialized", None)
    if is_initialized is None or _forked or not is_initialized():
        return False
    return runs_in_worker()


def warm() -> None:
    """Have Ray load the Spooler's class, from the thread that runs the caller's code.

    While Ray (2.60) unpickles the arguments of a call it holds a lock that loading a class takes
    too: our thread would wait for it, and whoever waits for our thread, for nothing.
    """
    if _instance is None or not in_ray_worker():
        return
    from kodosumi_prefect.spooler import actor

    try:
        actor.find(_instance)
    except SpoolerAwayError as exc:
        logger.debug("cannot look up the Spooler ahead of need: %s", exc)


class Route:
    """Finds the transport of each delivery. Used by one thread at a time.

    Ray workers take the cluster's Spooler. One that never had it writes to the database itself, as
    long as there is no Spooler and the database is known; that costs a connection and loses no
    time. One that had it waits first, since it comes back.

    A process that knows no database goes through the panel, if it was given a token of its run. On
    a Ray cluster it waits for a Spooler before that, as one may just be starting.

    Arguments:
        settings: the database, as far as this process knows it.
        writer: what the client is called in the Spooler's figures.
        backlog: what the client has not delivered yet.
    """

    def __init__(self, settings: Settings, writer: str, backlog: Callable[[], Backlog]) -> None:
        self._settings = settings
        self._writer = writer
        self._backlog = backlog
        self._url: str | None = None
        self._looked_at = float("-inf")
        self._missing_since: float | None = None
        self.direct: Spooler | None = None
        self.actor: ActorTransport | None = None
        self.panel: PanelTransport | None = None
        self._by_panel = False

    @property
    def instance(self) -> str | None:
        """The id of the database, if it is known by now."""
        if self.direct is not None and self.direct.instance is not None:
            return self.direct.instance
        if self.panel is not None and self.panel.instance is not None:
            return self.panel.instance
        return _instance

    @property
    def has_transport(self) -> bool:
        """Whether there is a transport already."""
        return any(each is not None for each in self._all())

    @property
    def current(self) -> "Transport | None":
        """The transport of the last delivery."""
        if self._by_panel:
            return self.panel
        return self.actor if self.actor is not None and self.actor.is_there else self.direct

    def transport(self) -> Transport:
        """What the next delivery goes through.

        Raises:
            psycopg.Error: the database has to be asked for its id and is away.
            ProtocolError: this version is too old for the database.
            SpoolerAwayError: the Spooler is not there now, but expected.
            NoDatabaseError: neither a database nor its Spooler is known, or its URL is none.
        """
        try:
            url = database_url(self._settings)
        except DatabaseUrlError as exc:
            raise NoDatabaseError(str(exc)) from exc
        self._by_panel = self._through_panel(url)
        if self._by_panel:
            return self._panel()
        if not in_ray_worker():
            return self._connection(url)
        if _instance is None:
            connection = self._connection(url)
            connection.prepare()
            learn_instance(connection.instance)
        assert _instance is not None
        if (actor := self._spooler(_instance)) is not None:
            if self.direct is not None:
                self.direct.close()
            return actor
        if url is None:
            if self._missing_since is None:
                self._missing_since = time.monotonic()
            raise SpoolerAwayError(
                f"the Ray cluster has no Spooler for database {_instance} yet; start a worker or "
                "run `kodosumi-prefect spool start`"
            )
        return self._connection(url)

    def close(self) -> None:
        """Give back what is held."""
        for transport in self._all():
            if transport is not None:
                transport.close()

    def close_if_idle(self, seconds: float) -> None:
        """Give back what was not used for ``seconds``."""
        if self.direct is not None:
            self.direct.close_if_idle(seconds)

    def abandon(self) -> None:
        """Forget what is held: after a fork it is the parent's."""
        for transport in self._all():
            if transport is not None:
                transport.abandon()

    def _all(self) -> "tuple[Transport | None, ...]":
        return self.direct, self.actor, self.panel

    def _through_panel(self, url: str | None) -> bool:
        """Whether the panel is the way from here, now."""
        if url is not None or not has_access(self._settings):
            return False
        if _instance is None or not in_ray_worker():
            return True
        if self._missing_since is None or time.monotonic() - self._missing_since < RESTART_SECONDS:
            return False
        if self._spooler(_instance) is not None:
            self._missing_since = None
            return False
        return True

    def _panel(self) -> "PanelTransport":
        if self.panel is None:
            # Imported late: most processes have a database.
            from kodosumi_prefect.spooler.panel_transport import PanelTransport

            self.panel = PanelTransport(self._settings)
        return self.panel

    def _connection(self, url: str | None) -> Spooler:
        if url is None:
            raise NoDatabaseError(
                "no Postgres is configured and none runs for "
                f"{self._settings.data_dir}; set database_url or start `kodosumi-prefect up`"
            )
        if self.direct is None or url != self._url:
            if self.direct is not None:
                self.direct.close()
            self.direct = Spooler(url, self._settings.database_schema)
            self._url = url
        return self.direct

    def _spooler(self, instance: str) -> "ActorTransport | None":
        """The Spooler of the cluster, or None if this process need not wait for one.

        Raises:
            SpoolerAwayError: it was there a moment ago.
        """
        if self.actor is None:
            # Imported late: nothing else of this package needs Ray.
            from kodosumi_prefect.spooler.actor_transport import ActorTransport

            self.actor = ActorTransport(instance, self._writer, self._backlog)
        actor, now = self.actor, time.monotonic()
        if actor.is_there and actor.unreachable_for < RESTART_SECONDS:
            return actor
        expected = actor.lost_for < RECREATION_SECONDS
        if expected or now - self._looked_at >= LOOK_AGAIN:
            self._looked_at = now
            if actor.find():
                return actor
        if expected:
            raise SpoolerAwayError("the cluster's Spooler is gone; waiting for it to return")
        return None


def _after_fork() -> None:
    """A child of a Ray worker is no Ray worker: Ray's threads and sockets are the parent's."""
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_after_fork)
