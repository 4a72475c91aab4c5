"""What releases before made goes on working: database, spill file, tracers, orders, people.

``step4/`` was written by the code of 2026-11-28, commit d366d6c, ``step5/`` to ``step7/`` by that
of 2026-11-29, commits ef81e05, 2f3d32d and c51eb46, ``step8/`` and ``step11/`` by that of
2026-11-30, commits 0b9eb54 and 1063b1c: ``database.sql`` by ``pg_dump --inserts``,
``before.spool`` by its ``Spill``, ``facts.json`` by its own functions. ``writer.zip`` is its
recording side, as flow images have it that are not upgraded yet. ``leave_release.py`` made those
of ``step11/``.
"""

import asyncio
import base64
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID, uuid4
from zipfile import ZipFile

import httpx
import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flow_engine import run_flow
from prefect.settings import temporary_settings
from prefect.states import Pending, Running
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook as Verifier

from kodosumi_prefect.adapter.launched import launched
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.database import migrate
from kodosumi_prefect.keys import panel_keys
from kodosumi_prefect.launch import deploying
from kodosumi_prefect.launch.inputs import LARGEST, pack_inputs, unpack_inputs
from kodosumi_prefect.observer.delivering import Delivering
from kodosumi_prefect.observer.outbox_bell import OutboxBell
from kodosumi_prefect.outbox.webhooks import Webhooks
from kodosumi_prefect.owner import Owner, verified
from kodosumi_prefect.runner.order import Order
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import unpack
from kodosumi_prefect.spooler.client import get_client as get_spool_client
from kodosumi_prefect.spooler.replay import replay_orphans
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.suspension import awaiting
from kodosumi_prefect.suspension.leg import leg_of
from kodosumi_prefect.vocabulary import ENDPOINT_LABEL
from tests import prefect_database
from tests.outbox.receivers import receiving
from tests.outbox.receivers import until as waiting_until
from tests.panel.panel_runs import serving, until
from tests.services import Place, in_force, record_prefect
from tests.spooler.recording import payloads, row, stored
from tests.upgrade.suspended_flow import calls, contract


class Before(NamedTuple):
    """What a release left.

    Attributes:
        folder: its files.
        facts: what its ``facts.json`` tells.
    """

    folder: Path
    facts: dict[str, Any]


@pytest.fixture(scope="module", params=["step4", "step5", "step6", "step7", "step8", "step11"])
def before(request: pytest.FixtureRequest) -> Before:
    folder = Path(__file__).with_name(request.param)
    return Before(folder, json.loads((folder / "facts.json").read_text()))


@pytest.fixture(scope="module")
def upgraded(postgres: EmbeddedPostgres, before: Before) -> Iterator[str]:
    """The database of before, brought up to date."""
    name = f"of_{before.folder.name}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    url = make_conninfo(postgres.url, dbname=name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_statements(before.folder))
    assert migrate.current(url, "kodosumi") == before.facts["revision"]
    assert migrate.upgrade(url, "kodosumi") == migrate.newest()
    yield url
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _statements(folder: Path) -> str:
    """``database.sql`` without what only psql understands."""
    lines = (folder / "database.sql").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("\\"))


