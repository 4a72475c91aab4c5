"""The embedded Postgres as a part of a stack: started, known to the keeper, ended."""

import asyncio
import signal
import time
from collections.abc import Callable

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.child import LastingError, StackError
from kodosumi_prefect.stack.children import Children
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres, PortTakenError
from kodosumi_prefect.stack.keeper import Record, start_of
from kodosumi_prefect.stack.postgres_programs import EmbeddedError

POSTGRES_GRACE = 30.0  # seconds
TELL_EVERY = 30.0  # seconds between messages about a start that takes long


class StackPostgres:
    """The Postgres that a stack runs where none is configured.

    Arguments:
        settings: whose data dir it serves.
        children: of the stack; their keeper ends it too.
        on_progress: called with the part's name and what happens to it, for people to read.
    """

    def __init__(
        self, settings: Settings, children: Children, on_progress: Callable[[str, str], None]
    ) -> None:
        self._settings = settings
        self._children = children
        self._on_progress = on_progress
        self._server: EmbeddedPostgres | None = None
        self._starting: asyncio.Future[str] | None = None

    @property
    def url(self) -> str | None:
        """Where it is; None as long as the stack did not start it.

        Raises:
            EmbeddedError: it does not serve yet.
        """
        return self._server.url if self._server is not None else None

    @property
    def died(self) -> bool:
        """Whether it was started, not ended, and does not run."""
        return self._server is not None and not self._server.alive

    async def start(self) -> None:
        """Start it, or start it again, and return when it serves.

        Raises:
            LastingError: another program has its port, so that no further start would help.
            StackError: it does not start.
        """
        self._on_progress("postgres", "starting")
        began = time.monotonic()
        if self._server is None:
            self._server = EmbeddedPostgres(self._settings.data_dir, self._keep)
        # Cancelling us does not end the thread; end() waits for this future.
        self._starting = asyncio.ensure_future(asyncio.to_thread(self._server.start))
        while not (await asyncio.wait({self._starting}, timeout=TELL_EVERY))[0]:
            self._on_progress(
                "postgres",
                f"still starting after {time.monotonic() - began:.0f} s, as after a crash with "
                f"much to recover; see {self._server.log_path}",
            )
        try:
            self._starting.result()
        except PortTakenError as exc:
            raise LastingError(str(exc)) from exc
        except EmbeddedError as exc:
            raise StackError(str(exc)) from exc
        self._children.restarts_of("postgres").served()
        self._on_progress("postgres", f"ready after {time.monotonic() - began:.1f} s")

    async def end(self) -> None:
        """End it, in the middle of a start as well; repeatable."""
        if self._server is None:
            return
        if self._starting is not None:
            self._server.give_up()
            await asyncio.gather(self._starting, return_exceptions=True)
        was_there = self._server.pid is not None
        await asyncio.to_thread(self._server.stop)
        if self._children.keeper is not None:
            self._children.keeper.drop("postgres")
        if was_there:
            self._on_progress("postgres", "ended")
        self._server = None

    def trim_log(self) -> None:
        """Cut its log if that has grown too much; call it now and then."""
        if self._server is not None:
            self._server.trim_log()

    def _keep(self, pid: int) -> None:
        if self._children.keeper is not None:
            started = start_of(pid) or "gone"
            self._children.keeper.add(
                Record("postgres", pid, started, signal.SIGINT, POSTGRES_GRACE, False, order=0)
            )
