"""Cancelling from inside: a Runner notices that its flow run is to be cancelled and stops it."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.exceptions import PrefectException

from kodosumi_prefect._compat.prefect import cancelling_observer
from kodosumi_prefect._compat.prefect_cancellation import (
    cancelled_by_any_error,
    commit_to_cancel,
    signals_followed,
    under_way,
)

HEAD_START = 0.5  # seconds the flow gets for its own start before we take a share of the processor
POLL = 5.0  # seconds between polls while Prefect's events do not arrive
LOOK_INTERVAL = 20.0  # seconds between polls although Prefect's events arrive
LOOK_AGAIN = 1.0  # seconds until the next one if Prefect could not be read
ARM_INTERVAL = 0.05  # seconds between tries while Prefect's engine is not ready for the signal
DELIVERED_AGAIN = 1.0  # seconds until the next signal if somebody's code lost the one before

logger = logging.getLogger(__name__)


class Interruption:
    """Delivers a cancellation to the flow in the main thread, as Prefect's own runner does.

    Prefect's engine ends a run as Cancelled, with its ``on_cancellation`` hooks, only if the
    intent was committed before SIGTERM comes; SIGTERM alone means Crashed. A signal that got lost
    in somebody's code is sent again, and an error that was made of it ends the run as Cancelled,
    too. A context manager for the time of the run.
    """

    def __init__(self, flow_run_id: UUID) -> None:
        self._flow_run_id = flow_run_id
        self._ended = threading.Event()
        self._request = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._following = contextlib.ExitStack()
        self._thread = threading.Thread(target=self._run, name="kodosumi-interruption", daemon=True)

    def __enter__(self) -> Self:
        self._following.enter_context(signals_followed())
        self._following.enter_context(cancelled_by_any_error())
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._following.close()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._wake.set)

    @property
    def requested(self) -> bool:
        """Whether the run is to be cancelled."""
        return self._request.is_set()

    def _run(self) -> None:
        if self._ended.wait(HEAD_START):
            return
        asyncio.run(self._watch())
        if self.requested:
            self._deliver()

    async def _watch(self) -> None:
        """Return once the run is to be cancelled or is over."""
        self._loop = asyncio.get_running_loop()
        observer = cancelling_observer(
            self._flow_run_id,
            # Prefect tells again of what is past, such as the end of an attempt that was cancelled:
            # the state decides.
            lambda flow_run_id: self._wake.set(),
            POLL,
            EventFilter(
                event=EventNameFilter(name=["prefect.flow-run.Cancelling"]),
                any_resource=EventAnyResourceFilter(id=[f"prefect.flow-run.{self._flow_run_id}"]),
            ),
        )
        async with observer:
            known = await self._look()  # it may have been requested before anybody listened
            while not self._ended.is_set() and not self.requested:
                # Events are lost while Prefect's socket reconnects.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_INTERVAL if known else LOOK_AGAIN):
                        await self._wake.wait()
                self._wake.clear()
                if not self._ended.is_set():
                    known = await self._look()

    async def _look(self) -> bool:
        """See whether the run is to be cancelled; False if Prefect cannot be read."""
        try:
            async with get_client() as client:
                run = await client.read_flow_run(self._flow_run_id)
        except (httpx.HTTPError, PrefectException, OSError) as exc:
            logger.warning("cannot read flow run %s from Prefect: %s", self._flow_run_id, exc)
            return False
        if run.state is not None and run.state.is_cancelling():
            self._request.set()
        return True

    def _deliver(self) -> None:
        """Commit the intent as soon as Prefect's engine listens, and signal until it knows."""
        pause = ARM_INTERVAL
        while not self._ended.wait(pause):
            if not under_way() and commit_to_cancel():
                os.kill(os.getpid(), signal.SIGTERM)
                pause = DELIVERED_AGAIN
