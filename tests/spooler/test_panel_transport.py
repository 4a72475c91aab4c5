"""Events through the panel: what is different from a connection of one's own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.files import access
from kodosumi_prefect.files.access import FileAccess, learn_access
from kodosumi_prefect.files.tokens import token_for
from kodosumi_prefect.keys import make_secret
from kodosumi_prefect.settings import PREFIX, Settings, reset_settings
from kodosumi_prefect.spans.span import Usage
from kodosumi_prefect.spooler import panel_transport, refused, spill
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.client import SpoolClient
from kodosumi_prefect.spooler.inbox import Weigh
from kodosumi_prefect.spooler.panel_transport import PanelTransport
from kodosumi_prefect.spooler.refused import RefusedError
from kodosumi_prefect.spooler.replay import replay_orphans
from kodosumi_prefect.spooler.route import Route
from kodosumi_prefect.spooler.standing import Standing
from kodosumi_prefect.spooler.transport import Backlog, NoDatabaseError
from kodosumi_prefect.tracer import Tracer
from tests.panel.panel_process import free_port, panel_process
from tests.spans.test_span_totals import began, ended
from tests.spooler.clients import script, spill_files, spilled
from tests.spooler.recording import Line, batch, execute, fresh, payloads, row, said, stored
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(240)
BACKLOG = 20_000  # events of a long outage
by_panel = pytest.mark.parametrize("line", ["panel"], indirect=True)


@pytest.fixture(autouse=True)
def nothing_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tracer of an earlier test has brought access along."""
    monkeypatch.setattr(access, "_arrived", {})
    monkeypatch.setattr(access, "_made", {})


