"""Prefect's deployments in the register."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists

from kodosumi_prefect.launch import schedules
from kodosumi_prefect.settings import Settings, write_address
from tests.panel import faulty_services as faults
from tests.panel.faulty_services import document
from tests.panel.panel_runs import Stand, serving, until
from tests.panel.registering import Start, listed, register, rows, trouble
from tests.services import Place, record_prefect


@prefect.flow
def greets(name: str, times: int = 1) -> None: ...


@pytest.fixture
def prefect_panel(place: Place, no_pools: None, settings: Settings) -> Iterator[Stand]:
    """A panel with a Prefect, and a work pool of each of two kinds."""
    record_prefect(settings, place.api_url)
    with get_client(sync_client=True) as client:
        for name, kind in (("ours", "kodosumi-ray"), ("others", "process")):
            with suppress(ObjectAlreadyExists):
                client.create_work_pool(WorkPoolCreate(name=name, type=kind))
    changes = {"register_interval": 0.2, "register_tags": ["people"]}
    with serving(settings.model_copy(update=changes)) as stand:
        yield stand


def deploy(name: str, pool: str, **more: Any) -> str:
    deployment = greets.to_deployment(name=name, work_pool_name=pool, **more)
    deployment.entrypoint = "x.py:greets"
    made = deployment.apply()
    return str(made)


def test_prefect_deployments_are_found_by_pool_and_tag(prefect_panel: Stand):
    panel = prefect_panel
    deploy("of-our-pool", "ours", description="Greets", tags=["x"], version="3")
    deploy("tagged", "others", tags=["people", "y"])
    deploy("neither", "others", tags=["y"])
    until(lambda: len(listed(panel)) >= 2)
    found = {each["summary"]: each for each in listed(panel)}
    assert set(found) == {"greets/of-our-pool", "greets/tagged"}
    ours = found["greets/of-our-pool"]
    assert ours["url"] == "/-/prefect/0/-/greets/of-our-pool"
    assert (ours["kind"], ours["source"], ours["version"]) == ("prefect", "prefect", "3")
    assert (ours["description"], ours["tags"]) == ("Greets", ["x"])
    with get_client(sync_client=True) as client:
        for name in ("of-our-pool", "tagged", "neither"):
            client.delete_deployment(client.read_deployment_by_name(f"greets/{name}").id)
    until(lambda: listed(panel) == [])


def test_schedules_of_what_is_gone_are_paused_and_go_on_when_it_is_back(
    prefect_panel: Stand, start: Start, monkeypatch: pytest.MonkeyPatch
):
    panel = prefect_panel
    service, url = start(**{"openapi.json": document()})
    [endpoint] = register(panel, f"{url}/openapi.json")
    deployment = deploy("scheduled", "others")
    with get_client(sync_client=True) as client:
        wanted = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=3600))  # type: ignore[arg-type]
        [made] = client.create_deployment_schedules(deployment, [wanted])  # type: ignore[arg-type]

        def active() -> bool:
            [schedule] = client.read_deployment(deployment).schedules  # type: ignore[arg-type]
            return bool(schedule.active)

        rows(
            panel.settings,
            "INSERT INTO kodosumi.schedule (id, deployment_id, endpoint_uid) VALUES (%s, %s, %s)",
            made.id,
            deployment,
            endpoint["uid"],
        )
        # Unreachable is not gone.
        service.answers["/openapi.json"] = faults.page()
        until(lambda: [each["reachable"] for each in listed(panel)] == [False])
        assert active()
        service.answers["/openapi.json"] = document({})
        until(lambda: not active())
        why = "SELECT paused_because FROM kodosumi.schedule"
        until(lambda: rows(panel.settings, why)[0][0] is not None)
        assert f"{url}/openapi.json no longer lists" in rows(panel.settings, why)[0][0]
        service.answers["/openapi.json"] = document()
        until(active)
        until(lambda: rows(panel.settings, why) == [(None,)])
        # Unregistering pauses as well, however often the register looks meanwhile.
        pause = schedules.pause_endpoints

        async def dawdling(*args: Any) -> list[str]:
            paused = await pause(*args)
            await asyncio.sleep(1)
            return paused

        monkeypatch.setattr(schedules, "pause_endpoints", dawdling)
        answer = panel.client.post("/flow/unregister", json={"url": f"{url}/openapi.json"})
        assert answer.status_code == 200, answer.text
        assert not active()
        client.delete_deployment(deployment)  # type: ignore[arg-type]


def test_without_prefect_its_deployments_stay_and_are_marked(prefect_panel: Stand, place: Place):
    panel = prefect_panel
    deployment = deploy("stays", "ours")
    until(lambda: [each["reachable"] for each in listed(panel)] == [True])
    write_address(panel.settings, "prefect", {"url": "http://127.0.0.1:9/api"})
    until(lambda: [each["reachable"] for each in listed(panel)] == [False])
    assert "127.0.0.1:9" in str(trouble(panel, "prefect"))
    record_prefect(panel.settings, place.api_url)
    until(lambda: [each["reachable"] for each in listed(panel)] == [True])
    with get_client(sync_client=True) as client:
        client.delete_deployment(deployment)  # type: ignore[arg-type]
    until(lambda: listed(panel) == [])
