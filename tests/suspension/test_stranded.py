"""Runs that are suspended while what they need to go on is deleted in Prefect, or paused."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.states import Suspended

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.locks.answering import AnsweredError
from kodosumi_prefect.observer import reconciler
from kodosumi_prefect.suspension.awaiting import suspended_by_us
from tests.answering import answer, locks
from tests.faults.conftest import Observing
from tests.spooler.recording import execute
from tests.suspension.conftest import Legs
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Legs]


@flow
def asks(tracer: Tracer) -> Any:
    return tracer.lock_sync("approve", suspend=True)


def delete_deployment(run: Legs) -> None:
    with get_client(sync_client=True) as client:
        client.delete_deployment(run.deployment)


def delete_pool(run: Legs) -> None:
    with get_client(sync_client=True) as client:
        if (name := run.run.work_pool_name) is None:
            return  # with that of another run
        client.delete_work_pool(name)
        # The fixture deletes one of this name, and a new one does not bring the run's queue back.
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))


def delete_run(run: Legs) -> None:
    with get_client(sync_client=True) as client:
        client.delete_flow_run(run.id)
    silent = "UPDATE kodosumi.execution SET heartbeat_at = now() - interval '1 hour'"
    execute(run.place.database, f"{silent} WHERE fid = '{run.fid}'")


DELETE = {
    "The deployment of this run was deleted": delete_deployment,
    "The work pool of this run was deleted": delete_pool,
    "The flow run was deleted from Prefect": delete_run,
}


def observed_to_their_end(runs: Sequence[Legs]) -> list[str]:
    """What is recorded of them as their errors."""
    observing = Observing(runs[0].place)
    try:
        errors = [str(run.place.until_ended(run.fid).row["error"]) for run in runs]
        for run in runs:
            wait_for(lambda run=run: run.row["suspended_leg"] is None, 30, "nobody to wait for it")
        return errors
    finally:
        observing.stop()


def test_runs_that_cannot_go_on_end_and_say_why_and_nobody_is_asked_for_them(
    legs: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "CALM", 0.0)
    asking = [legs(asks) for _ in DELETE]
    answered = [legs(asks) for _ in DELETE]
    for run in asking + answered:
        assert run.leg()
    for delete, *runs in zip(DELETE.values(), asking, answered, strict=True):
        for run in runs:
            delete(run)
    for run in answered:
        run.answer("yes")  # before anybody noticed
        assert not run.resume()
        assert run.row["suspended_leg"] is None, "nobody tries again"
    for error, why in zip(
        observed_to_their_end(asking + answered), [*DELETE, *DELETE], strict=True
    ):
        assert why in error
    for run in asking:
        (lock,) = locks(run.place.database, run.fid, None)
        assert lock["state"] == "void"
        with pytest.raises(AnsweredError, match="a run that is over"):  # by a link, too
            answer(run.place.database, run.fid, lock["lid"], "yes")
    for run in answered:
        (lock,) = locks(run.place.database, run.fid, None)
        assert (lock["state"], lock["result"]) == ("leased", '"yes"')


def test_a_run_goes_on_once_its_work_pool_is_no_longer_paused(legs: Make) -> None:
    run = legs(asks)
    assert run.leg()
    with get_client(sync_client=True) as client:
        pool = str(run.run.work_pool_name)

        def taken() -> list[Any]:
            """What a worker of the pool is given."""
            scheduled = client.request(
                "POST",
                "/work_pools/{name}/get_scheduled_flow_runs",
                path_params={"name": pool},
                json={},
            )
            return [found for found in scheduled.json() if found["flow_run"]["id"] == run.fid]

        client.update_work_pool(pool, WorkPoolUpdate(is_paused=True))
        run.answer("yes")
        assert run.resume()
        assert taken() == []
        assert run.run.state_name == "Resuming"
        client.update_work_pool(pool, WorkPoolUpdate(is_paused=False))
        assert wait_for(taken, 30, "it to be scheduled")
    assert not run.leg()
    assert run.recorded.final == {"str": "yes"}


def test_a_run_that_somebody_else_suspended_is_left_alone(legs: Make) -> None:
    """Prefect has it fail at the end of its own time."""
    assert not suspended_by_us(Suspended(pause_key=str(uuid4()), timeout_seconds=60))