def command(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(PREFIX)
    } | {f"{PREFIX}DATA_DIR": str(settings.data_dir), "COLUMNS": "400"}
    if settings.panel_url is not None:
        environment[f"{PREFIX}PANEL_URL"] = settings.panel_url
    for name in ("database_url", "run_token"):
        if (secret := getattr(settings, name)) is not None:
            environment[PREFIX + name.upper()] = secret.get_secret_value()
    return subprocess.run(
        [sys.executable, "-m", "kodosumi_prefect.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def count(database: str, fid: str) -> int:
    """How many events of an execution are stored."""
    with psycopg.connect(database) as connection:
        query = "SELECT last_seq FROM kodosumi.execution WHERE fid = %s"
        found = connection.execute(query, (fid,)).fetchone()
    return found[0] if found else 0


def test_a_panel_that_is_killed_again_and_again_loses_and_doubles_nothing(
    settings: Settings, database: str, tmp_path: Path, fid: str
) -> None:
    make_secret(settings)
    port = free_port()
    own = Settings(
        data_dir=tmp_path,
        panel_url=f"http://127.0.0.1:{port}",
        run_token=SecretStr(token_for(fid, settings)),
    )
    client, over, said_so_far = SpoolClient(own), threading.Event(), 0
    at_once: SimpleQueue[int] = SimpleQueue()

    def talk() -> None:
        nonlocal said_so_far
        while not over.is_set():
            for _ in range(20 if at_once.empty() else at_once.get()):
                client.emit(fid, said(str(said_so_far)))
                said_so_far += 1
            over.wait(0.02)

    def is_killed_while_it_stores(process: "subprocess.Popen[str]") -> None:
        before = count(database, fid)
        wait_for(lambda: count(database, fid) > before, 60, every=0.001)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        wait_for(lambda: not client.connected)

    talking = threading.Thread(target=talk)
    try:
        with panel_process(settings, port) as process:
            talking.start()
            is_killed_while_it_stores(process)
        for _ in range(5):
            at_once.put(BACKLOG)
            with panel_process(settings, port) as process:
                wait_for(at_once.empty)
                is_killed_while_it_stores(process)
            if count(database, fid) < said_so_far - BACKLOG // 2:
                break  # in the middle of the backlog
        else:
            pytest.fail("each panel had stored most of a backlog before it was killed")
        over.set()
        talking.join()
        wait_for(lambda: spilled(client))
        assert spill_files(own) != []
        with panel_process(settings, port):
            assert client.flush(60)
    finally:
        over.set()
        client.settings = client.settings.model_copy(update={"flush_timeout": 0.0})
        client.close()
    assert payloads(database, fid) == [str(number) for number in range(said_so_far)]
    assert [event["seq"] for event in stored(database, fid)] == list(range(1, said_so_far + 1))
    assert spill_files(own) == []


@by_panel
def test_a_token_that_ends_in_mid_run_costs_nothing_but_a_line(
    make: Callable[..., SpoolClient],
    line: Line,
    database: str,
    fid: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = make()
    client.emit(fid, said("1"))
    assert client.flush(10)
    good = client.settings.run_token
    bad = client.settings.model_copy(update={"run_token": SecretStr(f"{fid}.ended")})
    client._delivery.route._settings = bad
    assert client._delivery.route.panel is not None
    client._delivery.route.panel._settings = bad
    for number in range(2, 100):
        client.emit(fid, said(str(number)))
    wait_for(lambda: spilled(client))
    assert client.flush(0.5) is False
    assert len(spill_files(client.settings)) == 1
    [told] = [r for r in caplog.records if "does not take the token" in r.getMessage()]
    assert f"kodosumi-prefect token {fid}" in told.getMessage()
    client._delivery.route.panel._settings = bad.model_copy(update={"run_token": good})
    wait_for(lambda: client.connected and not client.undelivered)
    assert payloads(database, fid) == [str(number) for number in range(1, 100)]


@pytest.mark.parametrize("line", ["database", "panel"], indirect=True)
def test_a_client_hears_how_a_run_stands_behind_what_it_recorded(
    make: Callable[..., SpoolClient], database: str, fid: str
) -> None:
    client = make()
    assert heard(client.weigh(fid)).state == "free"
    execute(database, "INSERT INTO kodosumi.budget (per, tokens) VALUES ('run', 100)")
    assert heard(client.weigh(fid)).state == "within"
    for event in (began("a"), ended("a", Usage(input=100, output=1))):
        client.emit(fid, event)
    assert heard(client.weigh(fid)) == ("spent", "run", "tokens", 101.0, 100.0)


def test_who_cannot_ask_hears_nothing_and_soon(
    make: Callable[..., SpoolClient], line: Line, fid: str
) -> None:
    client = make()
    line.cut()
    weigh = client.weigh(fid)
    assert weigh.passed.wait(20)
    assert weigh.standing is None


def heard(weigh: Weigh) -> Standing:
    assert weigh.passed.wait(20)
    assert weigh.standing is not None
    return weigh.standing


@by_panel
def test_an_execution_that_takes_no_more_blocks_none_of_the_others(
    make: Callable[..., SpoolClient], line: Line, database: str, fid: str
) -> None:
    assert line.token_of is not None
    client, over, foreign = make(), fresh(), fresh()
    learn_access(over, FileAccess(line.url, line.token_of(over)))
    for each in (fid, over):
        client.emit(each, said("1"))
    assert client.flush(10)
    execute(database, "UPDATE kodosumi.execution SET ended_at = now() - interval '2 h'"
            f" WHERE fid = '{over}'")  # fmt: skip
    for each in (fid, over, foreign):
        client.emit(each, said("2"))
    client.emit(fid, said("3"))
    assert client.flush(10)
    assert payloads(database, fid) == ["1", "2", "3"]
    assert payloads(database, over) == ["1"]
    [kept] = refused.files(spill.folder(client.settings))
    content = kept.read_text()
    assert over in content and foreign in content and f'"{fid}"' not in content


@by_panel
def test_a_token_that_is_not_taken_for_long_blocks_nothing(
    line: Line, tmp_path: Path, fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = line.settings(tmp_path, fid, run_token=SecretStr(f"{fid}.ended"))
    transport = PanelTransport(settings)
    one = batch(fid, said("1"))
    with pytest.raises(panel_transport.TokenRefusedError):
        transport.append([one])
    monkeypatch.setattr(panel_transport, "PATIENCE", 0.0)
    with pytest.raises(RefusedError) as caught:
        transport.append([one])
    assert caught.value.of(one)
    transport.close()


@by_panel
def test_several_large_batches_go_in_several_requests(
    line: Line, tmp_path: Path, database: str, fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_transport, "TOGETHER_BYTES", 10_000)
    transport, writer = PanelTransport(line.settings(tmp_path, fid)), fresh()
    batches = [
        batch(fid, said(f"{number}" + "x" * 6000), writer=writer, number=number)
        for number in range(1, 5)
    ]
    transport.append(batches)
    assert [text[0] for text in payloads(database, fid)] == ["1", "2", "3", "4"]
    huge = batch(fid, said("y" * panel_transport.MOST_BYTES), writer=writer, number=5)
    with pytest.raises(RefusedError, match="more than a panel takes"):
        transport.append([huge])
    assert transport.instance is not None
    transport.close()


@by_panel
def test_compressed_deliveries_are_stored_as_they_were(
    line: Line, tmp_path: Path, database: str, fid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_transport, "HERE", ())
    transport = PanelTransport(line.settings(tmp_path, fid))
    texts = [f"{number} äöü 🎉" for number in range(2000)]
    transport.append([batch(fid, *map(said, texts))])
    assert payloads(database, fid) == texts
    transport.close()


def test_a_process_that_knows_a_database_goes_to_it_whatever_it_was_given(
    settings: Settings, fid: str
) -> None:
    learn_access(fid, FileAccess("http://127.0.0.1:9", "token"))
    given = settings.model_copy(
        update={"panel_url": "http://127.0.0.1:9", "run_token": SecretStr(f"{fid}.token")}
    )
    route = Route(given, fresh(), Backlog)
    assert isinstance(route.transport(), Spooler)
    assert route.panel is None


def test_a_process_without_a_token_has_no_way(tmp_path: Path, fid: str) -> None:
    route = Route(Settings(data_dir=tmp_path, panel_url="http://127.0.0.1:9"), fresh(), Backlog)
    with pytest.raises(NoDatabaseError):
        route.transport()
    learn_access(fid, FileAccess("http://127.0.0.1:9", "token"))
    assert isinstance(route.transport(), PanelTransport)


def test_a_tracer_from_a_panel_nobody_here_reaches_costs_no_waiting(
    tmp_path: Path, fid: str
) -> None:
    learn_access(fid, FileAccess(f"http://127.0.0.1:{free_port()}", "token"))
    client = SpoolClient(Settings(data_dir=tmp_path, flush_timeout=30))
    client.emit(fid, said("1"))
    began = time.monotonic()
    assert client.flush() is False
    assert time.monotonic() - began < 25  # an outage is waited for
    client.close()
    assert len(spill_files(client.settings)) == 1


@by_panel
def test_what_a_process_left_is_replayed_through_the_panel(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    settings = line.settings(tmp_path, fid)
    line.cut()
    code = "say(sys.argv[1], 'left'); client.flush(0.1); os._exit(0)"
    with script(code, settings, fid) as process:
        assert process.wait(60) == 0
    [left] = spill_files(settings)
    away = command(settings, "spool", "replay")
    assert away.returncode == 1 and "is not reached" in away.stderr
    line.restore()
    other = line.settings(tmp_path, fresh())
    not_its_own = command(other, "spool", "replay")
    assert not_its_own.returncode == 0, not_its_own.stderr
    assert f"no token of {fid}" in not_its_own.stdout
    assert spill_files(settings) == [left]
    done = command(settings, "spool", "replay")
    assert done.returncode == 0, done.stderr
    assert "1 batches delivered" in done.stdout
    assert payloads(database, fid) == ["left"]
    assert spill_files(settings) == []


def test_files_of_others_stay_where_there_is_no_token(tmp_path: Path, fid: str) -> None:
    settings = Settings(
        data_dir=tmp_path,
        panel_url="http://127.0.0.1:9",
        run_token=SecretStr(f"{fid}.token"),
    )
    left = spill.Spill(spill.folder(settings) / f"{fresh()}{spill.SUFFIX}")
    left.append([batch(fresh(), said("1"))])
    left.abandon()
    assert replay_orphans(settings, PanelTransport(settings)) == {}
    assert left.path.exists()


@by_panel
def test_the_command_prints_a_token_with_which_a_script_records(
    line: Line, tmp_path: Path, settings: Settings, database: str, fid: str
) -> None:
    execute(database, f"INSERT INTO kodosumi.execution (fid) VALUES ('{fid}')")
    make_secret(settings)
    made = command(settings, "token", fid[:8], "--minutes", "5")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(f"{fid}.") and made.stdout.count("\n") == 1
    assert "PANEL_URL" in made.stderr
    [audited] = rows_of_audit(database)
    assert audited == ("run_token", fid, "cli")
    too_long = command(settings, "token", fid, "--minutes", "99999999")
    assert too_long.returncode == 1 and "--minutes" in too_long.stderr


def rows_of_audit(database: str) -> list[Any]:
    with psycopg.connect(database) as connection:
        return connection.execute(
            "SELECT action, target_id, means FROM kodosumi.audit WHERE action = 'run_token'"
        ).fetchall()


@by_panel
def test_a_script_elsewhere_records_with_a_tracer_of_its_own(
    line: Line, tmp_path: Path, database: str, fid: str
) -> None:
    code = """
from kodosumi_prefect import Tracer
tracer = Tracer.connect()
assert tracer.fid == sys.argv[1]
tracer.markdown("# From elsewhere")
tracer.debug("a line")
assert tracer.flush_sync(20)
"""
    with script(code, line.settings(tmp_path, fid), fid) as process:
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
    assert [event["kind"] for event in stored(database, fid)] == ["result", "debug"]
    assert row(database, fid)["attempt"] <= 1


def test_a_tracer_without_a_way_says_what_to_do(tmp_path: Path, fid: str) -> None:
    reset_settings(Settings(data_dir=tmp_path))
    try:
        with pytest.raises(KodosumiError, match="which run"):
            Tracer.connect()
        with pytest.raises(KodosumiError, match=f"kodosumi-prefect token {fid}"):
            Tracer.connect(fid)
    finally:
        reset_settings()
