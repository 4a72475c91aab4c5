"""A service in the panel's own process, in a thread with an event loop of its own.

So a handler that blocks its loop, or fills a thread pool, holds up its own service only.
"""

import asyncio
import contextlib
import contextvars
import importlib
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, MutableMapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.panel.services.imported_modules import ImportedModules
from kodosumi_prefect.serve.starting import in_panel

STOP_TIMEOUT = 5.0  # seconds for its shutdown; a thread that still hangs then is left behind

T = TypeVar("T")

logger = logging.getLogger(__name__)


class MountError(Exception):
    """Why a service cannot be mounted, in one line."""


class Mounted:
    """A FastAPI app named ``module:app``, imported and started by ``start``.

    Arguments:
        name: as in the setting ``services``.

    Attributes:
        trouble: why it does not run, in one line; None once it does.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.trouble: str | None = f"{name} is not started yet"
        self._app: FastAPI | None = None
        self._state: dict[str, Any] = {}
        self._settled: Future[None] = Future()
        self._thread: threading.Thread | None = None

    @property
    def runs(self) -> bool:
        """Whether it can be called."""
        return self.trouble is None

    @property
    def is_starting(self) -> bool:
        """Whether its import or start has begun and neither ended nor failed."""
        return not self.runs and self._thread is not None and not self._settled.done()

    async def start(self, timeout: float) -> None:
        """Import and start it; return when it runs, is found not to, or after ``timeout`` seconds.

        One that failed is imported again; one that is still starting is waited for. Never raises
        for what is wrong with the service: see ``trouble``.
        """
        if self.runs:
            return
        if not self.is_starting:
            self._begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.shield(asyncio.wrap_future(self._settled))

    def once_settled(self, callback: Callable[[], object]) -> None:
        """Have a function called in the loop that runs now once it runs or is found not to."""
        loop = asyncio.get_running_loop()

        def settled(_: Future[None]) -> None:
            with contextlib.suppress(RuntimeError):  # the panel has ended
                loop.call_soon_threadsafe(callback)

        self._settled.add_done_callback(settled)

    def _begin(self) -> None:
        self.trouble = f"{self.name} is still starting"
        self._app = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._settled = Future()
        # The panel's context, with Prefect's settings, applies there as well.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._body,),
            name=f"service {self.name}",
            daemon=True,
        )
        self._thread.start()

    async def stop(self) -> None:
        """End it, with its lifespan, within ``STOP_TIMEOUT`` seconds."""
        if self._thread is None:
            return
        with contextlib.suppress(RuntimeError):  # its loop has ended already
            self._loop.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join, STOP_TIMEOUT)
        if self._thread.is_alive():
            logger.warning("service %s does not stop in time; it is left running", self.name)

    async def openapi(self) -> dict[str, Any]:
        """Its OpenAPI document.

        Raises:
            MountError: it does not run, or fails to make one.
        """
        app = self._running()

        async def document() -> dict[str, Any]:
            return app.openapi()

        try:
            return await self._there(document())
        except Exception as exc:
            raise MountError(
                f"{self.name} cannot produce its OpenAPI document: {_reason(exc)}"
            ) from exc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have it handle a request; cancelling this cancels its handler.

        Raises:
            MountError: it does not run.
            Exception: what it raises.
        """
        app = self._running()
        here = asyncio.get_running_loop()
        over = False

        async def back(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
            """Do something in the panel's loop, for the service's."""
            if over:
                raise OSError("the request has ended")
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), here))

        async def far_receive() -> Message:
            async def receiving() -> Message:
                return await receive()

            return await back(receiving)

        async def far_send(message: MutableMapping[str, Any]) -> None:
            async def sending() -> None:
                await send(message)

            await back(sending)

        async def handling() -> None:
            try:
                await app({**scope, "state": self._state.copy()}, far_receive, far_send)
            except SystemExit as exc:  # else it would end the loop, and with it the service
                raise RuntimeError(f"a handler of {self.name} called sys.exit") from exc

        try:
            await self._there(handling())
        finally:
            over = True

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the service's loop, for the panel's."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _running(self) -> FastAPI:
        if self._app is None or self.trouble is not None:
            raise MountError(self.trouble or f"{self.name} does not run")
        return self._app

    def _body(self) -> None:
        """Its thread: import it, and run it until it is stopped."""
        modules = ImportedModules(self.name.partition(":")[0])
        try:
            app = _imported(self.name)
            self._loop.run_until_complete(self._run(app, modules))
            self._loop.run_until_complete(cancel_all(asyncio.all_tasks(self._loop)))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        except MountError as exc:
            self._fail(str(exc), modules)
        except BaseException as exc:  # the thread ends with it, and somebody waits
            self._fail(f"{self.name} does not start: {_reason(exc)}", modules)
        finally:
            self._loop.close()

    async def _run(self, app: FastAPI, modules: ImportedModules) -> None:
        in_panel.set(True)
        lifespan: AbstractAsyncContextManager[Any] = app.router.lifespan_context(app)
        try:
            async with _running(lifespan) as state:
                self._state = dict(state or {})
                modules.keep()
                self._app, self.trouble = app, None
                self._settled.set_result(None)
                await self._stop.wait()
                self.trouble = f"{self.name} has ended"
        except (Exception, SystemExit) as exc:
            if self._app is not None:
                logger.warning("service %s failed while stopping", self.name, exc_info=exc)
            else:
                self._fail(f"{self.name} does not start: {_reason(exc)}", modules)

    def _fail(self, why: str, modules: ImportedModules) -> None:
        modules.forget()
        self.trouble = " ".join(why.split())
        logger.error("%s; the panel runs without it", self.trouble)
        if not self._settled.done():
            self._settled.set_result(None)


@contextlib.asynccontextmanager
async def _running(lifespan: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    async with lifespan as state:
        yield state


def _imported(name: str) -> FastAPI:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise MountError(f"service {name!r} is not of the form module:app")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # as `python -m` and uvicorn have it
    try:
        app: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            app = getattr(app, part)
    except (Exception, SystemExit) as exc:
        raise MountError(f"service {name} cannot be imported: {_reason(exc)}") from exc
    if not isinstance(app, FastAPI):
        raise MountError(f"service {name} is a {type(app).__name__}, not a ServeAPI or FastAPI app")
    return app


def _reason(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
