"""The deployment of an endpoint: made once, changed with care, others never touched."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import SecretStr

from kodosumi_prefect.database import channels
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.launch import deploying
from kodosumi_prefect.launch.deploying import FLOW, deployment_of, plan, slug_of, uid_of
from kodosumi_prefect.launch.endpoint import Endpoint
from kodosumi_prefect.launch.launch import Launch
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.services import deployment_form
from kodosumi_prefect.vocabulary import ENDPOINT_LABEL
from tests.prefect_http import ask_prefect
from tests.serve.launches import USER, Launcher, changed, registered, request

HERE = "tests.samples.entrypoints"


def fresh() -> str:
    return f"app {uuid4().hex[:8]}"


def deployments(launcher: Launcher, name: str) -> list[dict[str, Any]]:
    body = {"deployments": {"name": {"any_": [name]}}}
    found: list[dict[str, Any]] = launcher.prefect("POST", "deployments/filter", **body)
    return found


def test_the_name_stays_when_the_summary_changes(launcher: Launcher) -> None:
    app = fresh()
    first = launcher.endpoint(app, summary="One")
    second = launcher.endpoint(app, summary="Another", description="Text")
    runs = [
        launcher.flow_run(launcher.launch(f"{HERE}:nothing", endpoint=e)) for e in (first, second)
    ]
    assert runs[0].deployment_id == runs[1].deployment_id
    name = f"{slug_of(first)}-{uid_of(first)[:8]}"
    (found,) = deployments(launcher, name)
    assert found["description"] == "Text"
    assert found["labels"][ENDPOINT_LABEL] == uid_of(first)
    assert found["work_pool_name"] == "kodosumi"


def test_two_endpoints_with_one_summary_are_two_deployments(launcher: Launcher) -> None:
    app = fresh()
    runs = [
        launcher.flow_run(
            launcher.launch(f"{HERE}:nothing", endpoint=launcher.endpoint(name, summary="Same"))
        )
        for name in (app, f"{app} b")
    ]
    assert runs[0].deployment_id != runs[1].deployment_id


def test_a_change_keeps_schedules_that_people_made_in_prefect(launcher: Launcher) -> None:
    app = fresh()
    run = launcher.flow_run(launcher.launch(f"{HERE}:nothing", endpoint=launcher.endpoint(app)))
    path = f"deployments/{run.deployment_id}/schedules"
    rule = {"cron": "0 6 * * *", "timezone": "UTC"}
    url = f"{launcher.place.api_url}/{path}"
    assert ask_prefect("POST", url, json=[{"schedule": rule}]).status_code == 201
    changed = launcher.endpoint(app, description="new")
    launcher.launch(f"{HERE}:nothing", endpoint=changed)
    found = launcher.prefect("GET", f"deployments/{run.deployment_id}")
    assert found["description"] == "new"
    assert [one["schedule"]["cron"] for one in found["schedules"]] == ["0 6 * * *"]


def test_a_foreign_deployment_of_that_name_is_left_alone(launcher: Launcher) -> None:
    endpoint = launcher.endpoint(fresh())
    name = f"{slug_of(endpoint)}-{uid_of(endpoint)[:8]}"
    flow = launcher.prefect("POST", "flows/", name=FLOW)["id"]
    launcher.prefect("POST", "deployments/", name=name, flow_id=flow, entrypoint="their.flow")
    with pytest.raises(LaunchError, match="not made by kodosumi-prefect") as caught:
        launcher.launch(f"{HERE}:nothing", endpoint=endpoint)
    assert status_of(caught.value) == 409
    assert deployments(launcher, name)[0]["entrypoint"] == "their.flow"


def test_with_auto_deploy_off_a_missing_deployment_is_named(launcher: Launcher) -> None:
    endpoint = launcher.endpoint(fresh())
    with (
        changed(launcher, auto_deploy=False),
        pytest.raises(LaunchError, match="auto_deploy is off"),
    ):
        launcher.launch(f"{HERE}:nothing", endpoint=endpoint)
    assert not deployments(launcher, f"{slug_of(endpoint)}-{uid_of(endpoint)[:8]}")


def test_a_missing_work_pool_is_named(launcher: Launcher) -> None:
    settings = launcher.place.settings.model_copy(update={"launch_work_pool": "nowhere"})
    wanted = plan(launcher.endpoint(fresh()), f"{HERE}:nothing", [], settings)
    with pytest.raises(LaunchError, match="work pool nowhere"):
        launcher.do(deployment_of, wanted, settings)


def test_a_deployment_deleted_meanwhile_is_made_again(launcher: Launcher) -> None:
    endpoint = launcher.endpoint(fresh())
    run = launcher.flow_run(launcher.launch(f"{HERE}:nothing", endpoint=endpoint))
    launcher.prefect("DELETE", f"deployments/{run.deployment_id}")
    again = launcher.flow_run(launcher.launch(f"{HERE}:nothing", endpoint=endpoint))
    assert again.deployment_id != run.deployment_id


def test_processes_that_begin_together_make_one_deployment(launcher: Launcher) -> None:
    settings = launcher.place.settings
    wanted = plan(launcher.endpoint(fresh()), f"{HERE}:nothing", [], settings)

    async def together() -> list[UUID]:
        return await asyncio.gather(*(deployment_of(wanted, settings, anew=True) for _ in range(6)))

    assert len(set(launcher.do(together))) == 1


def test_what_a_launch_asks_of_the_cluster_travels_with_its_run(launcher: Launcher) -> None:
    endpoint = launcher.endpoint(fresh(), options={"memory": 700, "timeout": 9})
    run = launcher.flow_run(
        launcher.launch(f"{HERE}:nothing", endpoint=endpoint, num_cpus=1, resources={"a": 1})
    )
    assert run.job_variables == {"num_cpus": 1.0, "resources": {"a": 1.0}}
    assert run.parameters["launch"]["timeout"] == 9
    deployment = launcher.prefect("GET", f"deployments/{run.deployment_id}")
    assert deployment["job_variables"] == {"memory": 700}


@pytest.mark.parametrize("options", [{"retires": 1}, {"num_cpu": 1}])
def test_an_option_that_nobody_knows_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        Launch(request(), f"{HERE}:nothing", **options)


def test_workers_are_woken(launcher: Launcher) -> None:
    with psycopg.connect(launcher.place.database, autocommit=True) as connection:
        connection.execute(f"LISTEN {channels.workers('kodosumi')}")
        launcher.launch(f"{HERE}:nothing")
        heard = next(connection.notifies(timeout=10, stop_after=1))
    assert heard.payload == '{"wake": "kodosumi"}'


def test_many_launches_at_once_all_get_their_run(launcher: Launcher) -> None:
    endpoint = launcher.endpoint(fresh())

    async def together() -> list[str]:
        launches = [Launch(request(), f"{HERE}:nothing") for _ in range(20)]
        return await asyncio.gather(*(launch.go(endpoint) for launch in launches))

    fids = launcher.do(together)
    assert len(set(fids)) == 20
    assert all(launcher.place.has(fid) for fid in fids)


def test_a_process_without_a_database_launches_what_needs_none(
    launcher: Launcher, tmp_path: Path
) -> None:
    key = SecretStr((launcher.place.settings.data_dir / "secret.key").read_text())
    with changed(launcher, data_dir=tmp_path, secret_key=key):
        fid = launcher.launch(f"{HERE}:nothing")
        assert not launcher.place.has(fid)
        with pytest.raises(LaunchError, match="database_url"):
            launcher.launch(f"{HERE}:measures", {"text": "x" * 100_000})
    assert launcher.execute(fid).row["owner"] == USER


def test_prefect_away_is_told_in_one_line(launcher: Launcher) -> None:
    launch = Launch(request(), f"{HERE}:nothing")
    away = "http://127.0.0.1:9/api"
    with (
        temporary_settings({PREFECT_API_URL: away, PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(LaunchError, match=r"127\.0\.0\.1:9") as caught,
    ):
        launcher.portal.call(launch.go, launcher.endpoint(fresh()))
    assert status_of(caught.value) == 502


def test_a_launched_deployment_shows_what_its_flow_gets_and_leaves_its_words_to_it(
    launcher: Launcher,
) -> None:
    flow = launcher.prefect("POST", "flows/", name="stock")["id"]
    schema = {
        "type": "object",
        "properties": {
            "number": {"type": "integer", "title": "number"},
            "word": {"type": "string", "title": "word", "default": "plain"},
            "place": {"type": "string", "title": "place", "default": "here"},
        },
        "required": ["number"],
    }
    deployment = launcher.prefect(
        "POST",
        "deployments/",
        name=fresh(),
        flow_id=flow,
        parameters={"word": "deployed"},
        parameter_openapi_schema=schema,
    )
    endpoint = registered(deployment["id"], "stock/count")
    user = User(id=USER, name="ada", operator=False)
    settings = launcher.place.settings
    answer = launcher.do(deployment_form.launch, endpoint, {"number": "3"}, None, user, settings)
    recorded = launcher.place.recorded(answer["result"])
    assert [event.kind for event in recorded.events] == ["status", "inputs"]
    assert recorded.events[1].value == {"number": 3, "word": "deployed", "place": "here"}


def test_a_deployment_is_named_after_app_and_path() -> None:
    def slug(app: str, path: str) -> str:
        return deploying.slug_of(Endpoint(app_name=app, path=path, summary="x"))

    assert slug("Reports", "/") == "reports"
    assert slug("Reports", "/by month") == "reports-by-month"
    assert slug("§§§", "/") == "endpoint"


def test_of_a_processs_runtime_env_a_launch_takes_what_belongs_to_its_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = dict.fromkeys(deploying.OF_THE_PROCESS, "of the process")
    env = own | {"working_dir": "gcs://code.zip", "pip": []}
    ray = SimpleNamespace(
        is_initialized=lambda: True,
        get_runtime_context=lambda: SimpleNamespace(runtime_env=env),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert deploying.runtime_env_here() == {"working_dir": "gcs://code.zip"}
