"""Runs whose budget is spent: stopped in a clear state, or asked about, on the whole stack."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.running import Up
from tests.waiting import wait_for


@pytest.fixture
def budget(up: Up) -> Iterator[Callable[..., None]]:
    """Sets budgets of runs of a flow, which are removed after the test."""
    flows: list[str] = []

    def set_(flow: str, *words: str) -> None:
        flows.append(flow)
        up.command("kodosumi-prefect", "budgets", "set", "run", flow, *words)

    yield set_
    for flow in flows:
        up.command("kodosumi-prefect", "budgets", "remove", "run", flow)


def test_a_run_that_goes_on_without_calls_is_cancelled(up: Up, budget: Callable[..., None]):
    budget("spending", "--tokens", "15")
    fid = up.run("spending/test", goes_on=True)
    status = up.until(fid, "error", 90)
    assert "20 of 15 tokens for this run" in status["final"]
    assert up.prefect_state(fid)["type"] == "CANCELLED"
    told = [event["payload"] for event in up.events(fid) if event["kind"] == "stderr"]
    assert told[-1].startswith("Budget spent: 20 of 15 tokens for this run")


def test_a_run_asks_and_goes_on_after_the_answer(up: Up, budget: Callable[..., None]):
    budget("spending", "--dollars", "1", "--ask")
    fid = up.run("spending/test")
    [lid] = wait_for(lambda: up.status(fid).get("locks"), 60, "a question")
    assert up.status(fid)["status"] == "awaiting"
    answered = up.client.post(f"/lock/{fid}/{lid}", json={"more": "1"})
    assert answered.status_code == 200, answered.text
    [again] = wait_for(
        lambda: [one for one in up.status(fid)["locks"] if one != lid], 60, "another question"
    )
    assert up.status(fid)["usage"]["cost"] == pytest.approx(2.4)
    up.client.post(f"/lock/{fid}/{again}", json={"more": "0"}).raise_for_status()
    status = up.until(fid, "error")
    assert "The budget is spent: $2.40 of $2.00 for this run" in status["final"]
    assert up.prefect_state(fid)["type"] == "FAILED"
