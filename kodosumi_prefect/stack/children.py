"""The processes of a stack: started, known to its keeper, ended with what they started."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from kodosumi_prefect.settings import Settings, write_address
from kodosumi_prefect.stack.child import Child, RunningChild, StackError
from kodosumi_prefect.stack.keeper import end_family, family, processes
from kodosumi_prefect.stack.keeper_client import KeeperClient
from kodosumi_prefect.stack.restarts import Restarts


class Children:
    """The processes that a stack started for its data dir, by name.

    Attributes:
        keeper: ends them if the stack's owner is killed; there while the stack is up.
        running: those that were started and not ended.
    """

    def __init__(self, settings: Settings, on_progress: Callable[[str, str], None]) -> None:
        self._settings = settings
        self._on_progress = on_progress
        self._log_dir = settings.data_dir / "logs"
        self._restarts: dict[str, Restarts] = {}
        self.keeper: KeeperClient | None = None
        self.running: dict[str, RunningChild] = {}

    async def run(self, child: Child, leaders: Any = ()) -> RunningChild:
        """Start a child and wait until it serves; one that does not is ended."""
        assert self.keeper is not None
        self._on_progress(child.name, "starting")
        running = RunningChild(child, self._log_dir)
        running.record = running.record._replace(leaders=leaders)
        self.running[child.name] = running
        self.keeper.add(running.record)
        try:
            seconds = await running.until_ready()
        except StackError:
            # What a predecessor left running may go on until the stack is stopped.
            running.record = running.record._replace(leaders=())
            await self.end(child.name, forget=False)
            raise
        self.restarts_of(child.name).served()
        self._on_progress(child.name, f"ready after {seconds:.1f} s")
        return running

    def restarts_of(self, name: str) -> Restarts:
        return self._restarts.setdefault(name, Restarts())

    async def end(self, name: str, *, forget: bool = True) -> None:
        """End a child.

        Arguments:
            forget: its address, too; kept where it is started again, for those who wait for it.
        """
        running = self.running.pop(name, None)
        if running is None:
            return
        if forget:
            with contextlib.suppress(OSError):
                write_address(self._settings, name, None)
        if await asyncio.to_thread(end_family, running.record, running.popen.poll):
            if self.keeper is not None:
                self.keeper.drop(name)
            self._on_progress(name, "ended")
        else:
            self._on_progress(name, f"does not end; check process {running.popen.pid}")

    async def end_all(self) -> None:
        """End all of them, last first."""
        orders = {running.child.order for running in self.running.values()}
        for order in sorted(orders, reverse=True):
            await asyncio.gather(
                *(
                    self.end(name)
                    for name, running in [*self.running.items()]
                    if running.child.order == order
                )
            )

    async def look_at_families(self) -> None:
        """Note sessions that descendants made, while the parents that lead to them live."""
        assert self.keeper is not None
        table = await asyncio.to_thread(processes)
        for running in self.running.values():
            record, _members = family(running.record, table)
            if record != running.record:
                running.record = record
                self.keeper.add(record)
