"""Prefect's deployments behind the panel: their form, launches and schedules."""

import json
from collections.abc import Iterator
from contextlib import suppress

import prefect
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

from kodosumi_prefect.settings import Settings, write_address
from tests.panel.impatient import failure
from tests.panel.panel_runs import Stand, serving, until
from tests.services import Place, record_prefect


@prefect.flow
def greets(name: str, times: int = 1) -> None: ...


@pytest.fixture
def deployed(place: Place, no_pools: None, settings: Settings) -> Iterator[Stand]:
    """A panel with a Prefect and a deployment, ``greets/by-form``."""
    record_prefect(settings, place.api_url)
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name="forms", type="kodosumi-ray"))
        deployment = greets.to_deployment(
            name="by-form", work_pool_name="forms", parameters={"times": 3}, description="Greets"
        )
        deployment.entrypoint = "x.py:greets"
        made = deployment.apply()
        with serving(settings.model_copy(update={"register_interval": 0.2})) as stand:
            until(lambda: stand.json("/flow")["items"])
            yield stand
        with suppress(Exception):
            client.delete_deployment(made)


PREFECT_PATH = "/-/prefect/0/-/greets/by-form"


def test_a_prefect_deployment_has_a_form_and_is_launched_by_it(deployed: Stand):
    form = deployed.json(PREFECT_PATH)
    assert (form["summary"], form["description"]) == ("greets/by-form", "Greets")
    assert set(form) == {"summary", "description", "tags", "openapi_extra", "elements"}
    fields = {e["name"]: e for e in form["elements"] if "name" in e}
    assert fields["name"]["required"] and fields["times"]["value"] in (3, "3")
    wrong = deployed.client.post(PREFECT_PATH, json={"times": "many"}).json()
    assert set(wrong) == {"errors", "elements"}
    assert wrong["errors"]["name"] and wrong["errors"]["times"]
    person = deployed.person("launcher")
    answer = person.client.post(PREFECT_PATH, json={"name": "Ann", "times": "2"})
    assert answer.status_code == 200, answer.text
    fid = answer.json()["result"]
    assert answer.headers["kodosumi_launch"] == fid
    assert answer.json()["elements"] == form["elements"]
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(fid)
    assert run.parameters == {"name": "Ann", "times": 2}
    assert "kodosumi.owner" in run.labels


def test_a_prefect_deployment_is_scheduled_by_its_form(deployed: Stand):
    headers = {"x-kodosumi-schedule": json.dumps({"cron": "0 6 * * 1", "timezone": "UTC"})}
    answer = deployed.client.post(PREFECT_PATH, json={"name": "Ann"}, headers=headers)
    assert answer.status_code == 200, answer.text
    [schedule] = deployed.json("/schedules")["items"]
    assert schedule["id"] == answer.json()["schedule"]
    assert (schedule["cron"], schedule["summary"]) == ("0 6 * * 1", "greets/by-form")
    never = {"x-kodosumi-schedule": json.dumps({"cron": "0 0 31 2 *"})}
    assert deployed.client.post(PREFECT_PATH, json={"name": "A"}, headers=never).status_code == 422


def test_without_prefect_its_deployments_are_bad_gateways(deployed: Stand, place: Place):
    write_address(deployed.settings, "prefect", {"url": "http://127.0.0.1:9/api"})
    for answer in (deployed.get(PREFECT_PATH), deployed.client.post(PREFECT_PATH, json={})):
        assert "127.0.0.1:9" in failure(answer, 502)
    record_prefect(deployed.settings, place.api_url)


def test_a_deployment_deleted_in_prefect_is_not_found(deployed: Stand):
    with get_client(sync_client=True) as client:
        client.delete_deployment(client.read_deployment_by_name("greets/by-form").id)
    assert deployed.get(PREFECT_PATH).status_code == 404
    until(lambda: not deployed.json("/flow")["items"])
