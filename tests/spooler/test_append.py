"""The Spooler: what it stores is whole, ordered and stored once."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from kodosumi_prefect.database import connection as connection_module
from kodosumi_prefect.events import Event, Kind, State
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.batch import Batch, Header, pack, unpack
from kodosumi_prefect.spooler.replay import Rebase
from kodosumi_prefect.spooler.storing import GapError
from tests.spooler.recording import (
    batch,
    entered,
    execute,
    fresh,
    line_to,
    payloads,
    row,
    said,
    stored,
)
from tests.waiting import wait_for

WRITERS = 8
BATCHES = 25


@pytest.fixture
def spooler(database: str) -> Iterator[Spooler]:
    made = Spooler(database, "kodosumi")
    yield made
    made.close()


def test_what_is_appended_stands_in_the_stream(spooler: Spooler, database: str) -> None:
    fid = fresh()
    event = Event(
        1_700_000_000.123456, Kind.RESULT, 'tab\t nl\n cr\r \\N "ü\U0001f600', 2, '{"a":1}'
    )
    spooler.append([batch(fid, event, said("\\."), said(""))])
    first, second, third = stored(database, fid)
    assert first == {
        "seq": 1,
        "kind": "result",
        "payload": event.payload,
        "attempt": 2,
        "source": {"a": 1},
        "ts": 1_700_000_000.123456,
    }
    assert (second["seq"], second["payload"], second["source"]) == (2, "\\.", None)
    assert (third["seq"], third["payload"]) == (3, "")


def test_seq_has_no_gap_and_follows_commits_with_eight_writers_on_one_execution(
    database: str,
) -> None:
    fid = fresh()
    gaps: list[tuple[int, int]] = []
    done = threading.Event()

    def write(name: int) -> None:
        spooler, writer = Spooler(database, "kodosumi"), fresh()
        for number in range(1, BATCHES + 1):
            events = [said(f"{name} {number} {i}") for i in range(3)]
            spooler.append([batch(fid, *events, writer=writer, number=number)])
        spooler.close()

    def watch() -> int:
        """Follow the stream as a reader does, and note every seq that came before its turn."""
        cursor = looks = 0
        with psycopg.connect(database, autocommit=True) as connection:
            while True:
                last_look = done.is_set()
                rows = connection.execute(
                    "SELECT seq FROM kodosumi.event v JOIN kodosumi.execution x"
                    " ON x.id = v.execution_id WHERE x.fid = %s AND seq > %s ORDER BY seq",
                    (fid, cursor),
                ).fetchall()
                looks += 1
                for (seq,) in rows:
                    if seq != cursor + 1:
                        gaps.append((cursor, seq))
                    cursor = seq
                if last_look:
                    return looks

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        watching = pool.submit(watch)
        for writing in [pool.submit(write, name) for name in range(WRITERS)]:
            writing.result()
        done.set()
        assert watching.result() > 10
    assert gaps == []
    found = stored(database, fid)
    assert [event["seq"] for event in found] == list(range(1, WRITERS * BATCHES * 3 + 1))
    for name in range(WRITERS):
        mine = [e["payload"] for e in found if e["payload"].startswith(f"{name} ")]
        assert mine == [f"{name} {n} {i}" for n in range(1, BATCHES + 1) for i in range(3)]
    assert row(database, fid)["last_seq"] == len(found)


def test_a_retried_batch_is_stored_once(spooler: Spooler, database: str) -> None:
    fid, writer = fresh(), fresh()
    first = batch(fid, said("1"), writer=writer)
    second = batch(fid, said("2"), writer=writer, number=2)
    for delivery in ([first], [first], [second], [first], [second, first]):
        spooler.append(delivery)
    assert payloads(database, fid) == ["1", "2"]


def test_two_deliveries_of_one_batch_at_once_are_stored_once(database: str) -> None:
    """A replay and the process that still lives may send the same at the same moment."""
    fid, writer = fresh(), fresh()
    batches = [batch(fid, said(str(n)), writer=writer, number=n) for n in range(1, 31)]

    def deliver(_: int) -> None:
        spooler = Spooler(database, "kodosumi")
        for one in batches:
            spooler.append([one])
        spooler.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(deliver, range(6)))
    assert payloads(database, fid) == [str(n) for n in range(1, 31)]


def test_a_gap_is_rejected_and_nothing_of_the_delivery_is_stored(
    spooler: Spooler, database: str
) -> None:
    fid, other, writer = fresh(), fresh(), fresh()
    spooler.append([batch(fid, said("1"), writer=writer)])
    with pytest.raises(GapError, match=f"batch 3 of writer {writer} .* came after batch 1"):
        spooler.append([batch(other, said("x")), batch(fid, said("3"), writer=writer, number=3)])
    assert payloads(database, fid) == ["1"]
    assert stored(database, other) == []
    spooler.append([batch(fid, said("2"), writer=writer, number=2)])
    assert payloads(database, fid) == ["1", "2"]


def test_a_writer_goes_on_after_a_restore_without_doubling(spooler: Spooler, database: str) -> None:
    fid, writer = fresh(), fresh()
    batches = [batch(fid, said(str(n)), writer=writer, number=n) for n in range(1, 7)]
    for one in batches[:4]:
        spooler.append([one])
    # The backup was made after batch 2.
    execute(
        database,
        "DELETE FROM kodosumi.event WHERE seq > 2; UPDATE kodosumi.execution SET last_seq = 2;"
        " UPDATE kodosumi.writer SET last_batch = 2",
    )
    for rebase in (Rebase(), Rebase()):  # a second replay has to learn the same again
        for one in batches[4:]:
            rebase.deliver(spooler, [one])
            rebase.deliver(spooler, [one])
    assert payloads(database, fid) == ["1", "2", "5", "6"]


def test_an_event_that_two_reporters_know_is_stored_once(spooler: Spooler, database: str) -> None:
    fid = fresh()
    spooler.append([batch(fid, said("a", dedupe="x"), said("b"), said("a again", dedupe="x"))])
    spooler.append([batch(fid, said("a", dedupe="x"), said("c", dedupe="y"), said("d"))])
    assert payloads(database, fid) == ["a", "b", "c", "d"]
    assert [event["seq"] for event in stored(database, fid)] == [1, 2, 3, 4]


def test_the_same_key_in_another_execution_is_another_event(
    spooler: Spooler, database: str
) -> None:
    one, other = fresh(), fresh()
    spooler.append([batch(one, said("a", dedupe="x")), batch(other, said("a", dedupe="x"))])
    assert payloads(database, one) == payloads(database, other) == ["a"]


def test_two_writers_with_the_same_keys_at_once_store_each_once(database: str) -> None:
    fid = fresh()

    def report(_: int) -> None:
        spooler, writer = Spooler(database, "kodosumi"), fresh()
        for n in range(1, 21):
            event = said(f"state {n}", dedupe=f"state:{n}")
            spooler.append([batch(fid, event, writer=writer, number=n)])
        spooler.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(report, range(4)))
    assert sorted(payloads(database, fid)) == sorted(f"state {n}" for n in range(1, 21))


@pytest.mark.parametrize("known", [True, False], ids=["known executions", "new executions"])
def test_deliveries_in_opposite_order_do_not_deadlock(database: str, known: bool) -> None:
    """Two processes that write to the same executions; each names them in another order."""
    rounds, executions = 12, 12
    names = [[fresh() for _ in range(executions)] for _ in range(rounds)]
    if known:
        names = [names[0]] * rounds
        first = Spooler(database, "kodosumi")
        first.append([batch(fid) for fid in names[0]])
        first.close()
    start = threading.Barrier(2)

    def write(backwards: bool) -> None:
        spooler, writer = Spooler(database, "kodosumi"), fresh()
        for number, fids in enumerate(names, start=1):
            ordered = list(reversed(fids)) if backwards else fids
            start.wait(30)
            spooler.append(
                [batch(f, said("x"), writer=writer, number=number if known else 1) for f in ordered]
            )
        spooler.close()

    with ThreadPoolExecutor(2) as pool:
        for writing in [pool.submit(write, backwards) for backwards in (False, True)]:
            writing.result()
    for fid in {fid for fids in names for fid in fids}:
        assert len(stored(database, fid)) == (2 * rounds if known else 2)


REFUSED = "that Postgres refused"


@pytest.mark.parametrize("bad", ["a\x00b", "a\ud800b"], ids=["NUL", "lone surrogate"])
@pytest.mark.parametrize("kind", [Kind.RESULT, Kind.FINAL, Kind.INPUTS, Kind.ERROR, Kind.PROGRESS])
def test_what_postgres_refuses_is_marked_and_the_rest_is_stored(
    spooler: Spooler, database: str, bad: str, kind: Kind
) -> None:
    fid, writer = fresh(), fresh()
    events = [said(f"before {i}") for i in range(20)]
    events += [said(bad, kind)] + [said(f"after {i}") for i in range(20)]
    spooler.append([batch(fid, *events, writer=writer)])
    spooler.append([batch(fid, said("the next batch"), writer=writer, number=2)])
    found = stored(database, fid)
    assert [event["seq"] for event in found] == list(range(1, 43))
    assert [e["payload"] for e in found[:20]] == [f"before {i}" for i in range(20)]
    assert [e["payload"] for e in found[21:]] == [
        *(f"after {i}" for i in range(20)),
        "the next batch",
    ]
    culprit = found[20]
    assert culprit["kind"] == kind
    assert "an event of 3 characters that Postgres refused" in culprit["payload"]
    assert culprit["source"]["refused"] is True
    if kind in (Kind.FINAL, Kind.INPUTS, Kind.ERROR, Kind.PROGRESS):
        assert REFUSED in row(database, fid)[kind]


@pytest.mark.parametrize(
    "spoilt",
    [
        said("x", source='{"a": "\\u0000"}'),
        said("x", source="no json"),
        said("x", "ki\tnd"),
        Event(float("nan"), Kind.STDOUT, "x"),
        Event(1e18, Kind.STDOUT, "x"),
    ],
    ids=["NUL in source", "source is no JSON", "kind with a tab", "no time", "far future"],
)
def test_any_spoilt_field_costs_its_event_only(
    spooler: Spooler, database: str, spoilt: Event
) -> None:
    fid = fresh()
    spooler.append([batch(fid, said("before"), spoilt, said("after"))])
    before, culprit, after = payloads(database, fid)
    assert (before, after) == ("before", "after")
    assert REFUSED in culprit


@pytest.mark.parametrize("bad", ["a\x00b", "a\ud800b"], ids=["NUL", "lone surrogate"])
def test_a_state_with_a_spoilt_message_still_ends_the_stream(
    spooler: Spooler, database: str, bad: str
) -> None:
    """Prefect puts the exception's text there, and that is the author's."""
    fid = fresh()
    failed = entered("error", "Failed", 5.0, message=bad)
    spooler.append([batch(fid, said("trace", Kind.ERROR, attempt=1, note=bad), failed)])
    trace, end = stored(database, fid)
    assert (trace["kind"], trace["payload"]) == ("error", "trace")
    assert (end["kind"], end["payload"]) == ("status", "error")
    assert end["source"]["state"]["message"] in ("a␀b", "a�b")
    found = row(database, fid)
    assert (found["status"], found["ended_seq"], found["error"][0]) == ("error", 2, "a")


def test_a_spoilt_header_blocks_nothing(spooler: Spooler, database: str) -> None:
    fid = fresh()
    header = Header(flow_name="na\x00me", summary="s\ud800", tags=["t\x00"])
    spooler.append([batch(fid, said("1", dedupe="k\x00"), header=header)])
    assert payloads(database, fid) == ["1"]
    found = row(database, fid)
    assert (found["flow_name"], found["summary"], found["tags"]) == ("na␀me", "s�", ["t␀"])


def test_one_spoilt_execution_does_not_touch_the_others_of_a_delivery(
    spooler: Spooler, database: str
) -> None:
    good, bad = fresh(), fresh()
    spooler.append([batch(good, said("fine")), batch(bad, said("\x00"))])
    assert payloads(database, good) == ["fine"]
    assert REFUSED in payloads(database, bad)[0]


def test_ten_megabytes_are_stored_whole(spooler: Spooler, database: str) -> None:
    fid, text = fresh(), "0123456789abcde\n" * 655_360
    spooler.append([batch(fid, said(text, Kind.RESULT))])
    assert payloads(database, fid) == [text]


def test_a_missing_row_is_made_from_the_header(spooler: Spooler, database: str) -> None:
    fid, deployment = fresh(), fresh()
    header = Header(
        owner="ann",
        flow_name="report",
        deployment_id=deployment,
        tags=["a", "b"],
        version="1",
        process={"host": "h", "pid": 7, "started": 1.0},
    )
    spooler.append([batch(fid, said("1"), header=header, alive=True)])
    found = row(database, fid)
    assert (found["owner"], found["flow_name"], found["tags"]) == ("ann", "report", ["a", "b"])
    assert str(found["deployment_id"]) == deployment
    assert found["process"] == {"host": "h", "pid": 7, "started": 1.0}
    assert found["heartbeat_at"] is not None
    assert (found["status"], found["last_seq"]) == ("starting", 1)


def test_a_header_fills_what_is_unknown_and_overwrites_nothing(
    spooler: Spooler, database: str
) -> None:
    fid = fresh()
    spooler.append([batch(fid, said("1"), header=Header(flow_name="first"))])
    header = Header(flow_name="second", author="bob")
    spooler.append([batch(fid, said("{}", Kind.META), header=header)])
    found = row(database, fid)
    assert (found["flow_name"], found["author"]) == ("first", "bob")


def test_alive_sets_the_heartbeat_and_done_clears_it(spooler: Spooler, database: str) -> None:
    fid, writer = fresh(), fresh()
    beats = []
    for number, alive in enumerate((None, True, None, False), start=1):
        spooler.append([batch(fid, writer=writer, number=number, alive=alive)])
        beats.append(row(database, fid)["heartbeat_at"])
    assert beats[0] is None
    assert beats[1] is not None
    assert beats[2] == beats[1]
    assert beats[3] is None


def test_a_heartbeat_reaches_live_executions_only(spooler: Spooler, database: str) -> None:
    live, over = fresh(), fresh()
    spooler.append([batch(live), batch(over, entered("finished", "Completed", 1.0))])
    spooler.heartbeat([live, over])
    assert row(database, live)["heartbeat_at"] is not None
    assert row(database, over)["heartbeat_at"] is None


def test_a_protocol_that_the_database_no_longer_takes_is_refused(
    spooler: Spooler, database: str
) -> None:
    execute(database, "UPDATE kodosumi.instance SET oldest_writer = 2")
    with pytest.raises(ProtocolError, match="accepts writer protocol 2 and newer, this process"):
        spooler.append([batch(fresh(), said("1"))])


def test_a_wake_up_is_sent_after_the_commit(spooler: Spooler, database: str) -> None:
    fid = fresh()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("LISTEN kodosumi")
        spooler.append([batch(fid, said("1"))])
        note = next(connection.notifies(timeout=10))
        assert (note.channel, note.payload) == ("kodosumi", fid)
        assert payloads(database, fid) == ["1"]


def test_a_connection_that_was_lost_is_made_anew(database: str) -> None:
    fid, writer = fresh(), fresh()
    with line_to(database) as line:
        spooler = Spooler(line.url, "kodosumi")
        spooler.append([batch(fid, said("1"), writer=writer)])
        line.cut()
        with pytest.raises(psycopg.OperationalError):
            spooler.append([batch(fid, said("2"), writer=writer, number=2)])
        line.restore()
        spooler.append([batch(fid, said("2"), writer=writer, number=2)])
        spooler.close()
    assert payloads(database, fid) == ["1", "2"]


def test_a_server_that_hangs_counts_as_away(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel still answers, so that neither keepalives nor TCP timeouts notice."""
    monkeypatch.setattr(connection_module, "ANSWER_TIMEOUT", 0.5)
    fid, writer = fresh(), fresh()
    with line_to(database) as line:
        spooler = Spooler(line.url, "kodosumi")
        spooler.append([batch(fid, said("1"), writer=writer)])
        line.hang()
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="no answer within"):
            spooler.append([batch(fid, said("2"), writer=writer, number=2)])
        assert time.monotonic() - began < 5
        line.resume()
        spooler.append([batch(fid, said("2"), writer=writer, number=2)])
        spooler.close()
    assert payloads(database, fid) == ["1", "2"]


