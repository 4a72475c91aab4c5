"""What the release before made goes on working: database, spill file, tracers, orders, people.

``step4/`` was written by the code of 2026-11-28, commit d366d6c: ``database.sql`` by ``pg_dump
--inserts``, ``before.spool`` by its ``Spill``, ``facts.json`` by its own functions. ``writer.zip``
is its recording side, as flow images have it that are not upgraded yet.
"""

import base64
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.owner import Owner, verified
from kodosumi_prefect.runner.launched import launched
from kodosumi_prefect.runner.order import Order
from kodosumi_prefect.serve import deploying
from kodosumi_prefect.serve.payload import unpack as unpack_inputs
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.spooler import migrate, spill
from kodosumi_prefect.spooler.batch import unpack
from kodosumi_prefect.spooler.client import get_client
from kodosumi_prefect.spooler.embedded import EmbeddedPostgres
from kodosumi_prefect.spooler.replay import replay_orphans
from kodosumi_prefect.spooler.spooler import Spooler
from kodosumi_prefect.vocabulary import ENDPOINT_LABEL
from tests.panel.panel_runs import serving
from tests.services import Place
from tests.spooler.recording import payloads, row, stored

BEFORE = Path(__file__).with_name("step4")
FACTS: dict[str, Any] = json.loads((BEFORE / "facts.json").read_text())


@pytest.fixture(scope="module")
def upgraded(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The database of before, brought up to date."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_step4 TEMPLATE template0 ENCODING 'UTF8'")
    url = make_conninfo(postgres.url, dbname="of_step4")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_statements())
    assert migrate.current(url, "kodosumi") == FACTS["revision"] != migrate.newest()
    migrate.upgrade(url, "kodosumi")
    yield url
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE of_step4 WITH (FORCE)")


def _statements() -> str:
    """``database.sql`` without what only psql understands."""
    lines = (BEFORE / "database.sql").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("\\"))


@pytest.fixture
def settings_of_before(upgraded: str, tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(
        database_url=SecretStr(upgraded),
        data_dir=tmp_path,
        secret_key=SecretStr(FACTS["secret_key"]),
    )
    with use_settings(settings):
        yield settings


def test_executions_and_their_events_are_what_they_were(upgraded: str) -> None:
    execution = row(upgraded, FACTS["finished"])
    assert (execution["status"], execution["summary"]) == ("finished", "A report of before")
    assert [event["seq"] for event in stored(upgraded, FACTS["finished"])] == [1, 2, 3, 4, 5, 6]
    assert "a line of before" in payloads(upgraded, FACTS["finished"])


def test_a_spill_file_of_before_is_delivered_once(
    upgraded: str, settings_of_before: Settings
) -> None:
    folder = spill.folder(settings_of_before)
    folder.mkdir(parents=True)
    spooler = Spooler(upgraded, "kodosumi")
    try:
        for _ in range(2):
            shutil.copy(BEFORE / "before.spool", folder / "before.spool")
            replay_orphans(settings_of_before, spooler)
            assert not (folder / "before.spool").exists()
        # An older image, which was not upgraded, says its next.
        spooler.append(unpack(base64.b64decode(FACTS["delivery"])))
    finally:
        spooler.close()
    lines = [text for text in payloads(upgraded, FACTS["waiting"]) if not text.startswith("{")]
    assert lines[-3:] == ["kept on disk 2", "kept on disk 3", "an older image"]
    assert lines.count("running") == 1


def test_a_tracer_pickled_before_goes_on_recording(
    upgraded: str, settings_of_before: Settings
) -> None:
    tracer = pickle.loads(base64.b64decode(FACTS["tracer"]))
    assert tracer.fid == FACTS["waiting"]
    tracer.debug("said by a tracer of before")
    assert get_client(settings_of_before).flush(30)
    assert "said by a tracer of before" in payloads(upgraded, FACTS["waiting"])


def test_orders_parameters_and_labels_of_before_are_read(settings_of_before: Settings) -> None:
    order = pickle.loads(base64.b64decode(FACTS["order"]))
    assert isinstance(order, Order)
    assert order.environment == {"A": "1"}
    Settings.model_validate(order.carried)
    owner = verified({"kodosumi.owner": FACTS["owner_label"]}, "launch-1", settings_of_before)
    assert owner == Owner(FACTS["role"], "operator")
    deployment = FACTS["deployment"]
    assert (deployment["entrypoint"], deployment["label"]) == (
        deploying.ENTRYPOINT,
        ENDPOINT_LABEL,
    )
    run = launched(deployment["parameters"])
    assert run is not None
    inputs = unpack_inputs(run.inputs, FACTS["payload"], None)
    assert inputs == {"days": 7, "password": "hunter2 of before"}


def test_people_keys_and_sessions_of_before_get_in(settings_of_before: Settings) -> None:
    ways = (
        {"KODOSUMI_API_KEY": FACTS["api_key"]},
        {"KODOSUMI_API_KEY": FACTS["session"]},
        {"Cookie": f"kodosumi_jwt={FACTS['session']}"},
    )
    with serving(settings_of_before) as stand, httpx.Client(base_url=stand.url) as client:
        for headers in ways:
            answer = client.get(f"/outputs/status/{FACTS['finished']}", headers=headers)
            assert answer.status_code == 200, (headers, answer.text)
        signing_in = {"name": "operator", "password": FACTS["password"]}
        assert client.post("/login", data=signing_in).status_code == 200
        waiting = client.get("/locks").json()["items"]
        assert [(lock["fid"], lock["lid"]) for lock in waiting] == [
            (FACTS["waiting"], FACTS["lock"])
        ]
        place = f"/lock/{FACTS['waiting']}/{FACTS['lock']}"
        assert client.post(place, data={}).json()["result"] == {}


def test_a_flow_image_that_is_not_upgraded_records_as_before(
    upgraded: str, place: Place, tmp_path: Path
) -> None:
    with ZipFile(BEFORE / "writer.zip") as packed:
        packed.extractall(tmp_path / "older")
    environment = place.environment(
        PYTHONPATH=str(tmp_path / "older"),
        PREFECT_INTEGRATIONS_KODOSUMI_DATABASE_URL=upgraded,
        PREFECT_INTEGRATIONS_KODOSUMI_DATA_DIR=str(tmp_path),
    )
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("older_image.py"))],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    fid, where = done.stdout.splitlines()[-1].split(maxsplit=1)
    assert Path(where).is_relative_to(tmp_path / "older")
    assert row(upgraded, fid)["status"] == "finished"
    lines = payloads(upgraded, fid)
    assert "said by an older image" in lines
    assert [event["seq"] for event in stored(upgraded, fid)] == list(range(1, len(lines) + 1))
