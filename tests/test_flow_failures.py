"""Flows that are retried, fail or take too long: what their streams and Prefect say of it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from prefect import task
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

import kodosumi_prefect
from kodosumi_prefect import KodosumiError, Tracer, flow
from tests.services import Place


def test_a_retried_run_is_one_stream_with_one_valid_final(place: Place) -> None:
    tries: list[int] = []

    @flow(retries=2)
    def stubborn(tracer: Tracer) -> int:
        tries.append(1)
        tracer.debug(f"try {len(tries)}")
        if len(tries) < 2:
            raise ValueError("not yet")
        return len(tries)

    recorded = place.run(stubborn)
    assert recorded.of("status") == ["starting", "running", "running", "finished"]
    assert recorded.row["attempt"] == 2
    assert recorded.row["error"] is None
    assert recorded.of("error") == []
    first, trace, second = recorded.of("debug")
    assert (first, second) == ("try 1", "try 2")
    assert trace.endswith("ValueError: not yet")
    assert [(e.attempt, e.payload) for e in recorded.events if e.kind == "final"] == [
        (2, '{"int": 2}')
    ]
    assert recorded.row["final_attempt"] == 2
    assert len(recorded.of("inputs")) == len(recorded.of("meta")) == 1


def test_when_every_retry_fails_the_last_exception_is_the_error(place: Place) -> None:
    tries: list[int] = []

    @flow(retries=1)
    def hopeless() -> None:
        tries.append(1)
        raise ValueError(f"try {len(tries)}")

    recorded = place.run(hopeless)
    assert [text.splitlines()[-1] for text in recorded.of("debug")] == ["ValueError: try 1"]
    assert [text.splitlines()[-1] for text in recorded.of("error")] == ["ValueError: try 2"]
    assert (recorded.row["error"], recorded.row["attempt"]) == ("ValueError: try 2", 2)


def test_a_failed_run_tells_its_traceback_without_our_frames(place: Place) -> None:
    def inner() -> None:
        raise LookupError("no such thing")

    @flow
    def fails(tracer: Tracer) -> None:
        tracer.debug("trying")
        inner()

    recorded = place.run(fails)
    assert recorded.state is not None
    assert recorded.state.is_failed()
    assert [kind for kind, _ in recorded.told] == ["status", "status", "debug", "error", "status"]
    (error,) = recorded.of("error")
    assert error.startswith("Traceback (most recent call last):")
    assert error.endswith("LookupError: no such thing")
    assert "in fails\n    inner()" in error
    assert "in inner\n" in error
    assert str(Path(kodosumi_prefect.__file__).parent) not in error
    assert "site-packages/prefect" not in error
    assert recorded.row["status"] == "error"
    assert recorded.row["error"] == "LookupError: no such thing"
    assert recorded.final is None
    with pytest.raises(LookupError, match="no such thing"):
        recorded.state.result()


def test_a_kodosumi_error_shows_its_message_alone(place: Place) -> None:
    @flow
    def refuses() -> None:
        raise KodosumiError("the budget is spent\nask for more")

    recorded = place.run(refuses)
    assert recorded.row["error"] == "the budget is spent\nask for more"
    assert recorded.of("error")[0].startswith("Traceback")


def test_an_exception_whose_text_raises_is_recorded(place: Place) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    @flow
    def mute() -> None:
        raise ValueError("caused") from Mute()

    recorded = place.run(mute)
    assert recorded.row["status"] == "error"
    assert "ValueError: caused" in recorded.of("error")[0]


def test_a_returned_failed_state_ends_in_error(place: Place) -> None:
    @flow
    def returns_failed() -> Any:
        return Failed(message="decided so")

    recorded = place.run(returns_failed)
    assert recorded.state is not None
    assert recorded.state.is_failed()
    assert recorded.row["status"] == "error"
    assert "decided so" in recorded.row["error"]
    assert [kind for kind, _ in recorded.told[-2:]] == ["error", "status"]


def test_a_returned_future_is_recorded_as_its_result(place: Place) -> None:
    @task
    def work(number: int) -> int:
        return number

    @flow(task_runner=ThreadPoolTaskRunner())
    def returns_futures() -> Any:
        return {"both": [work.submit(1), work.submit(2)]}

    recorded = place.run(returns_futures)
    assert recorded.final == {"dict": {"both": [1, 2]}}


def test_a_timeout_takes_effect_at_once(place: Place) -> None:
    @flow(timeout_seconds=1)
    def slow(tracer: Tracer) -> None:
        tracer.debug("working")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            time.sleep(0.01)

    began = time.monotonic()
    recorded = place.run(slow)
    assert time.monotonic() - began < 20
    assert recorded.row["state_name"] == "TimedOut"
    assert recorded.row["status"] == "error"
    assert recorded.of("debug") == ["working"]
    assert len(recorded.of("error")) == 1


async def test_an_async_timeout_takes_effect_at_once(place: Place) -> None:
    @flow(timeout_seconds=1)
    async def slow_async() -> None:
        await asyncio.sleep(30)

    began = time.monotonic()
    recorded = await place.run_async(slow_async)
    assert time.monotonic() - began < 20
    assert recorded.row["state_name"] == "TimedOut"
    assert len(recorded.of("error")) == 1