def test_an_idle_connection_is_given_back_and_a_heartbeat_does_not_count_as_use(
    database: str,
) -> None:
    with line_to(database) as line:
        spooler = Spooler(line.url, "kodosumi")
        spooler.append([batch(fresh(), said("1"))])
        used = time.monotonic()
        spooler.close_if_idle(60)
        assert line.connections == 1
        wait_for(lambda: time.monotonic() > used + 0.2)
        spooler.heartbeat([fresh()])
        spooler.close_if_idle(0.2)
        wait_for(lambda: line.connections == 0)
        spooler.heartbeat([fresh()])  # on a connection of its own
        assert line.connections == 1
        spooler.close_if_idle(0.2)
        wait_for(lambda: line.connections == 0, 5)
        spooler.connect()
        spooler.close_if_idle(60)
        assert line.connections == 1
        spooler.close()


def test_no_session_state_is_needed_between_statements(database: str) -> None:
    """What a transaction pooler demands: nothing prepared, nothing set for the session."""
    fid, writer = fresh(), fresh()
    spooler = Spooler(database, "kodosumi")
    connection = spooler.connect()
    for number in range(1, 12):
        spooler.append([batch(fid, said("x"), writer=writer, number=number)])
    prepared = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    settings = connection.execute(
        "SELECT count(*) FROM pg_settings WHERE source = 'session'"
    ).fetchone()
    spooler.close()
    assert (prepared, settings) == ((0,), (0,))


