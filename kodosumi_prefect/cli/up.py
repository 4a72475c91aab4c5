"""``up``, ``panel`` and ``observer``: what runs until it is stopped."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kodosumi_prefect.addresses import prefect_access
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.cli.env import command_line
from kodosumi_prefect.cli.logs import install_logging
from kodosumi_prefect.cli.options import with_options
from kodosumi_prefect.cli.output import (
    CommandError,
    console,
    errors,
    require_database,
    require_prefect,
)
from kodosumi_prefect.database import migrate
from kodosumi_prefect.settings import (
    Settings,
    get_settings,
    kodosumi_notes,
    write_address,
)

if TYPE_CHECKING:
    from kodosumi_prefect.panel.web.server import Beside
    from kodosumi_prefect.panel.web.state import State

Services = Annotated[tuple[str, ...], Parameter(name="--service", negative=())]
Sources = Annotated[tuple[str, ...], Parameter(name="--register", negative=())]


def up(
    *,
    data_dir: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    prefect_port: int | None = None,
    worker: bool = True,
    service: Services = (),
    register: Sources = (),
) -> None:
    """Run everything that is not configured, and the panel, until Ctrl-C.

    Starts an embedded Postgres, a Prefect server, a Ray head and a Prefect worker, each only if
    the settings do not name one, then the panel. The last start-up line is "ready" and the
    panel's address. Ctrl-C or SIGTERM stops all of it.

    Parameters
    ----------
    data_dir
        Folder for data, logs and addresses.
    host
        Address of the panel; 0.0.0.0 for all of this machine's.
    port
        Port of the panel; 0 takes a free one.
    prefect_port
        Port of the Prefect server, if one is started.
    worker
        Run a worker for the work pool "kodosumi".
    service
        An agentic service, as module:app, that the panel serves itself; repeatable.
    register
        URL of a service's OpenAPI document, or of Ray Serve's /-/routes, to register once the
        panel is up; waits a minute for one that is not there yet. Repeatable.
    """
    say_what_kodosumi_had()
    settings = with_options(
        data_dir=data_dir, host=host, port=port, services=_with_configured(service)
    )
    asyncio.run(_up(settings, prefect_port, worker, register))


def panel(
    *,
    host: str | None = None,
    port: int | None = None,
    service: Services = (),
    register: Sources = (),
    data_dir: Annotated[Path | None, Parameter(show=False)] = None,
) -> None:
    """Serve the panel alone, on the configured Postgres and Prefect.

    Parameters
    ----------
    host
        Address; 0.0.0.0 for all of this machine's.
    port
        Port; 0 takes a free one.
    service
        An agentic service, as module:app, that the panel serves itself; repeatable.
    register
        URL of a service's OpenAPI document, or of Ray Serve's /-/routes, to register once the
        panel is up; waits a minute for one that is not there yet. Repeatable.
    """
    from kodosumi_prefect.cli.registering import register_sources
    from kodosumi_prefect.panel.web.server import run

    say_what_kodosumi_had()
    settings = with_options(
        data_dir=data_dir, host=host, port=port, services=_with_configured(service)
    )
    require_database(settings)
    install_logging(settings)
    access = prefect_access(settings)
    # Without one, /health says that Prefect is missing; streams do not need it.
    with access.in_force() if access else nullcontext():
        run(
            settings,
            lambda address: console.print(f"ready {address}"),
            tell,
            partial(register_sources, urls=register, say=tell) if register else None,
        )


def observer() -> None:
    """Record from outside what runs do, until Ctrl-C: states, crashes, task runs, links, retention.

    Needs the configured Postgres and Prefect. Any number may run; one leads, the others take over
    within seconds when it is gone. `up` runs one already.
    """
    from kodosumi_prefect.observer.observer import Observer

    say_what_kodosumi_had()
    settings = get_settings()
    url = require_database(settings)
    try:
        migrate.require(url, settings.database_schema)
    except migrate.SchemaTooOldError as exc:
        raise CommandError(str(exc)) from exc
    install_logging(settings)
    with require_prefect(settings).in_force():
        asyncio.run(_until_signalled(Observer(settings).run()))


async def _until_signalled(work: Coroutine[Any, Any, None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks: list[asyncio.Future[Any]] = [
        asyncio.create_task(work),
        asyncio.create_task(stop.wait()),
    ]
    console.print("ready")
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel_all(tasks)


def say_what_kodosumi_had() -> None:
    """Warn of settings of Kodosumi itself, which are used or not."""
    for line in kodosumi_notes():
        errors.print(line, style="yellow", markup=False, soft_wrap=True)


def tell(text: str) -> None:
    """Print what whoever started the panel has to know."""
    console.print(text, markup=False, soft_wrap=True)


def _with_configured(services: tuple[str, ...]) -> list[str] | None:
    """The services of the settings and those given here; None for no more than the former."""
    return [*get_settings().services, *services] if services else None


@asynccontextmanager
async def running_stack(
    settings: Settings,
    prefect_port: int | None,
    worker: bool,
    beside: "Beside | None" = None,
) -> AsyncIterator[tuple[Any, str]]:
    """The stack with its panel and observer: ``(stack, panel URL)``; ended at exit.

    Arguments:
        beside: work in the panel's process, as ``serve`` takes it.

    Raises:
        CommandError: what is missing, or a part that does not start.
    """
    try:
        from kodosumi_prefect.observer.observer import Observer
        from kodosumi_prefect.panel.web.app import PanelError
        from kodosumi_prefect.panel.web.server import serve
        from kodosumi_prefect.stack import Stack, StackError
        from kodosumi_prefect.stack.spooler_start import start_spooler
    except ModuleNotFoundError as exc:
        raise CommandError(f"{exc.name} is missing; install kodosumi-prefect[all]") from exc

    def progress(part: str, text: str) -> None:
        console.print(f"  [cyan]{part:<10}[/cyan]", end="")
        console.print(text, markup=False)

    async def restarted(part: str) -> None:
        if part == "ray" and not worker:
            await start_spooler(stack.environment(), progress)

    stack = Stack(
        settings,
        prefect_port=prefect_port,
        on_progress=progress,
        worker=worker,
        on_restart=restarted,
    )
    tasks: list[asyncio.Task[Any]] = []
    stop_panel = asyncio.Event()
    try:
        await stack.start()
        url = stack.database_url
        assert url is not None
        if settings.database_url is None:
            await asyncio.to_thread(migrate.upgrade, url, settings.database_schema)
        else:
            await asyncio.to_thread(migrate.require, url, settings.database_schema)
        access = stack.prefect
        assert access is not None
        # For programs that services in the panel's process run.
        os.environ["PREFECT_API_URL"] = access.url
        if access.auth_path is not None:
            os.environ.update(access.environment())
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        with access.in_force():
            serving = asyncio.create_task(
                serve(settings, stop=stop_panel, on_ready=ready.set_result, say=tell, beside=beside)
            )
            tasks.append(serving)
            waiting: set[asyncio.Future[Any]] = {serving, ready}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                await serving
                raise CommandError("the panel ended before it was ready")
            address = ready.result()
            write_address(settings, "panel", {"url": address, "pid": os.getpid()})
            tasks.append(asyncio.create_task(Observer(settings).run()))
            tasks.append(asyncio.create_task(stack.wait()))
            if not worker and stack.ray_address not in (None, "local"):
                # With a worker, the worker has the Spooler.
                starting = start_spooler(stack.environment(), progress)
                tasks.append(asyncio.create_task(starting))
            yield stack, address
    except (PanelError, StackError, migrate.SchemaTooOldError) as exc:
        raise CommandError(str(exc)) from exc
    finally:
        stop_panel.set()
        await cancel_all(tasks[1:])
        await asyncio.gather(*tasks, return_exceptions=True)
        await stack.stop()


async def _up(
    settings: Settings, prefect_port: int | None, worker: bool, register: tuple[str, ...]
) -> None:
    install_logging(settings)
    ready = asyncio.Event()

    async def registering(panel: "State") -> None:
        from kodosumi_prefect.cli.registering import register_sources

        await ready.wait()  # behind the lines of the start
        await register_sources(panel, register, tell)

    me = asyncio.current_task()
    assert me is not None
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def ask() -> None:
        if stop.is_set():
            return  # it is stopping already; a second Ctrl-C must not leave processes behind
        stop.set()
        console.print("stopping")
        me.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)
    try:
        beside = registering if register else None
        async with running_stack(settings, prefect_port, worker, beside) as (stack, address):
            console.print(f"  Prefect API  {stack.prefect_api_url}", markup=False)
            evaluate = f'  terminals    eval "$({command_line(settings)})"'
            console.print(evaluate, markup=False, soft_wrap=True)
            console.print(f"  data         {settings.data_dir}", markup=False)
            console.print(f"ready {address}", markup=False)
            ready.set()
            await stack.wait()
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
