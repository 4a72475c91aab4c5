"""The Spooler actor: few connections, nothing lost or doubled, whatever happens around it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.cli.doctor.finding import Verdict
from kodosumi_prefect.cli.doctor.ray_cluster import check_ray
from kodosumi_prefect.events import Kind
from kodosumi_prefect.runner.ray_client import ray_client_environment
from kodosumi_prefect.runner.ray_connection import connect_ray
from kodosumi_prefect.settings import PREFIX, VERSION, Settings, read_address
from kodosumi_prefect.spooler import actor as actor_module
from kodosumi_prefect.spooler.actor import NAME, ask, ensure_spooler, find
from kodosumi_prefect.spooler.actor_transport import ActorTransport
from kodosumi_prefect.spooler.append import ProtocolError, Spooler
from kodosumi_prefect.spooler.batch import PROTOCOL
from kodosumi_prefect.spooler.refused import RefusedError
from kodosumi_prefect.spooler.replay import replay_orphans
from kodosumi_prefect.spooler.storing import GapError
from kodosumi_prefect.spooler.transport import Backlog, SpoolerAwayError
from tests.answering import answer, until_open
from tests.services import Place
from tests.spooler.recording import (
    Line,
    batch,
    execute,
    fresh,
    line_to,
    payloads,
    row,
    said,
    slow_table,
    stored,
    words_on_disk,
)
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site_here(ray_place: Place, settings: Settings) -> Settings:
    """A database of the test's own, with this process connected to Ray."""
    connect_ray(ray_place.settings)
    return settings


@pytest.fixture
def ensured(site_here: Settings, database: str) -> Iterator[Callable[..., Any]]:
    """Makes the Spooler of the test's database, which ends with the test."""
    with psycopg.connect(database) as connection:
        [instance] = connection.execute("SELECT id::text FROM kodosumi.instance").fetchone() or ()
    end(instance)  # a worker of another test made it: its database has the same id
    instances: set[str] = set()

    def ensure(settings: Settings = site_here) -> Any:
        address = ensure_spooler(settings)
        instances.add(address.instance)
        return address

    yield ensure
    for instance in instances:
        end(instance)


def end(instance: str) -> None:
    import ray

    if (left := find(instance)) is not None:
        ray.kill(left, no_restart=True)
        wait_for(lambda: find(instance) is None, 10)


@pytest.fixture
def emitters(site_here: Settings) -> Iterator[Callable[..., Any]]:
    """Starts processes that emit; keywords go to ``Emitter``."""
    import ray

    from tests.samples.on_spooler import Emitter

    made: list[Any] = []

    def start(instance: str | None, url: str | None = None) -> Any:
        made.append(Emitter.remote(instance, url, str(site_here.data_dir)))
        return made[-1]

    yield start
    for one in made:
        ray.kill(one)


def got(call: Any, timeout: float = 90.0) -> Any:
    import ray

    return ray.get(call, timeout=timeout)


def url_of(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


def about(instance: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(find(instance), "about", timeout=30)
    return found


def to(instance: str) -> ActorTransport:
    transport = ActorTransport(instance, fresh(), Backlog)
    assert transport.find()
    return transport


def connections(url: str) -> int:
    """Connections of ours to the database, but the one that asks."""
    with psycopg.connect(url, application_name="looking") as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'kodosumi-prefect'"
        ).fetchone()
    assert found is not None
    return int(found[0])


def test_it_is_made_once_and_named_after_the_database(
    ensured: Callable[..., Any], database: str
) -> None:
    address = ensured()
    with psycopg.connect(database) as connection:
        (instance,) = connection.execute("SELECT id::text FROM kodosumi.instance").fetchone()
    assert address == (instance, f"kodosumi-{instance}", f"spooler-{PROTOCOL}", True)
    first = about(instance)
    assert ensured() == address._replace(created=False)
    assert about(instance)["pid"] == first["pid"]


@pytest.mark.parametrize("address", ["address", "client_address"], ids=["direct", "ray://"])
def test_a_command_makes_it_and_the_doctor_finds_it(
    ensured: Callable[..., Any], ray_place: Place, database: str, address: str
) -> None:
    recorded = read_address(ray_place.settings, "ray")
    assert recorded is not None
    environment = ray_place.environment(
        **{
            f"{PREFIX}DATABASE_URL": database,
            f"{PREFIX}RAY_ADDRESS": recorded[address],
            **ray_client_environment(ray_place.settings),
        }
    )
    command = [sys.executable, "-m", "kodosumi_prefect.cli", "spool", "start"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "started" in done.stdout
    assert not ensured(at(ray_place.settings, database)).created
    _, told = check_ray(at(ray_place.settings, database))
    assert (told.check, told.verdict) == ("spooler", Verdict.OK)
    assert f"version {VERSION}, protocol {PROTOCOL}" in told.text


def at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(url)})


