"""Runs in legs: as a lock that suspends its run ends one, and as a worker begins the next."""

import asyncio
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.flows import Flow
from prefect.states import Pending, Suspended

from kodosumi_prefect.suspension.leg import current_leg, key_of_end, root_run
from kodosumi_prefect.suspension.reuse import obstacles
from tests.services import Place, Recorded


class KeptRunningError(Exception):
    """The run could not be suspended."""


def suspended(leg: int = 0) -> None:
    """End this leg if it is that one, as a lock does that nobody has answered yet.

    Raises:
        KeptRunningError: what is done could not be reused; its text are the obstacles.
    """
    if current_leg() > leg:
        return
    run = root_run()
    assert run is not None
    if lines := obstacles():
        raise KeptRunningError("\n".join(lines))
    with get_client(sync_client=True) as client:
        state = Suspended(timeout_seconds=None, pause_key=key_of_end(run))
        accepted = client.set_flow_run_state(run.id, state)
        assert accepted.state is not None
        assert accepted.state.is_paused(), accepted
        raise Pause(state=accepted.state)


class Legs:
    """A flow run with a deployment, leg by leg in this process."""

    def __init__(self, place: Place, flow: Flow[..., Any], **parameters: Any) -> None:
        self._place = place
        self.flow = flow
        with get_client(sync_client=True) as client:
            flow_id = client.create_flow(flow)
            deployment = client.create_deployment(flow_id, name=f"legs-of-{flow.name}")
            run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
        self.id: UUID = run.id

    def leg(self) -> State[Any]:
        """Run one leg; the state that the run is in then."""
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(self.id)
            if run.state is not None and run.state.is_paused():
                client.resume_flow_run(self.id)
            client.set_flow_run_state(self.id, Pending(), force=True)
            run = client.read_flow_run(self.id)
        with suppress(Pause):
            how: Any = {"parameters": run.parameters, "return_type": "state"}
            returned: Any = run_flow(self.flow, flow_run=run, **how)
            if asyncio.iscoroutine(returned):
                asyncio.run(returned)
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(self.id).state
        assert state is not None
        return state

    def to_its_end(self, legs: int = 2) -> Recorded:
        """Run all legs, of which the last one completes."""
        for _ in range(legs - 1):
            state = self.leg()
            assert state.is_paused(), state
        state = self.leg()
        recorded = self._place.recorded(str(self.id))
        assert state.is_completed(), recorded.of("error")
        return recorded
