"""A real service behind a real panel: found, filled in and launched over HTTP."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from pydantic import SecretStr

from kodosumi_prefect.core import InputsError, Launch, ServeAPI, forms
from kodosumi_prefect.settings import write_address
from tests.http_services import served_app
from tests.panel.panel_runs import Stand, serving
from tests.services import Place, record_prefect

app = ServeAPI(title="Behind a panel")
form = forms.Model(
    forms.InputText("name", "Name", required=True),
    forms.InputPassword("token", "Token"),
    forms.Submit("Go"),
)


@app.enter("/greet", form, summary="Greet somebody", tags=["demo"], author="me@example.org")
async def greet(inputs: dict[str, Any], request: Any) -> Launch:
    if inputs["name"] == "nobody":
        raise InputsError(name="is nobody's name")
    return Launch(request, "tests.panel.test_panel_endpoints:work", inputs=inputs)


@app.get("/breaks", entry=True, summary="Breaks")
async def breaks() -> None:
    raise ValueError("a secret of the service")


def work(inputs: dict[str, Any]) -> str:
    return f"Hello {inputs['name']}"


@pytest.fixture(params=["uvicorn", "mounted"])
def stand(place: Place, request: pytest.FixtureRequest) -> Iterator[tuple[Stand, str]]:
    """A panel and the path of the service behind it, in both places where it can be."""
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name="kodosumi", type="kodosumi-ray"))
    settings = place.settings.model_copy(update={"database_url": SecretStr(place.database)})
    mounted = request.param == "mounted"
    if mounted:
        settings = settings.model_copy(update={"services": [f"{__name__}:app"]})
    with ExitStack() as stack:
        panel = stack.enter_context(serving(settings))
        write_address(place.settings, "panel", {"url": panel.url})
        record_prefect(place.settings, place.api_url)
        for service in ("panel", "prefect"):
            stack.callback(write_address, place.settings, service, None)
        source = f"{__name__}:app"
        if not mounted:
            source = f"{stack.enter_context(served_app(app))}/openapi.json"
            assert panel.client.post("/flow/register", json={"url": source}).status_code == 201
        items = panel.json("/flow", params={"pp": 100})["items"]
        [path] = [e["url"] for e in items if e["source"] == source and "greet" in e["url"]]
        yield panel, path
        panel.client.post("/flow/unregister", json={"url": source})


def test_a_service_is_found_filled_in_and_launched(stand: tuple[Stand, str], place: Place):
    panel, path = stand
    [found] = [
        e for e in panel.json("/flow", params={"q": "somebody"})["items"] if e["url"] == path
    ]
    assert (found["summary"], found["tags"], found["method"]) == ("Greet somebody", ["demo"], "GET")
    described = panel.json(path)
    assert set(described) == {"summary", "description", "tags", "openapi_extra", "elements"}
    assert described["elements"] == form.get_model()
    wrong = panel.client.post(path, json={"name": "nobody"})
    assert wrong.status_code == 200
    assert wrong.json()["errors"]["name"] == ["is nobody's name"]
    assert panel.client.post(path, json={}).json()["errors"]["name"]
    kind = found["kind"]
    person = panel.person(f"launcher by {kind}")
    answer = person.client.post(path, json={"name": "Ann", "token": "s3cret-of-ann"})
    assert answer.status_code == 200, answer.text
    fid = answer.json()["result"]
    assert answer.headers["kodosumi_launch"] == fid
    status = person.client.get(f"/outputs/status/{fid}").json()
    assert (status["username"], status["status"]) == (person.name, "starting")
    assert status["app_url"] == found["base_url"]
    other = panel.person(f"another by {kind}")
    assert other.client.get(f"/outputs/status/{fid}").status_code == 404
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(fid)
    assert "s3cret-of-ann" not in run.model_dump_json()


def test_bad_requests_have_an_answer(stand: tuple[Stand, str]):
    panel, path = stand
    for body in (b"{", b"[1]", b"\xff", b'{"name": 7}', b'{"name": ["x"]}', b'{"name": {}}'):
        answer = panel.client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code < 500, (body, answer.text)
        assert "Traceback" not in answer.text
    answer = panel.client.post(path, data={"name": "x" * 5_000_000})
    assert answer.status_code < 500, answer.text[:500]
    breaking = path.replace("greet", "breaks")
    answer = panel.get(breaking)  # by an operator
    assert answer.status_code == 500
    assert "ValueError: a secret of the service" in answer.json()["detail"]
    assert "Traceback" not in answer.text
    answer = panel.person(uuid4().hex[:8]).client.get(breaking)
    assert answer.status_code == 500
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert "described in the service's log" in answer.json()["detail"]


def test_a_service_refuses_those_who_do_not_come_by_its_panel(place: Place):
    import httpx

    with served_app(app) as url:
        headers = {"x-kodosumi_user": "somebody", "x-kodosumi_username": "admin"}
        answer = httpx.get(f"{url}/greet", headers=headers, trust_env=False)
        assert answer.status_code == 401
        assert httpx.get(f"{url}/openapi.json", trust_env=False).status_code == 200