def test_what_two_writers_send_is_stored_once_and_in_order(
    ensured: Callable[..., Any], database: str
) -> None:
    transport, fid = to(ensured().instance), fresh()
    writers = fresh(), fresh()
    for number in (1, 2, 3):
        for writer in writers:
            one = batch(fid, said(f"{writer} {number}"), writer=writer, number=number)
            transport.append([one])
            transport.append([one])
    events = stored(database, fid)
    assert [event["seq"] for event in events] == list(range(1, 7))
    assert transport.standings([fid])[fid].state == "free"
    for writer in writers:
        mine = [e["payload"] for e in events if e["payload"].startswith(writer)]
        assert mine == [f"{writer} {number}" for number in (1, 2, 3)]


def test_the_database_s_errors_arrive_as_what_they_are(
    ensured: Callable[..., Any], database: str
) -> None:
    transport, fid, writer = to(ensured().instance), fresh(), fresh()
    transport.append([batch(fid, said("1"), writer=writer)])
    with pytest.raises(GapError) as gap:
        transport.append([batch(fid, said("3"), writer=writer, number=3)])
    assert (gap.value.fid, gap.value.writer, gap.value.number) == (fid, writer, 3)
    assert gap.value.last_batch == 1
    nowhere = batch("no uuid", said("1"))
    with pytest.raises(RefusedError) as refused:
        transport.append([nowhere])
    assert refused.value.of(nowhere)
    execute(database, "ALTER TABLE kodosumi.event RENAME TO gone")
    with pytest.raises(psycopg.errors.UndefinedTable):
        transport.append([batch(fid, said("2"), writer=writer, number=2)])
    execute(database, "ALTER TABLE kodosumi.gone RENAME TO event")
    execute(database, "UPDATE kodosumi.instance SET oldest_writer = 9")
    with pytest.raises(ProtocolError, match="upgrade kodosumi-prefect"):
        transport.append([batch(fid, said("2"), writer=writer, number=2)])
    execute(database, "UPDATE kodosumi.instance SET oldest_writer = 1")
    transport.append([batch(fid, said("2"), writer=writer, number=2)])
    assert payloads(database, fid) == ["1", "2"]


def test_an_event_that_postgres_refuses_gets_a_placeholder(
    ensured: Callable[..., Any], database: str
) -> None:
    transport, fid = to(ensured().instance), fresh()
    refused = said("late", Kind.RESULT)._replace(ts=9e11)
    transport.append([batch(fid, said("before"), refused, said("after"))])
    before, placeholder, after = stored(database, fid)
    assert (before["payload"], after["payload"]) == ("before", "after")
    assert placeholder["kind"] == Kind.RESULT
    assert "Postgres refused" in placeholder["payload"]


def test_a_writer_behind_a_restored_database_goes_on(
    ensured: Callable[..., Any], emitters: Callable[..., Any], database: str
) -> None:
    emitter, fid = emitters(ensured().instance), fresh()
    got(emitter.emit.remote(fid, ["1"]))
    assert got(emitter.flush.remote())
    execute(database, "TRUNCATE kodosumi.writer, kodosumi.event; DELETE FROM kodosumi.execution")
    got(emitter.emit.remote(fid, ["2"]))
    assert got(emitter.flush.remote())
    assert payloads(database, fid) == ["2"]


