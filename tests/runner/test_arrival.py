"""How long a run waits for its Runner; with a cluster that has no room, and Runners of our own."""

import threading
from concurrent.futures import Future
from typing import Any, cast

import pytest

from kodosumi_prefect.runner import arrival as module
from kodosumi_prefect.runner.arrival import CannotStartError, Demand, NoRoomError, arrival
from kodosumi_prefect.runner.cluster import Cluster, RunnerHandle, Spec
from kodosumi_prefect.runner.order import Facts

FACTS = Facts("0" * 56, "here", 1, {})


class Busy:
    """A cluster whose nodes are all in use."""

    def lacks(self, spec: Spec) -> str | None:
        return None


class Answering:
    """A Runner that answers, or fails, after some seconds; never without them."""

    name = "runner-7"

    def __init__(self, after: float | None, what: Facts | Exception = FACTS) -> None:
        self._after = after
        self._what = what

    def hello(self, lease: float) -> "Future[Facts]":
        answer: Future[Facts] = Future()
        tell: Any = answer.set_exception if isinstance(self._what, Exception) else answer.set_result
        if self._after is not None:
            threading.Timer(self._after, tell, (self._what,)).start()
        return answer


async def wait(runner: Answering, timeout: float | None, before: float = 0.0) -> Facts:
    cluster, handle = cast(Cluster, Busy()), cast(RunnerHandle, runner)
    return await arrival(cluster, handle, Demand(Spec(), timeout), before)


async def test_a_runner_that_found_its_place_while_nobody_looked_is_not_taken_for_late() -> None:
    assert await wait(Answering(0.2), timeout=5, before=600) == FACTS


@pytest.mark.parametrize("before", [0.0, 600.0])
async def test_without_room_the_wait_ends(monkeypatch: pytest.MonkeyPatch, before: float) -> None:
    monkeypatch.setattr(module, "ANSWER", 0.1)
    with pytest.raises(NoRoomError, match=r"no room within schedule_timeout, 0\.3 s"):
        await wait(Answering(None), timeout=0.3, before=before)


async def test_a_runner_that_dies_is_no_lack_of_room() -> None:
    with pytest.raises(CannotStartError, match="it fell over") as caught:
        await wait(Answering(0.05, RuntimeError("it fell over")), timeout=5, before=600)
    assert not isinstance(caught.value, NoRoomError)
