"""How long a Runner waits for its worker."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from kodosumi_prefect.process import actor
from kodosumi_prefect.process.order import Order, Outcome


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[actor.Runner]:
    """One whose claim has lapsed, and whose nursery is not there yet."""

    def prepare(self: actor.Runner) -> None:
        self._nursery = Future()

    monkeypatch.setattr(actor.Runner, "_prepare", prepare)
    monkeypatch.setattr(actor.Runner, "_end_unclaimed", lambda self: None)
    here = SimpleNamespace(gcs_address="nowhere:1", runtime_env={})
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)
    yield actor.Runner(0.0)


def test_a_runner_that_nobody_claims_ends(runner: actor.Runner) -> None:
    assert runner._unclaimed


def test_a_runner_with_an_order_waits_for_its_nursery_though_its_claim_has_lapsed(
    runner: actor.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, outcomes = threading.Event(), []

    class Supervision:
        def __init__(self, order: Order, nursery: Any) -> None:
            self.flow_run_id = order.flow_run_id

        def run(self) -> Outcome:
            return Outcome(0)

    class Nursery(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            asked.set()
            return super().result(timeout)

    monkeypatch.setattr(actor, "Supervision", Supervision)
    runner._nursery = Nursery()
    order = Order("4711", {}, {})
    running = threading.Thread(target=lambda: outcomes.append(runner.run(order)))
    running.start()
    assert asked.wait(10)
    assert not runner._unclaimed
    runner._nursery.set_result(None)
    running.join(10)
    assert outcomes == [Outcome(0)]
    assert not runner._at_work