def test_many_processes_share_a_few_connections(
    ensured: Callable[..., Any], emitters: Callable[..., Any], database: str
) -> None:
    instance, shared = ensured().instance, fresh()
    processes = [emitters(instance) for _ in range(12)]
    fids = [fresh() for _ in processes]
    calls = [
        one.emit.remote(fid, [f"{name} {i}" for i in range(50)], 0.01)
        for name, one in enumerate(processes)
        for fid in (shared, fids[name])
    ]
    most = 0

    def emitted() -> bool:
        nonlocal most
        import ray

        most = max(most, connections(database))
        return len(ray.wait(calls, num_returns=len(calls), timeout=0)[1]) == 0

    wait_for(emitted, 120, "emitting", every=0.02)
    assert all(got([one.flush.remote() for one in processes]))
    assert 1 <= most <= 4
    texts = payloads(database, shared)
    assert len(texts) == 12 * 50
    for name, fid in enumerate(fids):
        expected = [f"{name} {i}" for i in range(50)]
        assert [text for text in texts if text.split()[0] == str(name)] == expected
        assert payloads(database, fid) == expected
    ways = got([one.way.remote() for one in processes])
    assert all(way["actor"] and not way["direct"] for way in ways)
    assert len({way["pid"] for way in ways}) == 12


def test_what_is_said_while_the_database_is_slow_outlives_its_process(
    ensured: Callable[..., Any], emitters: Callable[..., Any], database: str
) -> None:
    instance, fid = ensured().instance, fresh()
    emitter = emitters(instance)
    got(emitter.emit.remote(fid, ["before"]))
    assert got(emitter.flush.remote())
    pid = got(emitter.way.remote())["pid"]
    with psycopg.connect(database) as slow:
        slow.execute("LOCK TABLE kodosumi.event IN ACCESS EXCLUSIVE MODE")
        emitter.emit.remote(fid, [str(n) for n in range(5000)], 0.002)
        time.sleep(0.6)
        os.kill(pid, signal.SIGKILL)
        slow.rollback()
    # It was said for 600 ms, one each 2 ms and a little; all but the last 150 ms have to be there.
    told = wait_for(lambda: found if len(found := payloads(database, fid)) > 30 else None, 10)
    assert told == ["before", *(str(n) for n in range(len(told) - 1))]


def test_a_killed_spooler_comes_back_and_nothing_is_lost_or_doubled(
    ensured: Callable[..., Any], emitters: Callable[..., Any], database: str
) -> None:
    instance, fid = ensured().instance, fresh()
    processes = [emitters(instance) for _ in range(3)]
    got([one.way.remote() for one in processes])  # they run
    count = 1500
    calls = [
        one.emit.remote(fid, [f"{name} {i}" for i in range(count)], 0.002)
        for name, one in enumerate(processes)
    ]
    for kill in (1, 2):
        wait_for(lambda kill=kill: len(payloads(database, fid)) > kill * 300)
        before = about(instance)["pid"]
        os.kill(before, signal.SIGKILL)
        wait_for(lambda before=before: pid_of(instance) not in (None, before))
    got(calls)
    assert all(got([one.flush.remote() for one in processes]))
    events = stored(database, fid)
    assert [event["seq"] for event in events] == list(range(1, 3 * count + 1))
    for name in range(3):
        mine = [e["payload"] for e in events if e["payload"].startswith(f"{name} ")]
        assert mine == [f"{name} {i}" for i in range(count)]
    assert all(way["actor"] for way in got([one.way.remote() for one in processes]))