@pytest.fixture
def settings_of_before(before: Before, upgraded: str, tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(
        database_url=SecretStr(upgraded),
        data_dir=tmp_path,
        secret_key=SecretStr(before.facts["secret_key"]),
    )
    with use_settings(settings):
        yield settings


def test_executions_and_their_events_are_what_they_were(before: Before, upgraded: str) -> None:
    execution = row(upgraded, before.facts["finished"])
    assert (execution["status"], execution["summary"]) == ("finished", "A report of before")
    assert [event["seq"] for event in stored(upgraded, before.facts["finished"])] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    assert "a line of before" in payloads(upgraded, before.facts["finished"])


def test_a_spill_file_of_before_is_delivered_once(
    before: Before, upgraded: str, settings_of_before: Settings
) -> None:
    folder = spill.folder(settings_of_before)
    folder.mkdir(parents=True)
    spooler = Spooler(upgraded, "kodosumi")
    try:
        for _ in range(2):
            shutil.copy(before.folder / "before.spool", folder / "before.spool")
            replay_orphans(settings_of_before, spooler)
            assert not (folder / "before.spool").exists()
        # An older image, which was not upgraded, says its next.
        spooler.append(unpack(base64.b64decode(before.facts["delivery"])))
    finally:
        spooler.close()
    lines = [
        text for text in payloads(upgraded, before.facts["waiting"]) if not text.startswith("{")
    ]
    assert lines[-3:] == ["kept on disk 2", "kept on disk 3", "an older image"]
    assert lines.count("running") == 1


def test_a_tracer_pickled_before_goes_on_recording(
    before: Before, upgraded: str, settings_of_before: Settings
) -> None:
    tracer = pickle.loads(base64.b64decode(before.facts["tracer"]))
    assert tracer.fid == before.facts["waiting"]
    tracer.debug("said by a tracer of before")
    assert get_spool_client(settings_of_before).flush(30)
    assert "said by a tracer of before" in payloads(upgraded, before.facts["waiting"])


def test_orders_parameters_and_labels_of_before_are_read(
    before: Before, settings_of_before: Settings
) -> None:
    order = pickle.loads(base64.b64decode(before.facts["order"]))
    assert isinstance(order, Order)
    assert order.environment == {"A": "1"}
    Settings.model_validate(order.carried)
    owner = verified(
        {"kodosumi.owner": before.facts["owner_label"]}, "launch-1", settings_of_before
    )
    assert owner == Owner(before.facts["role"], "operator")
    deployment = before.facts["deployment"]
    assert (deployment["entrypoint"], deployment["label"]) == (
        deploying.ENTRYPOINT,
        ENDPOINT_LABEL,
    )
    run = launched(deployment["parameters"])
    assert run is not None
    assert run.launch.payload == before.facts["payload"]
    inputs = unpack_inputs(run.inputs, run.launch, None)
    assert inputs == {"days": 7, "password": "hunter2 of before"}


def test_locks_that_writers_of_before_open_and_end_are_told_as_changes(
    before: Before, upgraded: str
) -> None:
    changed = "SELECT changed, pg_current_xact_id()::text::bigint FROM kodosumi.lock WHERE lid = %s"
    with psycopg.connect(upgraded) as connection:
        [(known, now)] = connection.execute(changed, [before.facts["lock"]]).fetchall()
        assert 0 < known < now
        connection.execute(
            "INSERT INTO kodosumi.lock (execution_id, lid, name, attempt, opened_at, expires_at) "
            "SELECT execution_id, 'another', name, attempt, opened_at, expires_at "
            "FROM kodosumi.lock WHERE lid = %s",
            [before.facts["lock"]],
        )
        connection.execute("UPDATE kodosumi.lock SET state = 'void' WHERE state = 'open'")
        for lid in (before.facts["lock"], "another"):
            assert connection.execute(changed, [lid]).fetchall() == [(now, now)]
        connection.rollback()


def test_people_keys_and_sessions_of_before_get_in(
    before: Before, settings_of_before: Settings
) -> None:
    ways = (
        {"KODOSUMI_API_KEY": before.facts["api_key"]},
        {"KODOSUMI_API_KEY": before.facts["session"]},
        {"Cookie": "; ".join("=".join(cookie) for cookie in before.facts["cookie"].items())},
    )
    with serving(settings_of_before) as stand, httpx.Client(base_url=stand.url) as client:
        for headers in ways:
            answer = client.get(f"/outputs/status/{before.facts['finished']}", headers=headers)
            assert answer.status_code == 200, (headers, answer.text)
        signing_in = {"name": "operator", "password": before.facts["password"]}
        assert client.post("/login", data=signing_in).status_code == 200
        open_locks = [(lock["fid"], lock["lid"]) for lock in client.get("/locks").json()["items"]]
        waiting = (before.facts["waiting"], before.facts["lock"])
        suspended = before.facts.get("suspended")
        others = [(suspended["fid"], suspended["lock"])] if suspended else []
        assert open_locks == [*others, waiting]
        place = f"/lock/{before.facts['waiting']}/{before.facts['lock']}"
        assert client.post(place, data={}).json()["result"] == {}


def older_image(
    before: Before, database: str, place: Place, folder: Path, **more: str
) -> list[str]:
    """The lines that the flow of an image of before prints."""
    with ZipFile(before.folder / "writer.zip") as packed:
        packed.extractall(folder / "older")
    environment = place.environment(
        PYTHONPATH=os.pathsep.join([str(folder / "older"), str(Path(__file__).parent)]),
        PREFECT_INTEGRATIONS_KODOSUMI_DATABASE_URL=database,
        PREFECT_INTEGRATIONS_KODOSUMI_DATA_DIR=str(folder),
        PREFECT_INTEGRATIONS_KODOSUMI_SECRET_KEY=before.facts["secret_key"],
        **more,
    )
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("older_image.py"))],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_flow_image_that_is_not_upgraded_records_as_before(
    before: Before,
    upgraded: str,
    settings_of_before: Settings,
    place: Place,
    tmp_path: Path,
) -> None:
    values = {"days": 7, "due": date(2026, 1, 2), "sizes": (1, 2), "text": "x" * LARGEST}
    packed = pack_inputs(values, [], [], settings_of_before)
    assert packed.row is not None
    spooler = Spooler(upgraded, "kodosumi")
    [(payload,)] = spooler.query("store_payload", packed.row)
    spooler.close()
    parameters = {
        "entry_point": "older_image:given",
        "inputs": packed.parameters,
        "launch": {"flow": "report", "payload": payload, **packed.launch},
    }
    first, *_, last = older_image(
        before, upgraded, place, tmp_path, LAUNCHED=json.dumps(parameters)
    )
    # The types are ours: to an older image they are the JSON that they always were.
    assert json.loads(first) == values | {"due": "2026-01-02", "sizes": [1, 2]}
    fid, where = last.split(maxsplit=1)
    assert Path(where).is_relative_to(tmp_path / "older")
    assert row(upgraded, fid)["status"] == "finished"
    lines = payloads(upgraded, fid)
    assert "said by an older image" in lines
    assert [event["seq"] for event in stored(upgraded, fid)] == list(range(1, len(lines) + 1))


