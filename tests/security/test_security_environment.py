"""Secrets of ours are in no process of `up` that does not need them; what users export is."""

import json
import sys
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from kodosumi_prefect.runner.job import KodosumiRayJobConfiguration
from kodosumi_prefect.secret_variables import SECRETS, without_secret_variables
from kodosumi_prefect.settings import PREFIX, Settings
from kodosumi_prefect.stack import Child, Stack
from kodosumi_prefect.stack.prefect_server import plan_server, server_child
from kodosumi_prefect.stack.ray_head import plan_ray, ray_child
from tests.e2e.running import EXPORTED, PASSWORD, Up
from tests.prefect_http import ask_prefect
from tests.services import served
from tests.waiting import wait_for

AUTH = "PREFECT_API_AUTH_STRING"
SERVER_AUTH = "PREFECT_SERVER_API_AUTH_STRING"


def environments(up: Up) -> dict[str, list[dict[str, str]]]:
    """What the processes of a stack were started with, by what they are."""
    records = json.loads((up.data_dir / "run" / "children.json").read_text())["records"]
    names = {record["pid"]: record["name"] for record in records}
    found: dict[str, list[dict[str, str]]] = {}
    for child in psutil.Process(up.process.pid).children():
        name = names.get(child.pid, "keeper")
        for process in (child, *child.children(recursive=True)):
            try:
                found.setdefault(name, []).append(process.environ())
            except psutil.NoSuchProcess:  # Ray's helpers come and go
                continue
    return found


def test_no_process_of_the_stack_has_a_secret_that_it_does_not_need(up: Up) -> None:
    found = environments(up)
    assert set(found) >= {"postgres", "prefect", "ray", "worker", "keeper"}
    assert len(found["ray"]) > 4
    auth = up.environment[AUTH]
    may_have = {
        "prefect": {SERVER_AUTH, "PREFECT_SERVER_DATABASE_CONNECTION_URL"},
        "worker": {AUTH, f"{PREFIX}RUN_KEY"},
    }
    for name, members in found.items():
        for environment in members:
            have = {one for one in environment if one.upper() in SECRETS | {AUTH}}
            assert have <= may_have.get(name, set()), name
            values = "\n".join(environment.values())
            assert PASSWORD not in values
            assert EXPORTED[f"{PREFIX}SECRET_KEY"] not in values
            assert EXPORTED["PREFECT_API_DATABASE_CONNECTION_URL"] not in values
            assert EXPORTED[AUTH] not in values
            assert name in ("prefect", "worker") or auth not in values
    assert found["worker"][0][AUTH] == auth
    for name in ("ray", "worker"):
        # Not in all: a process that names itself writes over what it was started with.
        keys = {environment.get("OPENAI_API_KEY") for environment in found[name]}
        assert EXPORTED["OPENAI_API_KEY"] in keys


def test_a_flow_finds_what_its_user_exported_and_of_our_secrets_only_how_to_ask_prefect(
    up: Up, tmp_path: Path
) -> None:
    fid = up.run("environments/test", path=str(tmp_path / "found"))
    up.until(fid, "finished", 120)
    found = json.loads((tmp_path / "found").read_text())
    assert set(found) == {"flow", "task", "native", "asked"}
    for name in ("flow", "task", "native"):
        assert {one for one in found[name] if one.upper() in SECRETS} == set()
        assert PASSWORD not in json.dumps(found[name])
        assert found[name]["OPENAI_API_KEY"] == EXPORTED["OPENAI_API_KEY"]
    assert found["flow"][AUTH] == up.environment[AUTH]
    assert AUTH not in found["native"]
    assert found["asked"] == {"flow": fid, "task": fid}

    def states() -> list[str]:
        """Of the task runs, which their processes tell Prefect over its websocket."""
        answer = ask_prefect(
            "POST",
            f"{up.environment['PREFECT_API_URL']}/task_runs/filter",
            auth=up.prefect_auth,
            json={"flow_runs": {"id": {"any_": [fid]}}},
        )
        return [run["state_type"] for run in answer.raise_for_status().json()]

    wait_for(lambda: states() == ["COMPLETED"], 30, f"the end of the task run, now {states()}")


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """All our secrets in this process's environment, and one of a user's."""
    for name in SECRETS:
        monkeypatch.setenv(name, f"secret of {name}")
    monkeypatch.setenv(f"{PREFIX}admin_password", "by another case")
    monkeypatch.setenv("OPENAI_API_KEY", "of the user")


@pytest.mark.usefixtures("exported")
def test_a_child_inherits_all_but_our_secrets(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    child = Child(
        "telling", [sys.executable, "-c", script, str(told)], {f"{PREFIX}RUN_KEY": "given"}
    )
    with served(child, tmp_path) as running:
        wait_for(lambda: running.exit_code is not None, 60)
    environment = json.loads(told.read_text())
    assert {name for name in environment if name.upper() in SECRETS} == {f"{PREFIX}RUN_KEY"}
    assert environment[f"{PREFIX}RUN_KEY"] == "given"
    assert environment["OPENAI_API_KEY"] == "of the user"


def test_every_secret_setting_is_known_by_its_variable() -> None:
    ours = {
        f"{PREFIX}{name.upper()}"
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    assert len(ours) >= 5 and ours <= SECRETS
    names = ["PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_DATABASE_CONNECTION_URL"]
    names += ["PREFECT_SERVER_DATABASE_PASSWORD", "PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert set(names) <= SECRETS
    kept = {"PREFECT_API_KEY": "a", "PREFECT_API_AUTH_STRING": "b", "PGPASSWORD": "c"}
    assert without_secret_variables(kept | dict.fromkeys(names, "d")) == kept


def test_children_are_told_the_secrets_that_runs_need_and_none_of_the_panels(
    tmp_path: Path,
) -> None:
    settings = Settings(
        data_dir=tmp_path,
        secret_key=SecretStr("s" * 40),
        admin_password=SecretStr("of the operator"),
        database_url=SecretStr("postgresql://app:pw@db.example/app"),
        database_listen_url=SecretStr("postgresql://app:pw@direct.example/app"),
    )
    told = Stack(settings, on_progress=lambda *_: None).environment()
    assert {name for name in told if name in SECRETS} == {
        f"{PREFIX}{name}" for name in ("DATABASE_URL", "DATABASE_LISTEN_URL", "RUN_KEY")
    }
    assert "s" * 40 not in told.values()
    assert "of the operator" not in told.values()
    # The secret itself, where no setting names it, stays in its file.
    plain = Stack(Settings(data_dir=tmp_path), on_progress=lambda *_: None).environment()
    assert {name for name in plain if name in SECRETS} == set()


def test_the_server_has_its_own_secrets_only_and_ray_none(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    access = plan_server(settings, 4300)
    server = server_child(settings, access).env
    assert server[SERVER_AUTH] == access.auth_string
    assert server[AUTH] is server["PREFECT_API_KEY"] is None
    ray = ray_child(plan_ray(settings), {}).env
    assert not [name for name in ray if name in SECRETS | {AUTH}]


def test_a_workers_own_server_settings_do_not_travel_with_its_orders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from prefect.settings import get_current_settings

    secrets = {name: SecretStr("admin:of the server") for name in ("auth_string",)}
    known = get_current_settings()
    api = known.server.api.model_copy(update=secrets)
    server = known.server.model_copy(update={"api": api})
    changed = known.model_copy(update={"server": server})
    monkeypatch.setattr("prefect.workers.base.get_current_settings", lambda: changed)
    assert SERVER_AUTH in changed.to_environment_variables()
    assert SERVER_AUTH not in KodosumiRayJobConfiguration._base_environment()
