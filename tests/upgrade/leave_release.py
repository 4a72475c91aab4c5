"""Leaves what a release leaves: run it with that release's own code, from its own checkout.

``LEFT_IN=tests/upgrade/stepN python -m pytest tests/upgrade/leave_release.py`` writes
``database.sql``, ``before.spool``, ``facts.json`` and ``writer.zip``; the release after that is
tested with them by ``test_upgrade.py``.
"""

import base64
import json
import os
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4
from zipfile import ZIP_DEFLATED, ZipFile

import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import temporary_settings
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

import kodosumi_prefect
from kodosumi_prefect import forms
from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.adapter.launched import LaunchParameter
from kodosumi_prefect.carried import carried
from kodosumi_prefect.database import migrate
from kodosumi_prefect.events import Event, State, serialize
from kodosumi_prefect.launch import deploying
from kodosumi_prefect.launch.endpoint import Endpoint
from kodosumi_prefect.launch.inputs import pack_inputs
from kodosumi_prefect.owner import Owner, signed
from kodosumi_prefect.process.order import Order
from kodosumi_prefect.scope import Scope
from kodosumi_prefect.serve import Launch, ServeAPI
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch, pack
from kodosumi_prefect.spooler.client import get_client as get_spool_client
from kodosumi_prefect.spooler.spill import Spill
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stack.postgres_programs import environment, installation
from kodosumi_prefect.tracer import Tracer
from kodosumi_prefect.vocabulary import ENDPOINT_LABEL
from tests.http_services import served_app
from tests.panel.panel_runs import Person, Stand, serving
from tests.services import Place, in_force, record_prefect
from tests.suspension.conftest import Legs
from tests.upgrade.suspended_flow import YEARS, contract
from tests.waiting import wait_for

PASSWORD = "a password of before"
FINISHED, WAITING, ANSWERED = (f"00000000-0000-4000-8000-{n:012}" for n in (1, 2, 3))
WRITER, SCHEDULE, DEPLOYMENT, LOCK = (
    f"00000000-0000-4000-8000-{n:012x}" for n in (0xAA, 0xBB, 0xCC, 0xDD)
)
BEGIN = 1_790_000_000.0  # epoch seconds
# Folders that an image of a flow can do without.
NO_RECORDING = ("cli", "client", "panel", "stack", "starter", "database/migrations")

Left = dict[str, Any]


