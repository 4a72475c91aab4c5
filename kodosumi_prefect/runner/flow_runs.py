"""Flow runs as Prefect has them, asked until it answers."""

from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Abort, ObjectNotFound, PrefectException
from prefect.logging import get_logger
from prefect.states import Cancelled, Crashed, Scheduled

from kodosumi_prefect.backoff import Backoff
from kodosumi_prefect.listings import flow_run
from kodosumi_prefect.suspension.awaiting import is_suspended, waits_in_process
from kodosumi_prefect.suspension.leg import leg_of
from kodosumi_prefect.vocabulary import POOL_TYPE

RETRY_FIRST = 0.5  # seconds
RETRY_MOST = 10.0  # seconds

PREFECT_AWAY = (httpx.HTTPError, PrefectException, OSError)

logger = get_logger(POOL_TYPE)  # shown where Prefect's own are


class FlowRuns:
    """Reads and settles flow runs; waits while Prefect is away.

    Arguments:
        client: Prefect's, of the worker.
    """

    def __init__(self, client: PrefectClient) -> None:
        self._client = client

    async def has_begun(self, fid: UUID) -> bool:
        """Whether its code ran, or may have; a deleted run counts as begun."""
        run = await self.read(fid)
        if run is None or run.state is None:
            return True  # deleted: there is nothing left to begin
        if run.state.is_cancelling():
            return run.start_time is not None
        return not (run.state.is_pending() or run.state.is_scheduled())

    async def is_pending(self, fid: UUID) -> bool:
        """Whether a worker has it and its code did not run yet."""
        run = await self.read(fid)
        return run is not None and run.state is not None and run.state.is_pending()

    async def is_over(self, fid: UUID) -> bool:
        """Whether it has a final state, or was deleted."""
        run = await self.read(fid)
        return run is None or (run.state is not None and run.state.is_final())

    async def is_left(self, fid: UUID, leg: int) -> bool:
        """Whether it is over, or that leg of it is: it was suspended, and may go on elsewhere."""
        run = await self.read(fid)
        if run is None or (run.state is not None and run.state.is_final()):
            return True
        return is_suspended(run.state) or leg_of(run) > leg

    async def read(self, fid: UUID) -> FlowRun | None:
        """The flow run, None if it was deleted or cannot be read; waits while Prefect is away."""
        backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        while True:
            try:
                return await flow_run(self._client, fid)
            except ObjectNotFound:
                return None
            except PREFECT_AWAY as exc:
                logger.debug("cannot read flow run %s now: %s", fid, exc)
            await backoff.sleep()

    async def settle(self, fid: UUID, state: State[Any]) -> None:
        """Set a state that the run's process cannot set; waits while Prefect is away."""
        backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        force = not state.is_crashed()  # a run that ended by itself after all stays as it is
        while True:
            try:
                await self._client.set_flow_run_state(fid, state, force=force)
                return
            except (ObjectNotFound, Abort):
                return
            except PREFECT_AWAY as exc:
                logger.debug("cannot set flow run %s to %s now: %s", fid, state.name, exc)
            await backoff.sleep()

    async def conclude(self, fid: UUID, why: str) -> bool:
        """Report a run whose Runner is gone to Prefect; returns whether it was rescheduled."""
        run = await self.read(fid)
        if run is None or run.state is None or run.state.is_final():
            return False
        if run.state.is_pending():
            logger.warning("flow run %s had not begun (%s); it is scheduled again", fid, why)
            await self.settle(fid, Scheduled(message="Its Runner was lost before it began."))
            return True
        if run.state.is_cancelling():
            await self.settle(fid, Cancelled(message=f"Flow run was cancelled; {why}."))
        elif run.state.is_running() or waits_in_process(run.state):
            await self.settle(fid, Crashed(message=f"The run's Runner died: {why}"))
        return False