def test_a_batch_reads_back_from_a_spill_file_as_it_was_but_for_surrogates() -> None:
    state = State(fresh(), "FAILED", "Failed", "it \ud800 broke", 1.5)
    event = Event(1.25, Kind.STATUS, "error", 2, '{"pid":1}', "key", state, "note")
    original = Batch(fresh(), fresh(), 3, Header(tags=["ü"]), [event, said("\x00\n")], True)
    (copy,) = unpack(pack([original]))
    mended = state._replace(message="it � broke")
    assert copy.events[0] == event._replace(state=mended)
    assert copy._replace(events=[]) == original._replace(events=[])


def test_nothing_comes_between_a_result_and_the_end_but_what_the_run_says(database: str) -> None:
    fid = fresh()
    aside = said("task x: Completed", Kind.DEBUG, dedupe="task:1", attempt=1)
    spooler = Spooler(database, "kodosumi")
    running = entered("running", "Running", time.time())
    result = said('{"int": 1}', Kind.FINAL, attempt=1)
    spooler.append([batch(fid, running, said("a"), result)])
    observer = fresh()
    spooler.append([batch(fid, aside, writer=observer, number=1)])
    spooler.append([batch(fid, said("last words"))])
    spooler.append([batch(fid, entered("finished", "Completed", time.time()))])
    spooler.append([batch(fid, aside, writer=observer, number=2)])
    spooler.append([batch(fid, aside, writer=observer, number=3)])
    spooler.close()
    events = stored(database, fid)
    assert [e["kind"] for e in events] == ["status", "stdout", "final", "stdout", "status", "debug"]
    assert events[-1]["source"] == {"late": True}
    assert row(database, fid)["status"] == "finished"
