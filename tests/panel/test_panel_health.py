"""Probes, and a Postgres or Prefect that goes away and comes back."""

import http.server
import re
import threading
import time
from collections.abc import Callable

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.database import connection, listen, pool
from kodosumi_prefect.settings import Settings, write_address
from kodosumi_prefect.spooler import refused, spill
from tests.panel.panel_runs import Gate, Stand, frames, until
from tests.spooler.recording import batch, fresh, line_to, said


@pytest.fixture
def panel(fresh_panel: Stand) -> Stand:
    return fresh_panel


def test_probes_answer(panel: Stand) -> None:
    assert panel.json("/livez") == {"status": "alive"}
    assert panel.json("/readyz")["status"] == "ready"
    found = panel.json("/health")
    assert found["status"] == "ok"
    assert found["postgres"]["status"] == "ok"
    assert found["versions"]["kodosumi_prefect"]
    until(lambda: panel.json("/health")["spooler"]["status"] == "listening")


def test_a_postgres_that_is_gone_is_503_and_its_return_is_noticed(
    settings: Settings, database: str, start_panel: Callable[..., Stand]
) -> None:
    where = conninfo_to_dict(database)
    gate = Gate(str(where["host"]), int(str(where["port"])))
    through = make_conninfo(database, host="127.0.0.1", port=gate.port)
    stand = start_panel(settings.model_copy(update={"database_url": SecretStr(through)}))
    stand.database = database
    run = stand.run().begin()
    with stand.stream(f"/outputs/stream/{run.fid}") as response:
        coming = (f for f in frames(response) if f.event != "alive")
        assert [next(coming).id for _ in range(4)] == ["1", "2", "3", "4"]
        gate.shut()
        for path in (f"/outputs/status/{run.fid}", "/readyz", "/health"):
            began = time.monotonic()
            answer = stand.get(path)
            assert answer.status_code == 503, path
            assert time.monotonic() - began < 6
        assert answer.json()["down"] == ["postgres"]
        assert stand.json("/livez") == {"status": "alive"}
        run.lines("written meanwhile")
        gate.open()
        # The stream that was open goes on by itself.
        assert (next(coming).data) == "written meanwhile"
        until(lambda: stand.get("/readyz").status_code == 200)
        assert stand.json(f"/outputs/status/{run.fid}")["status"] == "running"
    gate.shut()


def test_prefect_down_is_503_and_names_it(panel: Stand, settings: Settings) -> None:
    write_address(settings, "prefect", {"url": "http://127.0.0.1:1/api"})
    answer = panel.get("/health")
    assert answer.status_code == 503
    assert answer.json()["down"] == ["prefect"]
    assert panel.get("/readyz").status_code == 200


@pytest.fixture
def silent_server() -> str:
    """An address that takes connections and never answers."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"
    listener.close()


def test_a_prefect_that_never_answers_does_not_hang_the_probe(
    panel: Stand, settings: Settings, silent_server: str
) -> None:
    write_address(settings, "prefect", {"url": silent_server})
    began = time.monotonic()
    assert panel.get("/health").status_code == 503
    assert time.monotonic() - began < 6


def test_prefects_own_setting_is_asked(panel: Stand, settings: Settings) -> None:
    paths = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    write_address(settings, "prefect", {"url": f"http://127.0.0.1:{server.server_port}/api"})
    with temporary_settings({PREFECT_API_URL: None}):
        assert panel.json("/health")["prefect"]["status"] == "ok"
    server.shutdown()
    assert paths == ["/api/admin/version"]


def test_ray_is_only_reached_for(panel: Stand, settings: Settings) -> None:
    assert panel.json("/health")["ray"] == {"status": "not configured"}
    write_address(settings, "ray", {"address": "127.0.0.1:1"})
    found = panel.json("/health")
    assert (found["status"], found["ray"]["status"]) == ("ok", "down")


def test_a_line_that_swallows_everything_is_told_and_left_for_a_new_one(
    settings: Settings,
    database: str,
    start_panel: Callable[..., Stand],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As behind a load balancer that forgot the connections: they are open, nothing comes."""
    bounds = {"CANCEL_TIMEOUT": 0.3, "ROUND_TRIP": 0.3, "ROUND_TRIP_TIMEOUT": 0.5}
    for name, seconds in bounds.items():
        monkeypatch.setattr(connection, name, seconds)
    monkeypatch.setattr(pool, "ANSWER_TIMEOUT", 1.0)
    monkeypatch.setattr(listen, "PROBE_AGAIN", 0.3)
    monkeypatch.setitem(connection.CONNECTION_DEFAULTS, "connect_timeout", 2)
    with line_to(database) as line:
        through = settings.model_copy(update={"database_url": SecretStr(line.url)})
        stand = start_panel(through)
        stand.database = database
        run = stand.run().begin()
        until(lambda: stand.json("/readyz")["feed"] == "listening")
        assert stand.json("/health")["spooler"]["losses"] == 0
        with stand.stream(f"/outputs/stream/{run.fid}") as response:
            coming = (f for f in frames(response) if f.event != "alive")
            assert [next(coming).id for _ in range(4)] == ["1", "2", "3", "4"]
            line.hang()
            for path in (f"/outputs/status/{run.fid}", "/readyz"):
                assert stand.get(path).status_code == 503, path
            assert stand.json("/livez") == {"status": "alive"}
            line.forget()  # what was open stays dead, for ever
            line.resume()
            until(lambda: stand.get("/readyz").status_code == 200)
            run.lines("written meanwhile")
            assert next(coming).data == "written meanwhile"
        until(lambda: stand.json("/readyz")["feed"] == "listening")
        assert stand.json("/health")["spooler"]["losses"] > 0
        told = stand.get("/metrics").text
        number = r"^kodosumi_database_timeouts_total ([0-9.]+)$"
        found = re.search(number, told, re.MULTILINE)
        assert found is not None
        assert float(found[1]) > 0
        assert re.search(r"^kodosumi_feed_losses_total [1-9]", told, re.MULTILINE)
        assert re.search(r"^kodosumi_feed_round_trip_age_seconds [0-9]", told, re.MULTILINE)


def test_refused_events_are_named(panel: Stand, settings: Settings) -> None:
    assert panel.json("/health")["spooler"]["refused"] == []
    kept = refused.Refused(spill.folder(settings))
    kept.keep([batch(fresh(), said("bad"))], "no reason")
    assert panel.json("/health")["spooler"]["refused"] == [kept.path.name]
