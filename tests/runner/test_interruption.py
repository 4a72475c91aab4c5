"""A cancellation reaches the attempt that it is meant for, and no later one."""

import contextvars
from collections.abc import Callable
from uuid import UUID

import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Cancelling, Running

from kodosumi_prefect.runner import interruption
from kodosumi_prefect.runner.interruption import Interruption
from tests.services import Place
from tests.waiting import wait_for


@prefect.flow
def waiting() -> None: ...


class Here(Interruption):
    """One whose thread knows this test's Prefect, which a Runner has in its environment."""

    def __init__(self, flow_run_id: UUID) -> None:
        super().__init__(flow_run_id)
        self._context = contextvars.copy_context()

    def _run(self) -> None:
        self._context.run(super()._run)


def state(fid: UUID, *states: prefect.State) -> None:
    with get_client(sync_client=True) as client:
        for each in states:
            client.set_flow_run_state(fid, each, force=True)


def is_kept(fid: UUID) -> bool:
    """Whether Prefect has stored the event of a cancellation, for those who come later."""
    chosen = {
        "event": {"name": ["prefect.flow-run.Cancelling"]},
        "any_resource": {"id": [f"prefect.flow-run.{fid}"]},
    }
    with get_client(sync_client=True) as client:
        answer = client.request("POST", "/events/filter", json={"filter": chosen})
    return bool(answer.json()["events"])


@pytest.fixture
def begun(place: Place) -> UUID:
    """A flow run that runs, at the Prefect of ``place``."""
    with get_client(sync_client=True) as client:
        return client.create_flow_run(waiting, state=Running()).id


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often an interruption read its run; the flow itself is left alone."""
    monkeypatch.setattr(interruption, "commit_to_cancel", lambda: False)
    count = 0
    look = Interruption._look

    async def counting(self: Interruption) -> bool:
        nonlocal count
        known = await look(self)
        count += 1
        return known

    monkeypatch.setattr(Interruption, "_look", counting)
    return lambda: count


def test_what_was_cancelled_and_retried_is_not_cancelled_once_more(
    begun: UUID, looks: Callable[[], int]
) -> None:
    # Prefect tells whoever begins to listen of what happened lately.
    state(begun, Cancelling(), Cancelled(), Running())
    wait_for(lambda: is_kept(begun), 30, "Prefect's event")
    with Here(begun) as one:
        wait_for(lambda: looks() > 1 or one.requested, 15, "the event of the attempt before")
        assert not one.requested
        state(begun, Cancelling())
        wait_for(lambda: one.requested, 10, "its own cancellation")


def test_what_was_requested_before_anybody_listened_is_heard(
    begun: UUID, looks: Callable[[], int]
) -> None:
    state(begun, Cancelling())
    with Here(begun) as one:
        wait_for(lambda: one.requested, 10, "the cancellation")
    assert looks() == 1