@pytest.fixture
def place(postgres: EmbeddedPostgres, prefect_server: str, tmp_path: Path) -> Iterator[Place]:
    """A database and a data dir of their own."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE before TEMPLATE template0 ENCODING 'UTF8'")
    url = make_conninfo(postgres.url, dbname="before")
    migrate.upgrade(url, "kodosumi")
    settings = Settings(
        database_url=SecretStr(url),
        data_dir=tmp_path,
        secret_key=SecretStr("the secret key of a release before, for tests only"),
        panel_url="https://panel.example.org",
        session_hours=87_600.0,
    )
    record_prefect(settings, prefect_server)
    settings_module.reset_settings(settings)
    with use_settings(settings), temporary_settings(in_force(prefect_server)):
        yield Place(settings, url, prefect_server)
    settings_module.reset_settings()


@pytest.mark.timeout(300)
def test_leave(place: Place) -> None:
    folder = Path(os.environ["LEFT_IN"])
    folder.mkdir(exist_ok=True)
    settings = place.settings
    left: Left = {"release": kodosumi_prefect.__version__, "revision": migrate.newest()}
    assert settings.secret_key is not None
    left["secret_key"] = settings.secret_key.get_secret_value()
    with serving(settings) as stand:
        people = accounts(stand, left)
        organised(stand, left)
        recorded(place, left)
        launched(place, left)
        told(stand, left)
        priced(place)
        suspended(place, stand, people, left)
    carried_along(place, left)
    spilled(folder / "before.spool", left)
    (folder / "facts.json").write_text(json.dumps(left, indent=2) + "\n")
    dump(place.database, folder / "database.sql")
    pack_writer(folder / "writer.zip")


def ok(answer: Any) -> Any:
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content[:1] in (b"{", b"[") else None


def accounts(stand: Stand, left: Left) -> dict[str, Person]:
    """The operator, as facts tell of them, and people beside."""
    role = ok(
        stand.client.post(
            "/role",
            json={"name": "operator", "email": None, "password": PASSWORD, "operator": True},
        )
    )
    with stand.connect() as client:
        entered = client.post("/login", data={"name": "operator", "password": PASSWORD})
        cookie = {name: value for name, value in entered.cookies.items() if "jwt" in name}
        session = ok(entered)["KODOSUMI_API_KEY"]
    with stand.connect(session) as client:
        key = ok(client.post("/keys", json={"name": "nightly"}))["key"]
    left |= {"role": role["id"], "api_key": key, "session": session, "cookie": cookie}
    left["password"] = PASSWORD
    return {name: stand.person(name) for name in ("mira", "ann")}


def organised(stand: Stand, left: Left) -> None:
    """Teams, webhooks, budgets and a service."""
    for name, members in {"legal": ["mira"], "lead": ["operator"]}.items():
        ok(stand.client.post("/team", json={"name": name, "members": members}))
    made = ok(
        stand.client.post(
            "/webhooks",
            json={
                "name": "everything",
                "url": "https://example.org/hook",
                "kinds": ["lock.opened", "lock.answered", "execution.finished"],
                "everyone": True,
                "with_data": True,
            },
        )
    )
    left["webhook"] = {"id": made["id"], "secret": made["secret"]}
    for per, dollars in {"run": 5, "all": 100}.items():
        ok(stand.client.post("/budgets", data={"per": per, "dollars": dollars}))
    app = ServeAPI(title="reports")

    @app.enter("/", forms.Model(forms.InputNumber("days")), summary="A report of before")
    def reports(inputs: dict[str, Any]) -> Launch:
        raise NotImplementedError

    with served_app(app) as url:
        left["service"] = ok(
            stand.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
        )


def state(number: int, type_: str, name: str, ts: float) -> State:
    return State(f"00000000-0000-4000-8000-{number:012}", type_, name, "", ts)


def said(ts: float, kind: str, payload: str, of: State | None = None, attempt: int = 1) -> Event:
    dedupe = f"state:{of.id}" if of is not None else None
    return Event(ts, kind, payload, attempt if of or kind == "lock" else 0, state=of, dedupe=dedupe)


def batch(fid: str, number: int, events: list[Event], left: Left) -> Batch:
    header = {
        "owner": left["role"],
        "flow_name": "report",
        "deployment_id": DEPLOYMENT,
        "summary": "A report of before",
        "tags": ["nightly"],
        "app_url": "http://127.0.0.1:8001",
        "entry_point": "reports:report",
    }
    return Batch(fid, WRITER, number, header, events, True)


def opened(ts: float) -> Event:
    elements = [{"type": "submit", "text": "Approve"}]
    fields = {"name": "approve", "lid": LOCK, "data": {"draft": 1}, "expires": BEGIN + YEARS}
    return said(ts, "lock", serialize(fields | {"elements": elements}))


def recorded(place: Place, left: Left) -> None:
    """An execution that is over, and one that waits for people in its process."""
    at = BEGIN
    first = [
        said(at, "status", "starting", state(1, "PENDING", "Pending", at)),
        said(at, "inputs", serialize({"days": 7})),
        said(at + 1, "status", "running", state(2, "RUNNING", "Running", at + 1)),
        said(at + 2, "stdout", "a line of before"),
        said(at + 3, "final", serialize("all is well")),
        said(at + 4, "status", "finished", state(3, "COMPLETED", "Completed", at + 4)),
    ]
    second = [
        said(at + 10, "status", "starting", state(4, "PENDING", "Pending", at + 10)),
        said(at + 11, "status", "running", state(5, "RUNNING", "Running", at + 11)),
        opened(at + 12),
    ]
    left["spilled"] = [batch(WAITING, 1, second, left)]
    for number in (2, 3):
        line = said(at + 12 + number, "stdout", f"kept on disk {number}")
        left["spilled"].append(batch(WAITING, number, [line], left))
    spooler = Spooler(place.database, "kodosumi")
    spooler.append([batch(FINISHED, 1, first, left)])
    spooler.append([left["spilled"][0]])
    spooler.close()
    late = [batch(WAITING, 4, [said(at + 20, "stdout", "an older image")], left)]
    left["delivery"] = base64.b64encode(pack(late)).decode()
    left |= {"finished": FINISHED, "waiting": WAITING, "writer": WRITER, "lock": LOCK}


def launched(place: Place, left: Left) -> None:
    """Inputs with a secret, for a schedule, and the deployment that it is of."""
    settings = place.settings
    inputs = {"days": 7, "password": "hunter2 of before"}
    packed = pack_inputs(inputs, ["password"], ["hunter2 of before"], settings, for_schedule=True)
    assert packed.row is not None
    spooler = Spooler(place.database, "kodosumi")
    [(payload,)] = spooler.query("store_payload", packed.row)
    planned = deploying.plan(
        Endpoint("reports", "/", summary="A report"), "reports:report", [], settings
    )
    launch = {**planned.parameters["launch"], "payload": payload, "scheduled": True}
    parameters = {"entry_point": "reports:report", "inputs": packed.parameters, "launch": launch}
    LaunchParameter.model_validate(launch)
    spooler.query(
        "note_schedule",
        {
            "id": SCHEDULE,
            "deployment_id": DEPLOYMENT,
            "endpoint_uid": planned.uid,
            "owner": left["role"],
            "summary": "A report of before",
            "parameters": json.dumps(parameters),
            "payload_id": payload,
        },
    )
    spooler.close()
    left["deployment"] = {
        "entrypoint": deploying.ENTRYPOINT,
        "name": planned.name,
        "parameters": parameters,
        "label": ENDPOINT_LABEL,
    }
    owner = Owner(left["role"], "operator")
    left |= {
        "payload": payload,
        "schedule": SCHEDULE,
        "owner_label": signed(owner, "launch-1", settings),
    }


def priced(place: Place) -> None:
    """What the model of the suspended run costs."""
    rates = [{"above": 0, "input": 2, "output": 8, "cached": None, "written": None}]
    model = {"provider": "before", "model": "model-of-before", "source": "tests"}
    spooler = Spooler(place.database, "kodosumi")
    spooler.query("put_model_price", model | {"rates": json.dumps(rates)})
    spooler.close()


def suspended(place: Place, stand: Stand, people: dict[str, Person], left: Left) -> None:
    """A run that was suspended, answered with a secret, resumed, and suspended again."""
    pool = f"pool-{uuid4().hex[:8]}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    run = Legs(place, contract, pool, topic="ships")
    assert run.leg()
    [lock] = open_locks(place, run.fid)
    ok(stand.client.post(f"/lock/{run.fid}/{lock}", json={"secret": "sesame of before"}))
    wait_for(lambda: run.row["suspended_leg"] is None, 10, "the run is resumed")
    assert run.leg()
    [lock] = open_locks(place, run.fid)
    where = f"/lock/{run.fid}/{lock}"
    link = ok(stand.client.post(f"{where}/links", json={"recipient": "Jane of Legal"}))
    ok(people["mira"].client.post(f"{where}/delegate", json={"to": "ann"}))
    kept = ok(stand.client.post(f"{where}/links", json={"recipient": "Joan of Legal"}))
    left["suspended"] = {
        "fid": run.fid,
        "lock": lock,
        "account": people["ann"].id,
        "ended_link": link["url"],
        "link": kept["url"],
    }
    with psycopg.connect(place.database) as connection:
        row = connection.execute(
            "SELECT suspended_leg, process FROM kodosumi.execution WHERE fid = %s", [run.fid]
        ).fetchone()
        assert row is not None and row[0] == 1, row
        left["untold"] = [
            str(uid)
            for (uid,) in connection.execute(
                "SELECT o.uid FROM kodosumi.webhook_delivery d"
                " JOIN kodosumi.outbox o ON o.id = d.outbox_id"
                " WHERE d.state = 'waiting' ORDER BY d.id"
            )
        ]


def told(stand: Stand, left: Left) -> None:
    """A question that was answered, of a run that is over."""
    run = stand.run(owner=left["role"], summary="An answered one of before").begin(days=1)
    fields = {"name": "rate", "lid": str(uuid4()), "data": None, "expires": BEGIN + YEARS}
    run.say("lock", serialize(fields | {"elements": [{"type": "text", "name": "stars"}]}))
    ok(stand.client.post(f"/lock/{run.fid}/{fields['lid']}", json={"stars": "5"}))
    run.finish()
    left["answered"] = run.fid


def open_locks(place: Place, fid: str) -> list[str]:
    with psycopg.connect(place.database) as connection:
        rows = connection.execute(
            "SELECT l.lid FROM kodosumi.lock l JOIN kodosumi.execution e ON e.id = l.execution_id"
            " WHERE e.fid = %s AND l.state = 'open'",
            [fid],
        ).fetchall()
    return [lid for (lid,) in rows]


def carried_along(place: Place, left: Left) -> None:
    """What processes of that release have with them."""
    with psycopg.connect(place.database) as connection:
        row = connection.execute("SELECT id::text FROM kodosumi.instance").fetchone()
    assert row is not None
    left["instance"] = row[0]
    tracer = Tracer(Scope(WAITING, 1))
    left["tracer"] = base64.b64encode(pickle.dumps(tracer)).decode()
    order = Order(FINISHED, {"A": "1"}, carried(place.settings), instance=left["instance"])
    left["order"] = base64.b64encode(pickle.dumps(order)).decode()
    get_spool_client(place.settings).close()


def spilled(path: Path, left: Left) -> None:
    spill = Spill(path)
    for one in left.pop("spilled"):
        spill.append([one])
    spill.abandon()


def dump(url: str, path: Path) -> None:
    """The schema with what is in it, without owners and comments."""
    parts = conninfo_to_dict(url)
    more = {"PGPASSWORD": str(parts["password"])}
    done = subprocess.run(
        [
            *(
                str(installation() / "pginstall18" / "bin" / "pg_dump"),
                "--inserts",
                "--no-owner",
                "--no-comments",
            ),
            *("--no-privileges", "--schema=kodosumi"),
            *("-h", str(parts["host"]), "-p", str(parts["port"]), "-U", str(parts["user"])),
            str(parts["dbname"]),
        ],
        env={**environment(), **more},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("--")]
    path.write_text("\n".join(lines) + "\n")


def pack_writer(path: Path) -> None:
    """The package without what no flow's image needs."""
    package = Path(kodosumi_prefect.__file__).parent
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=9) as packed:
        for file in sorted(package.rglob("*")):
            inside = file.relative_to(package)
            if any(inside.is_relative_to(folder) for folder in NO_RECORDING):
                continue
            if file.suffix in (".py", ".sql"):
                packed.write(file, Path(package.name, *inside.parts))
