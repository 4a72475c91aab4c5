"""Starting the parts of a stack again when they die."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.child import LastingError, RunningChild, StackError, brief
from kodosumi_prefect.stack.children import Children
from kodosumi_prefect.stack.keeper import end_family
from kodosumi_prefect.stack.lasting import check_ports, check_room
from kodosumi_prefect.stack.stack_postgres import StackPostgres

LOOK_INTERVAL = 0.5  # seconds between checks whether children live
FAMILY_INTERVAL = 2.0  # seconds between checks for processes that children started


class Supervision:
    """Watches the parts of a stack and starts again what died, after growing pauses.

    Arguments:
        settings: whose data dir the parts write to.
        children: the processes of the stack.
        postgres: the embedded one, which is none of them.
        on_progress: called with a part and what happens to it, for people to read.
        note_address: called with a part's name and the pid of its new process.
        on_restart: awaited with the part's name after a part was started again.

    Attributes:
        task: fails when no further start would help; None before the first ``begin``.
    """

    def __init__(
        self,
        settings: Settings,
        children: Children,
        postgres: StackPostgres,
        *,
        on_progress: Callable[[str, str], None],
        note_address: Callable[[str, int], None],
        on_restart: Callable[[str], Awaitable[None]] | None,
    ) -> None:
        self._settings = settings
        self._children = children
        self._postgres = postgres
        self._on_progress = on_progress
        self._note_address = note_address
        self._on_restart = on_restart
        self.task: asyncio.Task[None] | None = None
        self._revivals: dict[str, asyncio.Task[None]] = {}

    def begin(self) -> None:
        self.task = asyncio.create_task(self._supervise())

    async def end(self) -> None:
        """Watch no longer, and give up what is being started again."""
        tasks = [task for task in (self.task, *self._revivals.values()) if task]
        await cancel_all(tasks)
        self._revivals.clear()

    async def _supervise(self) -> None:
        assert self._children.keeper is not None
        looked_at_families = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            with contextlib.suppress(OSError):  # tried again at the next check
                if await asyncio.to_thread(self._children.keeper.check):
                    self._on_progress("keeper", "was ended by another process and is started again")
            for name, task in [*self._revivals.items()]:
                if task.done():
                    del self._revivals[name]
                    task.result()
            self._trim_logs()
            for name, running in [*self._children.running.items()]:
                if running.exit_code is not None and name not in self._revivals:
                    self._revivals[name] = asyncio.create_task(self._revive(running))
            if self._postgres.died and "postgres" not in self._revivals:
                self._revivals["postgres"] = asyncio.create_task(self._revive_postgres())
            if time.monotonic() - looked_at_families > FAMILY_INTERVAL:
                await self._children.look_at_families()
                looked_at_families = time.monotonic()

    def _trim_logs(self) -> None:
        # On a full disk the parts may go on; the log is what can wait.
        with contextlib.suppress(OSError):
            for child in self._children.running.values():
                child.trim_log()
            self._postgres.trim_log()

    async def _revive(self, dead: RunningChild) -> None:
        assert self._children.keeper is not None
        child = dead.child

        async def start() -> None:
            assert self._children.keeper is not None
            if child.remains == "end":
                await asyncio.to_thread(end_family, dead.record, dead.popen.poll)
            await check_ports(child)
            try:
                running = await self._children.run(child, dead.record.leaders)
                self._note_address(child.name, running.popen.pid)
            except (StackError, OSError) as exc:
                await self._children.end(child.name, forget=False)
                # What the dead one left goes on, and is to end with the stack all the same.
                self._children.running[child.name] = dead
                with contextlib.suppress(OSError):
                    self._children.keeper.add(dead.record)
                if isinstance(exc, OSError):
                    raise StackError(f"{exc.filename or child.name}: {exc.strerror}") from exc
                raise

        await self._start_again(child.name, f"ended with {dead.exit_code}", start)

    async def _revive_postgres(self) -> None:
        await self._start_again("postgres", "ended", self._postgres.start)

    async def _start_again(
        self, name: str, what: str, start: Callable[[], Awaitable[None]]
    ) -> None:
        """Start a part until it serves, with growing pauses.

        Arguments:
            what: happened to it, for people.

        Raises:
            StackError: no further start would help.
        """
        restarts = self._children.restarts_of(name)
        while True:
            pause = restarts.died()
            often = f" ({restarts.often})" if restarts.often else ""
            self._on_progress(name, f"{what}{often}, starting again in {pause:g} s")
            await asyncio.sleep(pause)
            try:
                await start()
            except LastingError:
                raise
            except StackError as exc:
                check_room(name, self._settings.data_dir, str(exc))
                what = "did not start: " + brief(exc)
            else:
                break
        if self._on_restart is not None:
            await self._on_restart(name)
