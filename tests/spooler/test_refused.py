"""What Postgres refuses for good blocks nothing that is behind it, or beside it."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kodosumi_prefect.cli.doctor import check_spill
from kodosumi_prefect.cli.doctor.finding import Verdict
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler import refused, spill, storing
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch, Header, pack
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.spooler.outcome import check, of_error
from kodosumi_prefect.spooler.pool import Pool
from kodosumi_prefect.spooler.refused import RefusedError
from kodosumi_prefect.spooler.replay import replay_orphans, replay_refused
from tests.spooler.recording import batch, entered, execute, fresh, payloads, row, said, stored
from tests.waiting import wait_for


def noise(length: int) -> str:
    """Text that does not compress, so that no index can hold much of it."""
    return secrets.token_hex(length)[:length]


@pytest.fixture
def spooler(database: str) -> Iterator[Spooler]:
    made = Spooler(database, "kodosumi")
    yield made
    made.close()


@pytest.fixture
def client(settings: Settings) -> Iterator[SpoolClient]:
    made = SpoolClient(settings)
    yield made
    made.close()


@pytest.fixture(params=["this writer", "this writer, older schema", "older writer"])
def bounded_by(request: pytest.FixtureRequest, database: str, monkeypatch) -> str:
    """Either the writer or the schema may be of a version that bounds nothing."""
    if request.param == "this writer, older schema":
        execute(database, "DROP TRIGGER bound_header ON kodosumi.execution")
    elif request.param == "older writer":
        monkeypatch.setattr(storing, "bounded", dict)
    return str(request.param)


def test_no_header_is_too_long_for_an_index(
    spooler: Spooler, database: str, bounded_by: str
) -> None:
    fid, other, name = fresh(), fresh(), "ä" * 200
    long = Header(app_url=noise(9000), flow_name=noise(9000), owner=noise(9000), summary="so")
    spooler.append(
        [
            batch(fid, said("1"), header=long),
            batch(other, said("2"), header=Header(flow_name=name, app_url="http://here/" * 80)),
        ]
    )
    assert (payloads(database, fid), payloads(database, other)) == (["1"], ["2"])
    found = row(database, fid)
    assert long["app_url"] is not None
    assert long["flow_name"] is not None
    assert found["app_url"] == long["app_url"][:250]
    assert found["flow_name"] == long["flow_name"][:200]
    assert found["summary"] == "so"
    kept = row(database, other)
    assert (kept["flow_name"], kept["app_url"]) == (name, "http://here/" * 80)


def test_owners_that_begin_alike_stay_two(spooler: Spooler, database: str, bounded_by: str) -> None:
    begin = noise(3000)
    owners = []
    for end in ("one", "two", "one"):
        fid = fresh()
        spooler.append([batch(fid, said("1"), header=Header(owner=begin + end))])
        owners.append(row(database, fid)["owner"])
    assert owners[0] == owners[2]
    assert owners[0] != owners[1]
    assert begin not in owners[0]


@pytest.mark.parametrize(
    "header",
    [
        {"deployment_id": "no uuid"},
        {"process": {"host": "\x00"}},
        {"schedule": "no uuid"},
        {"owner": 7},
        {"tags": ["a", None, 5]},
    ],
    ids=lambda header: next(iter(header)),
)
def test_a_field_that_is_refused_costs_nothing_but_itself(
    spooler: Spooler, database: str, header: Header
) -> None:
    fids, writer = [fresh(), fresh(), fresh()], fresh()
    headers = [Header(), Header(flow_name="named", **header), Header()]  # type: ignore[typeddict-item]
    spooler.append(
        [
            batch(fid, said("1"), writer=writer, header=h)
            for fid, h in zip(fids, headers, strict=True)
        ]
    )
    spooler.append([batch(fid, said("2"), writer=writer, number=2) for fid in fids])
    assert [payloads(database, fid) for fid in fids] == [["1", "2"]] * 3
    assert row(database, fids[1])["flow_name"] == "named"


def test_a_text_that_the_table_refuses_is_marked(spooler: Spooler, database: str) -> None:
    execute(database, "ALTER TABLE kodosumi.execution ADD CHECK (summary <> 'bad')")
    fid = fresh()
    spooler.append([batch(fid, said("1"), header=Header(summary="bad", author="good"))])
    found = row(database, fid)
    assert (found["summary"], found["author"]) == ("[refused by Postgres]", "good")
    assert payloads(database, fid) == ["1"]


def test_an_attempt_and_a_time_out_of_bounds_are_stored(spooler: Spooler, database: str) -> None:
    fid = fresh()
    odd = entered("running", "Running", 10.0**18)
    spooler.append(
        [batch(fid, said("1"), odd._replace(attempt=2**40), said("2", attempt=-(2**40)))]
    )
    assert [event["kind"] for event in stored(database, fid)] == ["stdout", "status", "stdout"]
    assert row(database, fid)["status"] == "running"


def test_a_long_dedupe_key_is_one_all_the_same(spooler: Spooler, database: str) -> None:
    fid, key = fresh(), noise(9000)
    for _ in range(2):
        spooler.append([batch(fid, said("once", dedupe=key), said("again"))])
    assert payloads(database, fid) == ["once", "again", "again"]


def test_a_meaning_that_the_row_refuses_is_marked_and_the_rest_is_stored(
    spooler: Spooler, database: str
) -> None:
    execute(database, "ALTER TABLE kodosumi.execution ADD CHECK (progress <> 'bad')")
    fid, other, writer = fresh(), fresh(), fresh()
    events = [said("1"), said("bad", Kind.PROGRESS), said("2")]
    spooler.append([batch(fid, *events, writer=writer), batch(other, said("beside"))])
    spooler.append([batch(fid, said("3"), writer=writer, number=2)])
    first, marked, *rest = stored(database, fid)
    assert (first["payload"], [event["payload"] for event in rest]) == ("1", ["2", "3"])
    assert (marked["kind"], marked["source"]) == ("debug", {"refused": True})
    assert payloads(database, other) == ["beside"]


def forbid(database: str, fid: str) -> None:
    """Have Postgres refuse whatever is about this execution."""
    execute(
        database, f"ALTER TABLE kodosumi.execution ADD CONSTRAINT forbidden CHECK (fid <> '{fid}')"
    )


def test_what_is_refused_whatever_stands_in_for_it_is_named_and_all_else_is_stored(
    spooler: Spooler, database: str
) -> None:
    fids, writer = [fresh() for _ in range(4)], fresh()
    forbid(database, fids[1])
    batches = [batch(fid, said("1"), writer=writer) for fid in fids]
    batches[3] = batches[3]._replace(fid="no uuid")
    with pytest.raises(RefusedError) as caught:
        spooler.append(batches)
    assert {name[0] for name in caught.value.names} == {fids[1], "no uuid"}
    assert [caught.value.of(one) for one in batches] == [False, True, False, True]
    assert [payloads(database, fid) for fid in (fids[0], fids[2])] == [["1"], ["1"]]
    with pytest.raises(RefusedError, match="forbidden"):  # as it comes through the actor
        check(of_error(caught.value))


def test_the_queue_goes_on_and_the_refused_are_kept_for_another_try(
    client: SpoolClient, settings: Settings, database: str
) -> None:
    bad, good = fresh(), fresh()
    forbid(database, bad)
    for number in range(1, 4):
        client.emit(bad, said(f"bad {number}"))
        client.emit(good, said(f"good {number}"))
        assert client.flush(20)
    assert client.connected
    assert payloads(database, good) == ["good 1", "good 2", "good 3"]
    (kept,) = refused.files(spill.folder(settings))
    assert kept.stat().st_mode & 0o777 == 0o600
    finding = check_spill(settings)
    assert finding.verdict is Verdict.WARN
    assert "refused" in finding.text

    spooler = Spooler(database, "kodosumi")
    try:
        assert replay_refused(settings, spooler) == {str(kept): (0, 3)}
        assert kept.exists()
        execute(database, "ALTER TABLE kodosumi.execution DROP CONSTRAINT forbidden")
        assert replay_refused(settings, spooler) == {str(kept): (3, 0)}
    finally:
        spooler.close()
    assert not refused.files(spill.folder(settings))
    assert payloads(database, bad) == ["bad 1", "bad 2", "bad 3"]
    client.emit(bad, said("bad 4"))
    assert client.flush(20)
    assert payloads(database, bad)[-1] == "bad 4"


def test_a_spill_file_with_something_refused_is_delivered_all_the_same(
    client: SpoolClient, settings: Settings, database: str
) -> None:
    bad, good, writer = fresh(), fresh(), fresh()
    forbid(database, bad)
    left = spill.Spill(spill.folder(settings) / f"{writer}{spill.SUFFIX}")
    for number in (1, 2):
        both = [batch(fid, said(str(number)), writer=writer, number=number) for fid in (bad, good)]
        left.append(both)
    left.abandon()
    client.emit(fresh(), said("0"))
    assert client.flush(20)
    client.close()
    spooler = Spooler(database, "kodosumi")
    try:
        replay_orphans(settings, spooler)
    finally:
        spooler.close()
    assert payloads(database, good) == ["1", "2"]
    assert not list(spill.folder(settings).glob(f"*{spill.SUFFIX}"))
    assert len(refused.files(spill.folder(settings))) >= 1


def test_others_of_a_bundle_hear_nothing_of_the_one_that_is_refused(database: str) -> None:
    bad, good = fresh(), fresh()
    forbid(database, bad)
    pool = Pool(database, "kodosumi", 1)
    try:
        futures = [pool.append([fid], pack([batch(fid, said("1"))])) for fid in (bad, good)]
        with pytest.raises(RefusedError):
            futures[0].result(20)
        assert futures[1].result(20) == 1
    finally:
        pool.close(5)


def test_a_missing_table_is_an_outage_and_no_refusal(
    client: SpoolClient, settings: Settings, database: str
) -> None:
    """As while a backup is restored: everything waits for it."""
    fid = fresh()
    execute(database, "ALTER TABLE kodosumi.seen RENAME TO away")
    client.emit(fid, said("1", dedupe="a key"))
    assert not client.flush(1.0)
    assert not refused.files(spill.folder(settings))
    execute(database, "ALTER TABLE kodosumi.away RENAME TO seen")
    wait_for(lambda: client.connected and not client.undelivered)
    assert payloads(database, fid) == ["1"]


def test_the_file_is_locked_against_a_replay_at_the_same_time(tmp_path: Path) -> None:
    kept = refused.Refused(tmp_path)
    one, two = (batch(fresh(), said(text)) for text in ("one", "two"))
    kept.keep([one], "no")
    delivered: list[Batch] = []

    def deliver_and_keep(batches: list[Batch]) -> None:
        delivered.extend(batches)

    assert refused.replay(kept.path, deliver_and_keep) == (1, 0)
    kept.keep([two], "no")  # the file was removed meanwhile
    assert refused.replay(kept.path, deliver_and_keep) == (1, 0)
    texts: Callable[[Batch], list[str]] = lambda one: [Event._make(e).payload for e in one.events]  # noqa: E731
    assert [texts(one) for one in delivered] == [["one"], ["two"]]