def test_what_waits_for_a_late_answer_of_the_spooler_survives_a_kill_of_both(
    ensured: Callable[..., Any], emitters: Callable[..., Any], site_here: Settings, database: str
) -> None:
    import ray

    instance, fid = ensured().instance, fresh()
    one = emitters(instance)
    got(one.emit.remote(fid, ["0"]))
    assert got(one.flush.remote())
    of_process = Settings(data_dir=site_here.data_dir)  # it knows no URL
    with slow_table(database):
        got(one.emit.remote(fid, ["1", "2"]))
        wait_for(lambda: words_on_disk(of_process) == ["1", "2"], 6)
        os.kill(about(instance)["pid"], signal.SIGKILL)
        pid = got(one.way.remote())["pid"]
        ray.kill(one, no_restart=True)
        wait_for(lambda: not Path(f"/proc/{pid}").exists())
    spooler = Spooler(database, "kodosumi")
    try:
        wait_for(lambda: replay_orphans(of_process, spooler))
    finally:
        spooler.close()
    assert payloads(database, fid) == ["0", "1", "2"]
    assert words_on_disk(of_process) == []


def pid_of(instance: str) -> int | None:
    try:
        return int(about(instance)["pid"])
    except SpoolerAwayError:
        return None


@pytest.fixture
def line(database: str) -> Iterator[Line]:
    """The way to the database, which can be cut."""
    with line_to(database) as made:
        yield made


def test_a_database_that_is_away_is_told_and_bridged(
    ensured: Callable[..., Any],
    emitters: Callable[..., Any],
    site_here: Settings,
    database: str,
    line: Line,
) -> None:
    over_line = at(site_here, line.url)
    instance, fid = ensured(over_line).instance, fresh()
    emitter, transport = emitters(instance), to(instance)
    got(emitter.emit.remote(fid, ["0"]))
    assert got(emitter.flush.remote())
    line.cut()
    got(emitter.emit.remote(fid, [str(i) for i in range(1, 1000)]))
    assert not got(emitter.flush.remote(1.0))
    with pytest.raises(psycopg.OperationalError):
        transport.append([batch(fid, said("no"))])
    assert not got(emitter.way.remote())["connected"]
    line.restore()
    assert got(emitter.flush.remote(30.0)) or wait_for(
        lambda: got(emitter.way.remote())["connected"]
    )
    wait_for(lambda: len(payloads(database, fid)) >= 1000)
    assert payloads(database, fid) == [str(i) for i in range(1000)]


def test_events_wait_for_a_spooler_that_is_not_there_yet(
    ensured: Callable[..., Any], emitters: Callable[..., Any], site_here: Settings, database: str
) -> None:
    instance, fid = actor_module._instance_of(database, "kodosumi"), fresh()
    emitter = emitters(instance)
    got(emitter.emit.remote(fid, ["1", "2"]))
    assert not got(emitter.flush.remote(0.5))
    ensured()
    got(emitter.emit.remote(fid, ["3"]))
    wait_for(lambda: payloads(database, fid) == ["1", "2", "3"])
    assert not got(emitter.way.remote())["direct"]


def test_without_a_spooler_a_process_writes_itself_and_goes_over_later(
    ensured: Callable[..., Any], emitters: Callable[..., Any], database: str
) -> None:
    fid = fresh()
    emitter = emitters(None, database)  # it learns the id from the database
    got(emitter.emit.remote(fid, ["1"]))
    assert got(emitter.flush.remote())
    way = got(emitter.way.remote())
    assert (way["actor"], way["direct"]) == (False, True)
    assert ensured().instance == way["instance"]

    def over() -> bool:
        got(emitter.emit.remote(fid, ["more"]))
        assert got(emitter.flush.remote())
        return bool(got(emitter.way.remote())["actor"])

    wait_for(over, 20)
    assert not got(emitter.way.remote())["direct"]
    texts = payloads(database, fid)
    assert texts == ["1", *["more"] * (len(texts) - 1)]


