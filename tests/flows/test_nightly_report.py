"""The report of the last hours' executions."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import prefect
import psycopg
import pytest
from markdown_it import MarkdownIt
from prefect.settings import temporary_settings

from flows.nightly_report import FAILURES_SHOWN, cell, nightly_report
from kodosumi_prefect.events import Event, Kind, State
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch, Header
from tests.services import Place, in_force


@pytest.fixture
def empty_place(settings: Settings, database: str, prefect_server: str) -> Iterator[Place]:
    """Prefect, and a database in which nothing ran yet."""
    with temporary_settings(in_force(prefect_server)):
        yield Place(settings, database, prefect_server)


def record(
    place: Place, flow_name: str, *, status: str, seconds: float = 1.0, error: str | None = None
) -> str:
    """An execution that began ``seconds`` ago and has this status now."""
    fid, now = str(uuid4()), time.time()
    events = [_state("running", "RUNNING", now - seconds)]
    if error is not None:
        events.append(Event(now, Kind.ERROR, error, 1, note=error))
    if status in ("finished", "error"):
        events.append(_state(status, "COMPLETED" if status == "finished" else "FAILED", now))
    spooler = Spooler(place.database, "kodosumi")
    try:
        spooler.append([Batch(fid, str(uuid4()), 1, Header(flow_name=flow_name), events)])
    finally:
        spooler.close()
    return fid


def _state(status: str, type_: str, ts: float) -> Event:
    state = State(id=str(uuid4()), type=type_, name=type_.title(), message="", ts=ts)
    return Event(ts, Kind.STATUS, status, 1, dedupe=f"state:{state.id}", state=state)


async def report(place: Place, **parameters: object) -> tuple[dict, str]:
    """The report's result and its markdown."""
    recorded = await place.run_async(nightly_report, **parameters)
    assert recorded.row["error"] is None
    (shown,) = [event.value["body"] for event in recorded.events if event.kind == "result"]
    return recorded.final["dict"], shown


async def test_it_says_that_there_were_none_and_does_not_count_itself(empty_place: Place) -> None:
    result, shown = await report(empty_place)
    assert (result["executions"], result["failures"], result["by_status"]) == (0, [], {})
    assert "There were no executions in this time." in shown
    again, shown = await report(empty_place)
    assert again["by_flow"] == {"nightly-report": {"finished": 1}}


async def test_it_counts_failures_and_slowest(empty_place: Place) -> None:
    record(empty_place, "good", status="finished", seconds=5)
    record(empty_place, "good", status="finished", seconds=900)
    bad = record(empty_place, "bad", status="error", seconds=30, error="ValueError: no luck")
    record(empty_place, "busy", status="running", seconds=60)
    result, shown = await report(empty_place)
    assert result["executions"] == 4
    assert result["complete"] is True
    assert result["by_status"] == {"finished": 2, "error": 1, "running": 1}
    assert result["by_flow"] == {
        "bad": {"error": 1},
        "busy": {"running": 1},
        "good": {"finished": 2},
    }
    (failure,) = result["failures"]
    assert (failure["fid"], failure["error"]) == (bad, "ValueError: no luck")
    assert failure["seconds"] == pytest.approx(30, abs=0.1)
    assert [line["flow"] for line in result["slowest"]] == ["good", "busy", "bad", "good"]
    assert result["slowest"][1]["seconds"] >= 60
    assert "4 executions: 2 finished, 1 error, 1 running" in shown
    assert "| good | 2 | 0 | 0 |" in shown
    assert "| busy | 0 | 0 | 1 |" in shown


async def test_it_looks_at_its_span_only(empty_place: Place) -> None:
    fid = record(empty_place, "old", status="finished")
    with psycopg.connect(empty_place.database) as connection:
        connection.execute(
            "UPDATE kodosumi.execution SET created_at = now() - interval '30 hours' WHERE fid = %s",
            (fid,),
        )
    record(empty_place, "new", status="finished")
    assert set((await report(empty_place))[0]["by_flow"]) == {"new"}
    yesterday = datetime.now(UTC) - timedelta(hours=24)
    assert set((await report(empty_place, at=yesterday))[0]["by_flow"]) == {"old"}
    naive = yesterday.replace(tzinfo=None).isoformat()
    assert set((await report(empty_place, at=naive))[0]["by_flow"]) == {"old"}
    assert {"new", "old"} <= set((await report(empty_place, hours=48))[0]["by_flow"])


async def test_what_an_error_says_does_not_break_the_table(empty_place: Place) -> None:
    wild = "KeyError: 'a|b'\n# not a heading <b>bold</b> [x](http://e.vil) `code` \\| *star* " + (
        "long " * 100
    )
    record(empty_place, "odd|name", status="error", error=wild)
    _result, shown = await report(empty_place)
    html = MarkdownIt("commonmark").enable("table").render(shown)
    table = html.split("Failures</h2>")[1].split("</table>")[0]
    assert table.count("<td>") == 4
    assert "<b>" not in table
    assert "<a " not in table
    assert "<em>" not in table
    assert "<code>" not in table
    assert "odd|name" in table
    assert "KeyError: 'a|b' # not a heading &lt;b&gt;bold&lt;/b&gt; [x](http://e.vil)" in table


async def test_many_failures_are_all_in_the_result_and_the_newest_in_the_table(
    empty_place: Place,
) -> None:
    fids = [
        record(empty_place, "bad", status="error", error=f"ValueError: {number}")
        for number in range(FAILURES_SHOWN + 2)
    ]
    result, shown = await report(empty_place)
    assert [line["fid"] for line in result["failures"]] == fids
    assert "and 2 earlier ones" in shown
    failures = shown.split("## Failures")[1].split("## Slowest")[0]
    assert fids[-1] in failures
    assert fids[0] not in failures


async def test_without_a_database_it_says_what_to_do(place: Place, tmp_path: Path) -> None:
    from kodosumi_prefect import KodosumiError
    from kodosumi_prefect.settings import use_settings

    with (
        use_settings(Settings(data_dir=tmp_path, enabled=False)),
        pytest.raises(KodosumiError, match="set database_url or start"),
    ):
        await nightly_report()


@pytest.mark.parametrize("hours", [0, 9000])
async def test_a_span_out_of_bounds_is_refused(place: Place, hours: int) -> None:
    with pytest.raises(prefect.exceptions.ParameterTypeError):
        await nightly_report(hours=hours)


def test_a_cell_is_one_short_line() -> None:
    assert cell(" a\n\tb ") == "a b"
    assert len(cell("x" * 1000)) == 200
    assert cell("a|b") == "a\\|b"
