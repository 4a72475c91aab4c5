"""Streams of executions: how they begin, what ends them, and what outages do to them."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prefect
import psycopg
import pytest
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry, Scheduled
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.settings import PREFIX, Settings, use_settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.spooler.replay import replay_orphans
from tests.panel.panel_runs import Gate
from tests.samples.on_ray import dawdle
from tests.services import Place
from tests.waiting import wait_for


@pytest.fixture
def gate(place: Place) -> Iterator[Gate]:
    """A door to Postgres that can be shut."""
    where = conninfo_to_dict(place.database)
    made = Gate(str(where["host"]), int(str(where["port"])))
    yield made
    made.open() if made._listener is None else None
    made.shut()


def behind(gate: Gate, place: Place) -> str:
    """The URL of the database through the gate."""
    return make_conninfo(place.database, host="127.0.0.1", port=gate.port)


def said(output: str, word: str) -> str:
    """What a script printed after ``word``."""
    found = re.search(rf"^{word} (.*)$", output, re.MULTILINE)
    assert found, output
    return found.group(1)


def test_a_good_run_is_told_in_order(place: Place) -> None:
    @flow(summary="Adds up")
    def good(inputs: dict, tracer: Tracer) -> dict[str, Any]:
        tracer.debug("thinking")
        print("printing")
        tracer.progress(1, 2, "half")
        tracer.markdown("# So far")
        return {"sum": sum(inputs["numbers"])}

    recorded = place.run(good, {"numbers": [1, 2]})
    kinds = ["status", "inputs", "meta", "status", "debug", "stdout", "progress", "result"]
    assert [event.kind for event in recorded.events] == [*kinds, "final", "status"]
    assert recorded.of("status") == ["starting", "running", "finished"]
    assert recorded.of("inputs") == ['{"dict": {"numbers": [1, 2]}}']
    assert recorded.of("final") == ['{"dict": {"sum": 3}}']
    meta = recorded.events[2].value
    assert meta["fid"] == recorded.fid
    assert (meta["summary"], meta["tags"], meta["deprecated"]) == ("Adds up", [], False)
    assert meta["entry_point"].endswith("good")
    row = recorded.row
    assert (row["status"], row["state_type"], row["attempt"]) == ("finished", "COMPLETED", 1)
    assert row["ended_seq"] == row["last_seq"]
    assert row["started_at"] <= row["ended_at"]
    assert (row["error"], row["progress"]) == (
        None,
        '{"dict": {"done": 1, "total": 2, "text": "half"}}',
    )


def test_a_state_travels_beside_its_word(place: Place) -> None:
    @flow
    def stately() -> None: ...

    recorded = place.run(stately)
    states = [e.source["state"] for e in recorded.events if e.kind == "status" and e.source]
    assert [(state["type"], state["name"]) for state in states] == [
        ("RUNNING", "Running"),
        ("COMPLETED", "Completed"),
    ]
    assert recorded.state is not None
    assert states[-1]["id"] == str(recorded.state.id)


def test_several_parameters_are_recorded_by_name(place: Place) -> None:
    @flow
    def named(first: int, second: str = "two") -> None: ...

    recorded = place.run(named, 1)
    assert recorded.events[1].value == {"first": 1, "second": "two"}


class Unspeakable:
    """Refuses to be shown, and cannot be pickled."""

    def __init__(self) -> None:
        self.handle = open(__file__)  # noqa: PTH123, SIM115

    def __repr__(self) -> str:
        raise RuntimeError("no words")

    __str__ = __repr__

    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            raise RuntimeError("no attributes")
        return object.__getattribute__(self, name)


def test_a_result_that_cannot_be_shown_is_noted_and_the_run_succeeds(place: Place) -> None:
    @flow
    def unspeakable(tracer: Tracer) -> Any:
        odd = Unspeakable()
        tracer.result(odd)
        tracer.debug(odd)
        tracer.action({"nan": float("nan"), "odd": odd})
        return odd

    recorded = place.run(unspeakable)
    assert recorded.row["status"] == "finished"
    assert list(recorded.final) == ["Unspeakable"]
    assert len(recorded.of("result")) == len(recorded.of("action")) == 1
    assert recorded.of("action")[0].startswith('{"dict": {"nan": "NaN"')
    assert "RuntimeError" in recorded.of("debug")[0]


@pytest.mark.parametrize("state", [Scheduled(), AwaitingRetry()], ids=lambda state: state.name)
def test_a_run_that_is_run_again_reopens_its_stream(place: Place, state: Any) -> None:
    tries: list[int] = []

    @flow(name=f"again-{state.name}")
    def again(tracer: Tracer) -> str:
        tries.append(1)
        tracer.debug(f"try {len(tries)}")
        if len(tries) == 1:
            raise ValueError("no luck")
        return "luck"

    first = place.run(again)
    assert first.row["status"] == "error"
    # What "Retry" in Prefect's UI does, and then its worker.
    with prefect.get_client(sync_client=True) as client:
        client.set_flow_run_state(first.state.state_details.flow_run_id, state, force=True)
        flow_run = client.read_flow_run(first.state.state_details.flow_run_id)
    run_flow(again, flow_run=flow_run, parameters=flow_run.parameters)
    second = place.recorded(first.fid)
    assert second.events[: len(first.events)] == first.events
    later = [
        (e.kind, e.payload, e.attempt)
        for e in second.events[len(first.events) :]
        if e.source is None or (e.source.get("state") or {}).get("type") != "SCHEDULED"
    ]
    assert later == [
        ("status", "running", 2),
        ("debug", "try 2", 2),
        ("final", '{"str": "luck"}', 2),
        ("status", "finished", 2),
    ]
    row = second.row
    assert (row["status"], row["attempt"], row["error"]) == ("finished", 2, None)
    assert row["ended_seq"] == row["last_seq"]


def test_the_process_that_runs_it_is_named_and_beats(place: Place) -> None:
    @flow
    def beats(tracer: Tracer) -> None:
        wait_for(lambda: place.recorded(tracer.fid).row["heartbeat_at"], what="a heartbeat")

    row = place.run(beats).row
    assert row["process"]["pid"] > 0
    assert row["process"]["started"]


def test_an_outage_in_mid_flow_loses_nothing(place: Place, gate: Gate) -> None:
    settings = place.settings.model_copy(
        update={"database_url": SecretStr(behind(gate, place)), "flush_timeout": 1.0}
    )

    @flow
    def through_outage(tracer: Tracer) -> str:
        for number in range(20):
            tracer.debug(f"before {number}")
        assert tracer.flush_sync()
        gate.shut()
        for number in range(20):
            tracer.debug(f"during {number}")
        assert not tracer.flush_sync(0.2)
        gate.open()
        assert wait_for(lambda: tracer.flush_sync(5), what="the recovery")
        tracer.debug("after")
        return "own result"

    with use_settings(settings):
        recorded = place.run(through_outage)
        get_client().close()
    assert recorded.of("debug") == [
        *(f"before {number}" for number in range(20)),
        *(f"during {number}" for number in range(20)),
        "after",
    ]
    assert recorded.row["status"] == "finished"


def test_with_the_database_away_from_start_to_end_a_flow_ends_on_time(
    place: Place, gate: Gate, tmp_path: Path
) -> None:
    gate.shut()
    url = behind(gate, place)
    here = {f"{PREFIX}DATABASE_URL": url, f"{PREFIX}DATA_DIR": str(tmp_path)}
    done = place.call("script_outage.py", **here, **{f"{PREFIX}FLUSH_TIMEOUT": "1"})
    assert done.returncode == 0, done.stderr
    assert said(done.stdout, "result") == "own result"
    assert float(said(done.stdout, "took")) < 15
    fid = said(done.stdout, "fid")
    with psycopg.connect(place.database) as connection:
        assert not connection.execute(
            "SELECT 1 FROM kodosumi.execution WHERE fid = %s", (fid,)
        ).fetchall()
    settings = Settings(database_url=SecretStr(url), data_dir=tmp_path)
    assert len(list(spill.orphans(spill.folder(settings)))) == 1
    gate.open()
    spooler = Spooler(url, settings.database_schema)
    try:
        replayed = replay_orphans(settings, spooler)
        assert sum(replayed.values()) > 0, f"{replayed} {list(tmp_path.rglob('*'))}"
        assert replay_orphans(settings, spooler) == {}
    finally:
        spooler.close()
    recorded = place.recorded(fid)
    assert recorded.told == [
        ("status", "starting"),
        ("status", "running"),
        *(("debug", f"line {number}") for number in range(50)),
        ("stdout", "printed"),
        ("final", '{"str": "own result"}'),
        ("status", "finished"),
    ]
    assert recorded.row["status"] == "finished"


def test_what_was_said_a_second_before_a_kill_is_there(place: Place) -> None:
    with place.start("script_killed.py") as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("fid"))
        process.kill()
    recorded = place.recorded(line.split()[1])
    assert recorded.of("debug") == [f"line {number}" for number in range(100)]
    assert recorded.row["status"] == "running"


def test_a_sigterm_while_waiting_for_a_ray_task_takes_effect_at_once(
    ray_place: Place, tmp_path: Path
) -> None:
    marker = tmp_path / "started"
    before = ray_place.fids("waits")
    with ray_place.start("script_waits.py", str(marker)) as process:
        try:
            wait_for(marker.exists, 60, "the task")
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
            assert time.monotonic() - asked < 15
        except (AssertionError, subprocess.TimeoutExpired):
            process.kill()
            raise AssertionError("".join(process.communicate())) from None
    assert process.returncode != 0, out + err
    (fid,) = [fid for fid in ray_place.fids("waits") if fid not in before]
    recorded = ray_place.until_ended(fid)
    assert recorded.row["status"] == "error"
    assert recorded.row["state_name"] == "Crashed"
    assert len(recorded.of("error")) == 1
    # The task touches its marker as long as it works.
    wait_for(lambda: time.time() - marker.stat().st_mtime > 1.0, 20, "the end of the task")


def test_a_timeout_while_waiting_for_a_ray_task_takes_effect_at_once(
    ray_place: Place, tmp_path: Path
) -> None:
    @flow
    def patient(marker: str) -> None:
        dawdle.submit(marker, 0).result()

    @flow(timeout_seconds=15)
    def impatient(marker: str) -> None:
        dawdle.submit(marker, 120).result()

    # Starts the process that the task of the next flow finds.
    assert ray_place.run(patient, str(tmp_path / "warm")).row["status"] == "finished"
    marker = tmp_path / "started"
    began = time.monotonic()
    recorded = ray_place.run(impatient, str(marker))
    assert time.monotonic() - began < 100  # well before the task is over
    assert marker.exists()
    assert recorded.row["state_name"] == "TimedOut"
    assert recorded.row["status"] == "error"
