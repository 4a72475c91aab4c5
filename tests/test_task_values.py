"""What tasks on Ray return stays there until somebody asks for it, and as long as somebody may."""

import gc
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect import allow_failure, unmapped
from prefect.context import serialize_context
from prefect.futures import as_completed, wait
from prefect.results import ResultRecord, ResultRecordMetadata
from prefect.states import Completed
from prefect.utilities.annotations import opaque, quote
from prefect.utilities.timeout import timeout

from kodosumi_prefect import flow, task_runner
from kodosumi_prefect.carried import carried as carry
from kodosumi_prefect.task_runner import RayFuture
from kodosumi_prefect.task_runner.remote_result import apart
from kodosumi_prefect.task_runner.upstream import Annotated, Upstream, Upstreams, resolved
from kodosumi_prefect.task_runner.waiting import is_over
from tests.samples import on_ray
from tests.samples.on_values import (
    Parcel,
    Ticket,
    die,
    lose,
    pack,
    pack_async,
    pack_three,
    redeem,
    second_time,
    told,
    was_opened,
    weigh,
    weigh_all,
)
from tests.services import Place
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def nothing_opened() -> Iterator[None]:
    Parcel.opened.clear()
    yield
    Parcel.opened.clear()


def _returned(place: Place, function: Any) -> Any:
    """What a flow made of ``function`` leaves in a list, for it is not to be recorded."""
    left: list[Any] = []

    @flow(name=function.__name__)
    def run() -> None:
        left.append(function())

    recorded = place.run(run)
    assert recorded.row["error"] is None
    return left[0]


def test_a_value_comes_when_it_is_asked_for_and_once(ray_place: Place) -> None:
    def asks() -> None:
        parcel = pack.submit("a", 3)
        other = pack_async.submit("b")
        assert weigh.submit(parcel).result() == 3
        assert set(as_completed([parcel, other])) == {parcel, other}
        assert wait([parcel, other], timeout=60).not_done == set()
        assert parcel.state.is_completed()
        assert "not fetched" in repr(parcel.state)
        assert Parcel.opened == []
        first = parcel.result()
        assert first.weight == 3
        assert parcel.result() is first
        assert parcel.state.result() is first
        assert Parcel.opened == ["a"]
        assert other.state.result().name == "b"
        assert Parcel.opened == ["a", "b"]

    _returned(ray_place, asks)


def test_values_go_from_task_to_task_past_the_driver(ray_place: Place) -> None:
    def passes() -> None:
        one, two = pack.submit("one", 1), pack.submit("two", 2)
        two.wait()
        nested = weigh_all.submit([one, two.state], {"deep": (two, one)})
        mapped = weigh.map([one, two], unmapped(2))
        held = weigh.map(unmapped(two), [1, 2, 3])
        allowed = weigh.submit(allow_failure(two))
        assert nested.result() == 6
        assert mapped.result() == [2, 4]
        assert held.result() == [2, 4, 6]
        assert allowed.result() == 2
        assert told.submit(quote({"a": 1})).result() == "{'a': 1}"
        assert redeem.submit(Ticket(two)).result() == 2
        assert Parcel.opened == []
        assert [parcel.name for parcel in pack_three.submit("x").result()] == ["x0", "x1", "x2"]

    _returned(ray_place, passes)


def test_a_task_that_only_waits_for_another_does_not_get_its_value(ray_place: Place) -> None:
    def waits() -> None:
        parcel = pack.submit("waited for")
        assert was_opened.submit("waited for", wait_for=[parcel]).result() is False
        assert was_opened.submit("waited for", wait_for=[parcel.state]).result() is False

    _returned(ray_place, waits)


def test_a_value_is_freed_with_the_last_that_refers_to_it(ray_place: Place) -> None:
    def held() -> set[bytes]:
        import ray

        counts = ray._private.worker.global_worker.core_worker.get_all_reference_counts()
        # One without any is known for the sake of what was made of it.
        return {ref for ref, count in counts.items() if any(count.values())}

    def frees() -> None:
        called: list[str] = []
        parcel = pack.submit("freed")
        parcel.add_done_callback(lambda future: called.append(future.result().name))
        weighed = weigh.submit(parcel)
        assert weighed.result() == 1
        wait_for(lambda: called, 30, "the callback")
        reference = parcel.value_ref.hex().encode()
        state = parcel.state
        del parcel
        assert reference in held()
        assert state.result().name == "freed"
        del state, weighed
        wait_for(lambda: reference not in held(), 30, "the value to be freed")

    gc.disable()  # it is references that count
    try:
        _returned(ray_place, frees)
    finally:
        gc.enable()


