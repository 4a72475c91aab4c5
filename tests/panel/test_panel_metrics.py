"""Numbers for Prometheus: right, quick, and without anybody's name."""

import time
from collections.abc import Callable

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.panel.system import metrics
from kodosumi_prefect.settings import VERSION, Settings
from tests.panel.panel_runs import Gate, Stand, frames, until
from tests.spooler.recording import execute


def scraped(panel: Stand) -> dict[str, float]:
    """The samples by name, or name and label value."""
    answer = panel.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = (s for f in text_string_to_metric_families(answer.text) for s in f.samples)
    return {" ".join([s.name, *s.labels.values()]): s.value for s in samples}


def test_executions_and_events_are_counted(fresh_panel: Stand) -> None:
    fresh_panel.run(owner="somebody").begin().finish()
    fresh_panel.run(owner="somebody").begin().finish()
    fresh_panel.run(owner="somebody").begin().fail()
    fresh_panel.run(owner="somebody").begin().lines("a", "b")
    found = scraped(fresh_panel)
    counts = {s: found[f"kodosumi_executions {s}"] for s in ("starting", "running", "awaiting")}
    assert counts == {"starting": 0, "running": 1, "awaiting": 0}
    assert found["kodosumi_executions finished"] == 2
    assert found["kodosumi_executions error"] == 1
    assert found["kodosumi_events_appended"] == 6 * 3 + 6
    assert found["kodosumi_database_up"] == 1
    assert found[f"kodosumi_panel_build_info {VERSION}"] == 1
    assert found["process_resident_memory_bytes"] > 0
    assert "somebody" not in fresh_panel.get("/metrics").text


def test_open_streams_are_counted_while_they_are_open(fresh_panel: Stand) -> None:
    run = fresh_panel.run().begin()
    until(lambda: scraped(fresh_panel)["kodosumi_feed_listening"] == 1)
    path = f"/outputs/stream/{run.fid}"
    with fresh_panel.stream(path) as one, fresh_panel.stream(path) as other:
        readers = [frames(one), frames(other)]  # a reader that is dropped closes its stream
        assert [next(reader).event for reader in readers] == ["status", "status"]
        found = scraped(fresh_panel)
        assert found["kodosumi_sse_clients"] == 2
        assert found["kodosumi_feed_subscribers"] == 2
        assert found["kodosumi_feed_topics"] == 1
    until(lambda: scraped(fresh_panel)["kodosumi_sse_clients"] == 0)
    until(lambda: scraped(fresh_panel)["kodosumi_feed_topics"] == 0)


def test_executions_are_not_counted_anew_for_every_scrape(fresh_panel: Stand) -> None:
    assert scraped(fresh_panel)["kodosumi_executions running"] == 0
    fresh_panel.run().begin()
    assert scraped(fresh_panel)["kodosumi_executions running"] == 0


def test_a_postgres_that_is_gone_is_a_number_and_soon(
    settings: Settings, database: str, start_panel: Callable[..., Stand]
) -> None:
    where = conninfo_to_dict(database)
    gate = Gate(str(where["host"]), int(str(where["port"])))
    through = make_conninfo(database, host="127.0.0.1", port=gate.port)
    stand = start_panel(settings.model_copy(update={"database_url": SecretStr(through)}))
    until(lambda: scraped(stand)["kodosumi_database_up"] == 1)
    gate.shut()
    began = time.monotonic()
    found = scraped(stand)
    assert time.monotonic() - began < 5
    assert found["kodosumi_database_up"] == 0
    assert found["kodosumi_executions running"] == 0
    gate.open()
    until(lambda: scraped(stand)["kodosumi_database_up"] == 1)
    gate.shut()


def service(stand: Stand, name: str, info: str, age: str = "0 s") -> None:
    execute(
        stand.database,
        "INSERT INTO kodosumi.service (kind, name, host, pid, version, info, seen_at) VALUES"
        f" ('observer', '{name}', 'here', 1, '1', '{info}', now() - interval '{age}')",
    )