SUSPENDED = pytest.mark.parametrize("before", ["step11"], indirect=True)


@pytest.fixture
def prefect_of_before(
    before: Before, settings_of_before: Settings, prefect_server: str, prefect_data: Path
) -> Iterator[None]:
    """A Prefect server that holds the run of before for suspended after two legs."""
    record_prefect(settings_of_before, prefect_server)
    with temporary_settings(in_force(prefect_server)), get_client(sync_client=True) as client:
        pool = f"pool-{uuid4().hex[:8]}"
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        flow = client.create_flow(contract)
        deployment = client.create_deployment(flow, name=uuid4().hex, work_pool_name=pool)
        parameters = {"topic": "ships"}
        made = client.create_flow_run_from_deployment(deployment, parameters=parameters).id
        fid = UUID(before.facts["suspended"]["fid"])
        prefect_database.rename_run(prefect_data, str(made), str(fid))
        for leg in range(2):
            client.set_flow_run_state(fid, Pending())
            client.set_flow_run_state(fid, Running())
            asked = awaiting.suspended(client.read_flow_run(fid), "What?", 2e9)
            client.set_flow_run_state(fid, asked)
            run = client.read_flow_run(fid)
            assert awaiting.is_suspended(run.state)
            assert leg_of(run) == leg + 1
            if leg == 0:
                client.resume_flow_run(fid)
        yield
        client.delete_flow_run(fid)
        client.delete_work_pool(pool)


@SUSPENDED
def test_a_run_that_was_suspended_is_answered_and_goes_on(
    before: Before,
    upgraded: str,
    settings_of_before: Settings,
    prefect_of_before: None,
) -> None:
    asked = before.facts["suspended"]
    place = f"/lock/{asked['fid']}/{asked['lock']}"
    calls.clear()
    with serving(settings_of_before) as stand:
        ended, kept = (urlsplit(asked[name]).path for name in ("ended_link", "link"))
        assert stand.get(ended).status_code != 200
        assert stand.get(kept).status_code == 200
        assert [step["step"] for step in stand.json(f"{place}/steps")["steps"]] == ["delegated"]
        sessions = stand.app.state.panel.identification.sessions
        with stand.connect(sessions.begin(asked["account"], 0)) as ann:
            assert [lock["lid"] for lock in ann.get("/locks").json()["items"]] == [asked["lock"]]
            answer = ann.post(place, json={"approved": "on", "comment": "well done"})
            assert answer.status_code == 200, answer.text
        until(lambda: row(upgraded, asked["fid"])["suspended_leg"] is None)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(asked["fid"]), Pending())
        run = client.read_flow_run(asked["fid"])
    assert run_flow(contract, flow_run=run) == "a draft about ships, sesame of before: well done"
    execution = row(upgraded, asked["fid"])
    assert (execution["status"], execution["attempt"]) == ("finished", 1)
    assert calls == []
    lines = payloads(upgraded, asked["fid"])
    assert [event["seq"] for event in stored(upgraded, asked["fid"])] == [*range(1, len(lines) + 1)]


@SUSPENDED
async def test_webhooks_get_once_what_waited_for_them(
    before: Before, upgraded: str, settings_of_before: Settings
) -> None:
    used = settings_of_before.model_copy(update={"webhook_networks": ["127.0.0.0/8"]})
    with receiving() as receiver:
        async with Reader(upgraded, "kodosumi", 3) as reader:
            webhooks = Webhooks(reader, panel_keys(used).webhooks)
            await webhooks.change(before.facts["webhook"]["id"], url=receiver.url)
            bell = OutboxBell(used)
            tasks = [
                asyncio.create_task(part.run()) for part in (bell, Delivering(used, reader, bell))
            ]
            untold = {f"msg_{UUID(uid).hex}" for uid in before.facts["untold"]}
            await waiting_until(lambda: untold <= {got.id for got in receiver.got})
            await cancel_all(tasks)
    told = [got.id for got in receiver.got]
    assert len(told) == len({*told})
    verifier = Verifier(before.facts["webhook"]["secret"])
    for got in receiver.got:
        verifier.verify(got.body, got.headers)