def test_a_callback_may_ask_for_results_and_wait(ray_place: Place) -> None:
    def calls_back() -> None:
        results: list[int] = []
        done = threading.Event()

        context = copy_context()

        def take(future: RayFuture) -> None:
            other = context.run(on_ray.square.submit, 5)
            assert set(as_completed([other])) == {other}
            results.extend([future.result(), other.result()])
            done.set()

        future = on_ray.square.submit(4)
        future.add_done_callback(take)
        assert done.wait(60)
        assert results == [16, 25]
        future.add_done_callback(lambda again: results.append(again.result()))
        assert results == [16, 25, 16]  # at once, since it is done

    _returned(ray_place, calls_back)


def test_a_state_that_leaves_ray_takes_its_value_along(ray_place: Place) -> None:
    def leaves() -> None:
        parcel = pack.submit("pickled", 7)
        parcel.wait()
        copied = pickle.loads(pickle.dumps(parcel.state))
        assert type(copied.data).__name__ == "ResultRecord"
        assert copied.result().weight == 7
        assert parcel.state.model_dump()["data"]["result"] is parcel.result()

    _returned(ray_place, leaves)


def test_a_flow_may_return_futures_and_states(ray_place: Place) -> None:
    @flow
    def returns() -> Any:
        return [on_ray.square.submit(2), on_ray.square.submit(3, return_state=True)]

    recorded = ray_place.run(returns)
    assert recorded.state is not None
    assert [state.result() for state in recorded.state.result()] == [4, 9]
    assert recorded.row["status"] == "finished"


def test_failures_retries_and_crashes_are_the_states_of_futures(
    ray_place: Place, tmp_path: Path
) -> None:
    def fails() -> None:
        failed = on_ray.burst.submit()
        failed.wait()
        assert failed.state.is_failed()
        with pytest.raises(ValueError, match="burst"):
            failed.result()
        assert str(failed.result(raise_on_failure=False)) == "burst"
        assert told.submit(allow_failure(failed)).result() == "ValueError('burst')"
        after = told.submit(failed)
        after.wait()
        assert after.state.name == "NotReady"
        assert second_time.submit(str(tmp_path / "marker")).result() == "done"
        from prefect_ray.context import remote_options

        with remote_options(max_retries=0):
            crashed = die.submit()
        crashed.wait()
        assert crashed.state.is_crashed()
        lost = lose.submit()
        lost.wait()
        assert lost.state.is_crashed()
        assert "stays where it is" in str(lost.state.message)

    _returned(ray_place, fails)


async def test_async_flows_get_values_and_states(ray_place: Place) -> None:
    left: list[Any] = []

    @flow
    async def asks() -> None:
        parcel = pack_async.submit("of an async flow", 2)
        weight = weigh.submit(parcel)
        left.append(weight.result())
        state = parcel.state
        assert Parcel.opened == []
        left.append((await state.aresult()).weight)
        left.append(parcel.result().weight)

    recorded = await ray_place.run_async(asks)
    assert recorded.row["error"] is None
    assert left == [2, 2, 2]
    assert Parcel.opened == ["of an async flow"]


def test_a_driver_with_an_older_version_gets_states_with_their_values(ray_place: Place) -> None:
    def submits() -> None:
        import ray

        assert told.submit("connected").result() == "'connected'"
        run = ray.remote(task_runner._run_task)
        carried = task_runner._Carried(carry(ray_place.settings), None, None, None, None)
        given = {
            "context": serialize_context(),
            "wait_for": None,
            "dependencies": None,
            "carried": carried,
        }
        first = run.remote(task=pack, task_run_id=uuid4(), parameters={"name": "old"}, **given)
        second = run.remote(
            first, task=weigh, task_run_id=uuid4(), parameters={"parcel": first}, **given
        )
        assert ray.get(second).result() == 1
        assert ray.get(first).result().name == "old"

    _returned(ray_place, submits)


def test_waits_are_interrupted_by_the_timeouts_of_threads() -> None:
    ended: list[str] = []

    def waits() -> None:
        never: Future[None] = Future()
        try:
            with timeout(0.2):
                is_over(never)
        except TimeoutError:
            ended.append("timeout")

    thread = threading.Thread(target=waits, daemon=True)
    thread.start()
    thread.join(60)
    assert ended == ["timeout"]


def test_annotations_come_to_a_task_as_they_were_given() -> None:
    given = {"a": opaque([1]), "b": allow_failure([2]), "c": quote([3]), "d": unmapped([4])}
    sent = pickle.loads(pickle.dumps(Upstreams().without(given)))
    assert resolved(sent, []) == given


def test_several_states_are_not_mistaken_for_each_other() -> None:
    metadata = ResultRecordMetadata(storage_key="x")
    records = [ResultRecord(metadata=metadata, result=[number]) for number in range(50)]
    ends = [apart(Completed(data=record)) for record in records]
    upstream = [part for end in ends for part in end]
    given = [allow_failure(Upstream(2 * number, 2 * number + 1)) for number in range(50)]
    came = resolved([Annotated(allow_failure, one.unwrap()) for one in given], upstream)
    assert [one.unwrap().result(_sync=True) for one in came] == [[n] for n in range(50)]