def test_observers_and_runners_are_told_while_they_are_there(fresh_panel: Stand) -> None:
    assert fresh_panel.json("/health")["observer"]["status"] == "not seen"
    service(fresh_panel, "gone", '{"leader": true, "lag": 9}', "61 s")
    assert fresh_panel.json("/health")["observer"]["status"] == "not seen"
    assert fresh_panel.json("/health")["status"] == "ok"
    service(fresh_panel, "one", '{"leader": true, "lag": 0.25}')
    service(fresh_panel, "two", '{"leader": false}')
    execute(
        fresh_panel.database,
        "INSERT INTO kodosumi.runner (fid, attempt, state, lease_until) VALUES"
        " (gen_random_uuid(), 1, 'running', now() + interval '1 min'),"
        " (gen_random_uuid(), 1, 'starting', NULL),"
        " (gen_random_uuid(), 1, 'running', now() - interval '1 s')",
    )
    found = scraped(fresh_panel)
    assert found["kodosumi_observer_leader one"] == 1
    assert found["kodosumi_observer_leader two"] == 0
    assert "kodosumi_observer_leader gone" not in found
    assert found["kodosumi_observer_lag_seconds"] == 0.25
    states = ("starting", "running", "lapsed")
    assert [found[f"kodosumi_runners {state}"] for state in states] == [1, 1, 1]
    observer = fresh_panel.json("/health")["observer"]
    assert observer == {"status": "ok", "leader": "one", "lag": 0.25, "standing_by": 1}


def test_a_postgres_that_refuses_is_down(
    fresh_panel: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise psycopg.errors.InsufficientPrivilege("permission denied for table service")

    until(lambda: scraped(fresh_panel)["kodosumi_database_up"] == 1)
    monkeypatch.setattr(fresh_panel.app.state.panel.reader, "rows_of", refuse)
    until(lambda: scraped(fresh_panel)["kodosumi_database_up"] == 0)


def test_what_is_told_late_or_not_at_all_is_counted(
    fresh_panel: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "COUNT_EVERY", 0.0)
    url = fresh_panel.database
    run = fresh_panel.run().begin()
    execute(url, "UPDATE kodosumi.outbox_rules SET prefect_events = true")
    made = {"name": "Desk", "url": "https://example.org/hook", "kinds": ["execution.finished"]}
    hook = fresh_panel.client.post("/webhooks", json=made | {"everyone": True}).json()["id"]
    run.finish()
    execute(url, "UPDATE kodosumi.outbox SET occurred_at = now() - interval '90 s'")
    execute(
        url,
        "INSERT INTO kodosumi.webhook_delivery (outbox_id, webhook_id, state)"
        " SELECT id, gen_random_uuid(), 'waiting' FROM kodosumi.outbox",  # of one that is gone
    )
    waiting = outbox_numbers(fresh_panel)
    assert waiting == {"prefect": 1, "webhook": 1, "set aside": 0, "late": True}
    execute(url, "UPDATE kodosumi.webhook_delivery SET state = 'set_aside'")
    execute(url, "UPDATE kodosumi.outbox SET emitted_at = now()")
    aside = outbox_numbers(fresh_panel)
    assert aside == {"prefect": 0, "webhook": 0, "set aside": 1, "late": False}
    fresh_panel.client.post(f"/webhooks/{hook}/send-again")
    fresh_panel.client.put(f"/webhooks/{hook}", json={"active": False})
    assert outbox_numbers(fresh_panel)["webhook"] == 0  # it is paused


def outbox_numbers(panel: Stand) -> dict[str, float]:
    """What `/metrics` says of the outbox."""
    found = scraped(panel)
    oldest = [found[f"kodosumi_outbox_oldest_seconds {who}"] for who in ("prefect", "webhook")]
    return {
        "prefect": found["kodosumi_outbox_waiting prefect"],
        "webhook": found["kodosumi_outbox_waiting webhook"],
        "set aside": found["kodosumi_outbox_set_aside"],
        "late": min(oldest) >= 90,
    }
