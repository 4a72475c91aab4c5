"""The task runs of an execution: from Prefect, from events when Prefect is away."""

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import orjson
import prefect
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from kodosumi_prefect import flow, tracer
from kodosumi_prefect.panel.executions import task_runs, task_trees
from kodosumi_prefect.settings import write_address
from tests.panel.panel_runs import Stand, serving, until
from tests.services import Place, record_prefect

TASK = {"id": "7f0c8a52-9d0e-4c39-8a3e-0d5a8e1f6b01", "name": "count-primes-0"}
SUBFLOW = {"id": "7f0c8a52-9d0e-4c39-8a3e-0d5a8e1f6b02", "name": "eager-fox"}


@pytest.fixture
def panel(place: Place) -> Iterator[Stand]:
    """A panel on the database and the Prefect that flows of ``place`` use."""
    settings = place.settings.model_copy(update={"database_url": SecretStr(place.database)})
    record_prefect(place.settings, place.api_url)
    with serving(settings) as stand:
        yield stand
    write_address(place.settings, "prefect", None)


@prefect.task
def add(a: int, b: int) -> int:
    tracer.debug("adding")
    return a + b


@prefect.task
def silent() -> None: ...


@prefect.task(retries=1)
def second_time_lucky(tried: list[int]) -> None:
    tracer.debug("trying")
    tried.append(1)
    if len(tried) < 2:
        raise ValueError("not yet")


def told(panel: Stand, fid: str, tasks: int) -> dict[str, dict[str, Any]]:
    """The items by the name of their task, once Prefect knows how all of them ended."""

    def ended() -> list[dict[str, Any]] | None:
        found = panel.json(f"/outputs/tasks/{fid}")
        assert found["complete"], found
        items: list[dict[str, Any]] = found["items"]
        # Prefect books task runs a while after they ended.
        return items if [i["end_time"] is not None for i in items] == [True] * tasks else None

    return {item["name"].rpartition("-")[0]: item for item in until(ended)}


def test_task_runs_of_flow_and_subflows_have_state_times_retries_and_node(
    place: Place, panel: Stand
) -> None:
    @prefect.flow
    def deeper() -> None:
        silent()

    @prefect.flow(flow_run_name="inner-run")
    def inner() -> None:
        second_time_lucky([])
        deeper()

    @flow
    def outer() -> int:
        inner()
        return add(1, 2)

    run = place.run(outer)
    found = told(panel, run.fid, 5)
    assert set(found) == {"add", "silent", "second_time_lucky", "inner", "deeper"}
    one = found["add"]
    assert (one["state_type"], one["state_name"]) == ("COMPLETED", "Completed")
    assert one["start_time"] <= one["end_time"]
    assert 0 < one["duration"] < 30
    assert (one["run_count"], one["retries"], one["subflow"]) == (1, 0, None)
    assert (one["node"], one["pid"]) == (os.uname().nodename, os.getpid())
    lucky = found["second_time_lucky"]
    assert (lucky["run_count"], lucky["retries"]) == (2, 1)
    assert lucky["subflow"]["name"] == "inner-run"
    assert found["inner"]["child_flow_run"] == lucky["subflow"]["id"]
    assert found["deeper"]["child_flow_run"] == found["silent"]["subflow"]["id"]
    assert found["silent"]["pid"] is None


def test_more_task_runs_than_prefect_gives_at_once_all_come(
    place: Place, panel: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_trees, "PAGE", 3)

    @flow
    def many() -> None:
        for number in range(8):
            add(number, 0)

    run = place.run(many)
    until(lambda: len(panel.json(f"/outputs/tasks/{run.fid}")["items"]) == 8)
    names = [item["id"] for item in panel.json(f"/outputs/tasks/{run.fid}")["items"]]
    assert len(set(names)) == 8


@pytest.fixture
def silent_server() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"


def said_in_a_task(panel: Stand) -> str:
    run = panel.run()
    for pid in (11, 12):
        source = {"node": "n1", "pid": pid, "task_run": TASK, "subflow": SUBFLOW}
        run.put(run.event("stdout", "x", source=orjson.dumps(source).decode()))
    return run.fid


@pytest.mark.parametrize("away", ["silent", "refusing", "unknown"])
def test_without_prefect_the_events_tell_and_say_that_it_is_not_all(
    fresh_panel: Stand, silent_server: str, away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_runs, "PREFECT_ANSWER_SECONDS", 1.0)
    fid = said_in_a_task(fresh_panel)
    address = {"silent": silent_server, "refusing": "http://127.0.0.1:1/api", "unknown": None}[away]
    settings = fresh_panel.app.state.panel.settings
    write_address(settings, "prefect", {"url": address} if address else None)
    began = time.monotonic()
    with temporary_settings({PREFECT_API_URL: None}):
        found = fresh_panel.json(f"/outputs/tasks/{fid}")
    assert time.monotonic() - began < 20  # a client without a limit of its own waits for 60 s
    assert not found["complete"]
    assert "Prefect" in found["detail"]
    (item,) = found["items"]
    assert (item["id"], item["name"], item["subflow"]) == (TASK["id"], TASK["name"], SUBFLOW)
    assert (item["node"], item["pid"], item["state_type"]) == ("n1", 12, None)
