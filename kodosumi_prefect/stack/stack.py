"""What ``kodosumi-prefect up`` runs: start what is not configured, supervise it, end it."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Awaitable, Callable
from typing import IO, Any

from kodosumi_prefect.addresses import PrefectAccess, configured_access, prefect_access
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.carried import OURS_ALONE
from kodosumi_prefect.keys import run_key
from kodosumi_prefect.settings import (
    PREFIX,
    Settings,
    database_url,
    private_folder,
    write_address,
)
from kodosumi_prefect.stack import prefect_server
from kodosumi_prefect.stack.child import Child, LastingError, RunningChild, StackError, brief
from kodosumi_prefect.stack.children import Children
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres, PortTakenError
from kodosumi_prefect.stack.keeper import Record, end_family, start_of
from kodosumi_prefect.stack.keeper_client import KeeperClient, leftovers
from kodosumi_prefect.stack.lasting import check_ports, check_room
from kodosumi_prefect.stack.lock import take_lock
from kodosumi_prefect.stack.postgres_programs import EmbeddedError
from kodosumi_prefect.stack.ray_head import RayHead, plan_ray, ray_child

LOOK_INTERVAL = 0.5  # seconds between checks whether children live
FAMILY_INTERVAL = 2.0  # seconds between checks for processes that children started
POSTGRES_GRACE = 30.0  # seconds
TELL_EVERY = 30.0  # seconds between messages about a start that takes long
PARTS = ("postgres", "prefect", "ray", "panel")


class Stack:
    """Postgres, Prefect, Ray and a worker for one data dir, as far as they are not configured.

    Example:
        ```python
        stack = Stack(get_settings(), on_progress=print)
        await stack.start()
        try:
            await stack.wait()
        finally:
            await stack.stop()
        ```

    A part that dies is started again, after growing pauses, for as long as the stack is up.
    Whatever ends the owner, its children end: ``stop`` ends them, and a keeper process does if the
    owner is killed.

    Arguments:
        prefect_port: port for Prefect's server; unset, the last start's or a free one.
        on_progress: called with a part and what happens to it, for people to read.
        worker: run a Prefect worker for process pools.
        pool: the work pool it serves, made if absent.
        on_restart: awaited with the part's name after a part was started again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        prefect_port: int | None = None,
        on_progress: Callable[[str, str], None],
        worker: bool = True,
        pool: str = "kodosumi",
        on_restart: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.settings = settings
        self._prefect_port = prefect_port
        self._on_progress = on_progress
        self._worker = worker
        self._pool = pool
        self._on_restart = on_restart
        self._log_dir = settings.data_dir / "logs"
        self._lock: IO[str] | None = None
        self._postgres: EmbeddedPostgres | None = None
        self._postgres_start: asyncio.Future[str] | None = None
        self._children = Children(settings, on_progress)
        self._prefect: PrefectAccess | None = None  # our own server
        self._ray: RayHead | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._revivals: dict[str, asyncio.Task[None]] = {}
        self._stopped = asyncio.Event()
        self._stop_once = asyncio.Lock()

    @property
    def database_url(self) -> str | None:
        """The configured Postgres or the embedded one."""
        return self._postgres.url if self._postgres else database_url(self.settings)

    @property
    def prefect_api_url(self) -> str | None:
        """The configured Prefect API or that of our server."""
        return self.prefect.url if self.prefect else None

    @property
    def prefect(self) -> PrefectAccess | None:
        """How to reach our own server or the configured one."""
        return self._prefect or prefect_access(self.settings)

    @property
    def ray_address(self) -> str | None:
        """For ``ray.init``: the configured cluster or our head."""
        return self._ray.address if self._ray else self.settings.ray_address

    def environment(self) -> dict[str, str]:
        """What a child that runs flows needs to find the parts of this stack.

        Secrets of the panel are not in it; the key that runs need, derived from one, is.
        """
        settings = self.settings
        known = settings.model_dump(
            mode="json",
            include=(settings.model_fields_set | {"data_dir"}) - OURS_ALONE,
            exclude_none=True,
            context={"include_secrets": True},
        )
        variables = {
            f"{PREFIX}{name.upper()}": json.dumps(value) if isinstance(value, list) else str(value)
            for name, value in known.items()
        }
        if settings.secret_key is not None:
            variables[f"{PREFIX}RUN_KEY"] = run_key(settings) or ""
        return variables | self._parts_environment()

    async def start(self) -> None:
        """Start what is not configured, all at once, and return when all of it serves.

        Raises:
            StackError: a part cannot run, or another process runs this data dir's stack. What
                was started is ended then.
        """
        self._stopped.clear()
        self._lock = await take_lock(
            self.settings.data_dir,
            lambda: self._on_progress("stack", "waiting for the last stack's processes to end"),
        )
        try:
            private_folder(self.settings.spool_dir)
            self._children.keeper = KeeperClient(self.settings, self._lock.fileno())
            await self._end_leftovers()
            await self._start_parts()
        except BaseException as exc:
            await self.stop()
            if isinstance(exc, BaseExceptionGroup):
                raise _first(exc) from None
            raise
        self._supervision = asyncio.create_task(self._supervise())

    async def add(self, child: Child) -> None:
        """Start another process and supervise it with the rest; it ends before the others.

        Raises:
            StackError: it did not become ready; it is ended then.
            ValueError: the name is taken.
        """
        taken = child.name in self._children.running
        if taken or child.name in ("postgres", "prefect", "ray", "worker"):
            raise ValueError(f"the stack already has a child {child.name!r}")
        await self._children.run(child)

    async def wait(self) -> None:
        """Return when the stack was stopped.

        Raises:
            StackError: a part died and no further start would help; call ``stop`` then.
        """
        if self._supervision is None:
            return
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({stopped, self._supervision}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if not self._stopped.is_set() and not self._supervision.cancelled():
            self._supervision.result()

    async def stop(self) -> None:
        """End everything that was started, last first, and forget its addresses; repeatable."""
        async with self._stop_once:
            await self._end_supervision()
            await self._children.end_all()
            await self._end_postgres()
            if self._children.keeper is not None:
                await asyncio.to_thread(self._children.keeper.close)
                self._children.keeper = None
            if self._lock is not None:
                for part in PARTS:
                    write_address(self.settings, part, None)
                self._lock.close()
                self._lock = None
            self._stopped.set()

    async def _start_parts(self) -> None:
        for part in PARTS:
            write_address(self.settings, part, None)
        configured = configured_access()
        if configured is None:
            port = prefect_server.choose_port(self.settings, self._prefect_port)
            self._prefect = prefect_server.plan_server(self.settings, port)
        if self.settings.ray_address is None:
            self._ray = plan_ray(self.settings)
        async with asyncio.TaskGroup() as group:
            if self.settings.database_url is None:
                group.create_task(self._start_postgres())
            if self._ray is not None:
                group.create_task(self._start_ray(self._ray))
            group.create_task(self._start_prefect(configured))

    async def _start_postgres(self) -> None:
        self._on_progress("postgres", "starting")
        began = time.monotonic()
        if self._postgres is None:
            self._postgres = EmbeddedPostgres(self.settings.data_dir, self._keep_postgres)
        # Cancelling us does not end the thread; stop() waits for this future.
        self._postgres_start = asyncio.ensure_future(asyncio.to_thread(self._postgres.start))
        while not (await asyncio.wait({self._postgres_start}, timeout=TELL_EVERY))[0]:
            self._on_progress(
                "postgres",
                f"still starting after {time.monotonic() - began:.0f} s, as after a crash with "
                f"much to recover; see {self._postgres.log_path}",
            )
        try:
            self._postgres_start.result()
        except PortTakenError as exc:
            raise LastingError(str(exc)) from exc
        except EmbeddedError as exc:
            raise StackError(str(exc)) from exc
        self._children.restarts_of("postgres").served()
        self._on_progress("postgres", f"ready after {time.monotonic() - began:.1f} s")

    async def _start_ray(self, head: RayHead) -> None:
        known: dict[str, str | None] = {f"{PREFIX}DATA_DIR": str(self.settings.data_dir)}
        if self._prefect is not None:
            # Who may read what Ray's processes inherit is not known; Runners get it by order.
            known |= {"PREFECT_API_URL": self._prefect.url, "PREFECT_API_AUTH_STRING": None}
        running = await self._children.run(ray_child(head, known))
        self._note_address("ray", running.popen.pid)

    async def _start_prefect(self, configured: PrefectAccess | None) -> None:
        if self._prefect is not None:
            server = prefect_server.server_child(self.settings, self._prefect)
            running = await self._children.run(server)
            self._note_address("prefect", running.popen.pid)
        elif configured is not None:
            await prefect_server.check_configured(configured.url)
        if self._worker:
            await self._children.run(
                prefect_server.worker_child(
                    self.settings, self._pool, self.environment(), self._log_dir / "worker.log"
                )
            )

    def _parts_environment(self) -> dict[str, str]:
        variables = self._ray.environment() if self._ray else {}
        return variables | (self._prefect.environment() if self._prefect else {})

    def _keep_postgres(self, pid: int) -> None:
        if self._children.keeper is not None:
            started = start_of(pid) or "gone"
            self._children.keeper.add(
                Record("postgres", pid, started, signal.SIGINT, POSTGRES_GRACE, False, order=0)
            )

    async def _end_postgres(self) -> None:
        if self._postgres is None:
            return
        if self._postgres_start is not None:
            self._postgres.give_up()
            await asyncio.gather(self._postgres_start, return_exceptions=True)
        was_there = self._postgres.pid is not None
        await asyncio.to_thread(self._postgres.stop)
        if self._children.keeper is not None:
            self._children.keeper.drop("postgres")
        if was_there:
            self._on_progress("postgres", "ended")
        self._postgres = None

    async def _end_leftovers(self) -> None:
        try:
            left = leftovers(self.settings)
        except ValueError as exc:
            raise StackError(str(exc)) from exc
        for record in sorted(left, key=lambda record: record.order, reverse=True):
            # A Postgres that survived is adopted.
            if record.name != "postgres":
                await asyncio.to_thread(end_family, record)

    async def _end_supervision(self) -> None:
        tasks = [task for task in (self._supervision, *self._revivals.values()) if task]
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
            postgres_died = self._postgres is not None and not self._postgres.alive
            if postgres_died and "postgres" not in self._revivals:
                self._revivals["postgres"] = asyncio.create_task(self._revive_postgres())
            if time.monotonic() - looked_at_families > FAMILY_INTERVAL:
                await self._children.look_at_families()
                looked_at_families = time.monotonic()

    def _trim_logs(self) -> None:
        # On a full disk the parts may go on; the log is what can wait.
        with contextlib.suppress(OSError):
            for child in self._children.running.values():
                child.trim_log()
            if self._postgres is not None:
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
        await self._start_again("postgres", "ended", self._start_postgres)

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
                check_room(name, self.settings.data_dir, str(exc))
                what = "did not start: " + brief(exc)
            else:
                break
        if self._on_restart is not None:
            await self._on_restart(name)

    def _note_address(self, name: str, pid: int) -> None:
        """Write down where a child that was started is, for other processes of this user."""
        if name == "ray" and self._ray is not None:
            write_address(self.settings, "ray", self._ray.recorded(pid))
        if name == "prefect" and self._prefect is not None:
            write_address(self.settings, "prefect", self._prefect.recorded(pid))


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    """What went wrong first; the rest followed from ending the other starts."""
    for exc in group.exceptions:
        if not isinstance(exc, asyncio.CancelledError):
            return _first(exc) if isinstance(exc, BaseExceptionGroup) else exc
    return group.exceptions[0]
