"""What ``kodosumi-prefect up`` runs: start what is not configured, have it supervised, end it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import IO, Any

from kodosumi_prefect.addresses import PrefectAccess, configured_access, prefect_access
from kodosumi_prefect.carried import OURS_ALONE
from kodosumi_prefect.keys import accepted_run_keys, run_key
from kodosumi_prefect.settings import (
    PREFIX,
    Settings,
    database_url,
    private_folder,
    write_address,
)
from kodosumi_prefect.stack import prefect_server
from kodosumi_prefect.stack.child import Child, StackError
from kodosumi_prefect.stack.children import Children
from kodosumi_prefect.stack.keeper import end_family
from kodosumi_prefect.stack.keeper_client import KeeperClient, leftovers
from kodosumi_prefect.stack.lock import take_lock
from kodosumi_prefect.stack.ray_head import RayHead, plan_ray, ray_child
from kodosumi_prefect.stack.stack_postgres import StackPostgres
from kodosumi_prefect.stack.supervision import Supervision

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
        self._log_dir = settings.data_dir / "logs"
        self._lock: IO[str] | None = None
        self._children = Children(settings, on_progress)
        self._postgres = StackPostgres(settings, self._children, on_progress)
        self._prefect: PrefectAccess | None = None  # our own server
        self._ray: RayHead | None = None
        self._supervision = Supervision(
            settings,
            self._children,
            self._postgres,
            on_progress=on_progress,
            note_address=self._note_address,
            on_restart=on_restart,
        )
        self._stopped = asyncio.Event()
        self._stop_once = asyncio.Lock()

    @property
    def database_url(self) -> str | None:
        """The configured Postgres or the embedded one."""
        return self._postgres.url or database_url(self.settings)

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
            f"{PREFIX}{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in known.items()
        }
        if settings.secret_key is not None:
            variables[f"{PREFIX}RUN_KEY"] = run_key(settings) or ""
        if accepted := accepted_run_keys(settings):
            variables[f"{PREFIX}RUN_KEYS_ACCEPTED"] = ",".join(accepted)
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
        self._supervision.begin()

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
        supervision = self._supervision.task
        if supervision is None:
            return
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({stopped, supervision}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if not self._stopped.is_set() and not supervision.cancelled():
            supervision.result()

    async def stop(self) -> None:
        """End everything that was started, last first, and forget its addresses; repeatable."""
        async with self._stop_once:
            await self._supervision.end()
            await self._children.end_all()
            await self._postgres.end()
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
                group.create_task(self._postgres.start())
            if self._ray is not None:
                group.create_task(self._start_ray(self._ray))
            group.create_task(self._start_prefect(configured))

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

    async def _end_leftovers(self) -> None:
        try:
            left = leftovers(self.settings)
        except ValueError as exc:
            raise StackError(str(exc)) from exc
        for record in sorted(left, key=lambda record: record.order, reverse=True):
            # A Postgres that survived is adopted.
            if record.name != "postgres":
                await asyncio.to_thread(end_family, record)

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