def test_a_spooler_with_another_url_is_replaced(
    ensured: Callable[..., Any], site_here: Settings, database: str
) -> None:
    first = ensured()
    pid = about(first.instance)["pid"]
    changed = make_conninfo(database, keepalives_idle="7")
    moved = at(site_here, changed)
    second = ensured(moved)
    assert second.created
    assert about(second.instance)["pid"] != pid
    # Another place that spells the URL in its own way leaves one alone that works.
    elsewhere = site_here.model_copy(update={"data_dir": site_here.data_dir / "elsewhere"})
    assert not ensured(elsewhere).created


def test_it_does_not_inherit_a_flow_s_runtime_env(
    ensured: Callable[..., Any], site_here: Settings, database: str
) -> None:
    from tests.samples.on_spooler import ensure_inside

    inside = ensure_inside.options(runtime_env={"env_vars": {"SECRET_OF_A_FLOW": "1"}})
    refused = got(inside.remote(database, str(site_here.data_dir)))
    assert refused.startswith("RuntimeEnvError")
    assert about(ensured().instance)["runtime_env"] == {}


def test_the_database_url_is_not_in_what_ray_shows(
    ensured: Callable[..., Any], ray_place: Place, database: str
) -> None:
    from ray._private.state import state

    instance = ensured().instance
    tables = state._connect_and_get_accessor().get_actor_table(None, None)
    shown = [bytes(table) for table in tables if f"kodosumi-{instance}".encode() in bytes(table)]
    assert shown
    with psycopg.connect(database) as connection:
        password = connection.info.password.encode()
    for table in shown:
        assert NAME.encode() in table
        assert password not in table
    assert about(instance)["runtime_env"] == {}


def test_it_reports_itself_with_its_figures(
    ensured: Callable[..., Any], emitters: Callable[..., Any], database: str
) -> None:
    instance, fid = ensured().instance, fresh()
    emitter = emitters(instance)
    got(emitter.emit.remote(fid, ["1", "2", "3"]))
    assert got(emitter.flush.remote())

    def reported() -> dict[str, Any] | None:
        with psycopg.connect(database) as connection:
            found = connection.execute(
                "SELECT name, version, pid, info FROM kodosumi.service WHERE kind = 'spooler'"
            ).fetchall()
        if len(found) != 1 or found[0][3]["events"] < 3:
            return None
        return {"name": found[0][0], "pid": found[0][2], **found[0][3]}

    told = wait_for(reported, 15)
    assert told["name"].startswith(f"{NAME}@")
    assert told["pid"] == about(instance)["pid"]
    assert told["events"] == 3
    assert 1 <= told["appends"] <= 3
    assert sum(told["buckets"]) == told["appends"]
    assert told["seconds"] > 0
    assert told["clients"] == 1
    assert told["protocol"] == PROTOCOL
    assert row(database, fid)["last_seq"] == 3


def test_locks_are_heard_of_through_the_actor_though_it_is_killed(
    ensured: Callable[..., Any], emitters: Callable[..., Any], database: str
) -> None:
    instance, fid = ensured().instance, fresh()
    processes = [emitters(instance) for _ in range(2)]
    names = [[f"{name}-{n}" for n in range(3)] for name in range(2)]
    for one, lids in zip(processes, names, strict=True):
        got(one.open_locks.remote(fid, lids))
    until_open(database, 6, fid)
    wait_for(lambda: connections(database) >= 1)
    answer(database, fid, "0-0", "first")
    assert got(processes[0].settled.remote("0-0")) == ("0-0", "leased", '"first"')
    before = about(instance)["pid"]
    os.kill(before, signal.SIGKILL)
    answer(database, fid, "0-1", "while it was killed")
    assert got(processes[0].settled.remote("0-1"))[2] == '"while it was killed"'
    wait_for(lambda: pid_of(instance) not in (None, before))
    answer(database, fid, "1-2", "afterwards")
    assert got(processes[1].settled.remote("1-2"))[2] == '"afterwards"'
    assert connections(database) <= 4
    assert not any(way["direct"] for way in got([one.way.remote() for one in processes]))
