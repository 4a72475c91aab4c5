"""What people type reaches flows as data, and nothing of it blinds Prefect for others."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from prefect.blocks.system import Secret
from prefect.flows import Flow
from prefect.variables import Variable

from kodosumi_prefect.adapter.literal import escaped, opened
from kodosumi_prefect.database.rows.services import RegisteredEndpoint
from kodosumi_prefect.forms import InputsError, from_schema
from kodosumi_prefect.forms.bounds import DEEPEST
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.keys import make_secret
from kodosumi_prefect.launch import schedules
from kodosumi_prefect.launch.firing import When
from kodosumi_prefect.launch.launch import Launch
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.launch.run_again import run_again
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.services import deployment_form
from tests.samples import echoes
from tests.serve.launches import USER, Launcher, registered, request
from tests.serve.service_doubles import InPanel
from tests.services import Place
from tests.waiting import wait_for

HIDDEN = "correct-horse-battery-staple"
HUGE = 99999999999999999999
OWNER = Owner(USER, "ada")
ADA = User(USER, "ada", False)
EVERY_HOUR = json.dumps({"interval": 3600})

# What a form's JSON field holds, and what has to be said about it where Prefect gets it as it is.
NUMBERS = {
    "an integer beyond 64 bits": (f"[{HUGE}]", "integers from -9223372036854775808 to"),
    "one far beyond them": ("9" * 400, "integers from"),
    "one below them": ("-9223372036854775809", "integers from"),
    "a float without an end": ('{"a": 1e400}', "not a finite number"),
}
UNHELD = {
    "deep lists": ("[" * 500 + "]" * 500, f"deeper than {DEEPEST} levels"),
    "deep objects": ('{"a":' * 300 + "1" + "}" * 300, f"deeper than {DEEPEST} levels"),
    "half a character": ('"\\ud800"', "lone surrogate"),
    "half a character in a key": ('{"\\udfff": 1}', "lone surrogate"),
}

Way = Callable[[Launcher, str], Any]


@pytest.fixture(scope="module")
def service_loop() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def launcher(place: Place, service_loop: BlockingPortal) -> Launcher:
    make_secret(place.settings)
    launcher = Launcher(place, service_loop)
    launcher.pool()
    return launcher


def post(launcher: Launcher, path: str, body: str, schedule: str | None = None) -> dict[str, Any]:
    """POST JSON to an endpoint of the service as the panel does."""

    async def posted() -> httpx.Response:
        headers = {"x-kodosumi_user": USER, "x-kodosumi_username": "ada"}
        if schedule is not None:
            headers["x-kodosumi-schedule"] = schedule
        transport = httpx.ASGITransport(InPanel(echoes.app))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post(path, content=body, headers=headers)

    answer = launcher.do(posted)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def deployed(
    launcher: Launcher,
    flow: "Flow[..., Any]" = echoes.echoes,
    pool: str | None = "kodosumi",
    **more: Any,
) -> RegisteredEndpoint:
    """A deployment that people can launch, as the register has it."""
    name = f"echoes-{uuid4().hex[:8]}"
    flow_id = launcher.prefect("POST", "flows/", name=flow.name)["id"]
    found = launcher.prefect(
        "POST",
        "deployments/",
        name=name,
        flow_id=flow_id,
        work_pool_name=pool,
        entrypoint=f"tests.samples.echoes.{flow.fn.__name__}",
        parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
        **more,
    )
    return registered(found["id"], f"{flow.name}/{name}")


def fill_in(
    launcher: Launcher,
    endpoint: RegisteredEndpoint,
    posted: dict[str, Any],
    when: str | None = None,
) -> dict[str, Any]:
    """What the panel answers to a deployment's filled-in form."""
    return launcher.do(deployment_form.launch, endpoint, posted, when, ADA, launcher.place.settings)


def by_form(launcher: Launcher, text: str, when: str | None = None) -> dict[str, Any]:
    return post(launcher, "/form", json.dumps({"n": "1", "data": text}), when)


def by_flow(launcher: Launcher, text: str, when: str | None = None) -> dict[str, Any]:
    return post(launcher, "/flow", json.dumps({"data": text}), when)


def by_deployment(launcher: Launcher, text: str, when: str | None = None) -> dict[str, Any]:
    return fill_in(launcher, deployed(launcher), {"data": text}, when)


WAYS = [by_form, by_flow, by_deployment]


def answers(launcher: Launcher) -> None:
    """See that Prefect can list all its runs, and those that are due."""
    launcher.prefect("POST", "flow_runs/filter")
    launcher.prefect("POST", "deployments/filter")
    launcher.prefect("POST", "work_pools/kodosumi/get_scheduled_flow_runs")


# What Prefect cannot hold.


@pytest.mark.parametrize("when", [None, EVERY_HOUR], ids=["launch", "schedule"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", UNHELD)
def test_what_prefect_cannot_hold_is_an_error_at_its_field(
    launcher: Launcher, what: str, way: Callable[..., Any], when: str | None
) -> None:
    text, why = UNHELD[what]
    told = way(launcher, text, when)
    (message,) = told["errors"]["data"]
    assert why in message
    assert not told.keys() & {"result", "schedule"}
    answers(launcher)


@pytest.mark.parametrize("when", [None, EVERY_HOUR], ids=["launch", "schedule"])
@pytest.mark.parametrize("what", NUMBERS)
def test_a_number_that_prefect_cannot_hold_is_an_error_of_a_deployments_field(
    launcher: Launcher, what: str, when: str | None
) -> None:
    text, why = NUMBERS[what]
    told = by_deployment(launcher, text, when)
    (message,) = told["errors"]["data"]
    assert why in message
    assert not told.keys() & {"result", "schedule"}
    answers(launcher)


@pytest.mark.parametrize("way", [by_form, by_flow])
@pytest.mark.parametrize("what", NUMBERS)
def test_a_service_takes_numbers_that_prefect_cannot_hold(
    launcher: Launcher, what: str, way: Callable[..., Any]
) -> None:
    text, _ = NUMBERS[what]
    assert "schedule" in way(launcher, text, EVERY_HOUR)
    recorded = launcher.execute(way(launcher, text)["result"])
    assert recorded.row["status"] == "finished"
    (number,) = re.findall(r"-?\d{15,}|Infinity", recorded.row["final"])
    assert number == ("Infinity" if "1e400" in text else text.strip("[]"))
    answers(launcher)


@pytest.mark.parametrize("when", [None, EVERY_HOUR], ids=["launch", "schedule"])
def test_a_number_field_that_prefect_cannot_hold_is_named(
    launcher: Launcher, when: str | None
) -> None:
    told = fill_in(launcher, deployed(launcher), {"count": str(HUGE)}, when)
    nested = fill_in(launcher, deployed(launcher), {"wrapped": f'{{"inner": {{"a": {HUGE}}}}}'})
    assert str(HUGE) in told["errors"]["count"][0], told
    assert nested["errors"]["wrapped"][0].startswith(f"inner.a: is {HUGE}")
    answers(launcher)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 1e308, 0.1])
def test_what_just_fits_arrives(launcher: Launcher, number: float) -> None:
    fid = by_form(launcher, json.dumps([number]))["result"]
    assert launcher.execute(fid).final == {"__list__": [{type(number).__name__: number}]}
    deep: Any = 1
    for _ in range(DEEPEST - 1):
        deep = [deep]
    assert "result" in by_form(launcher, json.dumps(deep))


def test_an_object_that_holds_itself_is_an_error_of_its_field(launcher: Launcher) -> None:
    endless: list[Any] = []
    endless.append(endless)
    launch = Launch(request(), "tests.samples.echoes:echo", inputs={"data": endless})
    with pytest.raises(InputsError, match=r"data: is nested deeper than 100 levels"):
        launcher.do(launch.go, launcher.endpoint())


def test_large_inputs_with_numbers_that_prefect_cannot_hold_are_kept_here(
    launcher: Launcher,
) -> None:
    data = {"number": HUGE, "filling": "x" * 70_000}
    recorded = launcher.run("tests.samples.echoes:echo", {"data": data})
    assert f'"number":{HUGE},' in recorded.row["final"].replace(" ", "")
    answers(launcher)


def test_a_run_is_not_begun_again_with_what_prefect_cannot_hold(launcher: Launcher) -> None:
    endpoint = deployed(launcher)
    run = launcher.prefect(
        "POST",
        f"deployments/{endpoint.deployment_id}/create_flow_run",
        parameters={"data": HUGE},
    )
    try:
        with pytest.raises(LaunchError, match=f"data: is {HUGE}") as caught:
            launcher.do(again, launcher, run["id"])
        assert status_of(caught.value) == 422
    finally:
        launcher.prefect("DELETE", f"flow_runs/{run['id']}")
    answers(launcher)


# What Prefect would act on.


@pytest.fixture
def markers(place: Place) -> list[dict[str, Any]]:
    """Objects by which Prefect would load a secret block, a variable, a template."""
    block = f"hidden-{uuid4().hex[:8]}"
    Secret(value=HIDDEN).save(block)
    variable = f"hidden_{uuid4().hex[:8]}"
    Variable.set(variable, HIDDEN)
    found = Secret.load(block)
    return [
        {"$ref": {"block_document_slug": f"secret/{block}"}},
        {"$ref": {"block_document_id": str(found._block_document_id)}},
        {"$ref": str(found._block_document_id)},
        {"$ref": {"block_document_slug": "secret/no-such-block"}, "beside": 1},
        {"\\$ref": {"$ref": {"block_document_slug": f"secret/{block}"}}, "$ref": 1},
        {"\\\\$ref": 2, "\\$ref": 3, "$ref": {"$ref": {"\\$ref": 4}}},
        {"__prefect_kind": "workspace_variable", "variable_name": variable},
        {"__prefect_kind": "jinja", "template": "{{ 7 * 7 }}"},
        {"__prefect_kind": "json", "value": '"other"'},
        {"__prefect_kind": "none", "value": 1, "$ref": {"block_document_slug": f"secret/{block}"}},
        {"text": f"{{{{ prefect.blocks.secret.{block} }}}} {{{{ prefect.variables.{variable} }}}}"},
    ]


def typed(markers: list[dict[str, Any]]) -> dict[str, Any]:
    """All of them, flat and deep."""
    deep: Any = markers[0]
    for _ in range(30):
        deep = {"in": [deep]}
    return {"flat": markers, "deep": deep, "$ref": markers[0], "\\$ref": [markers[6]]}


def of_schedule(launcher: Launcher, schedule: str) -> str:
    """A run that Prefect's scheduler makes of a schedule; its fid."""
    rows = launcher.do(schedules.schedules_of, USER, launcher.place.settings)
    (row,) = [row for row in rows if row["id"] == schedule]
    deployment = row["deployment"]["id"]
    launcher.prefect("POST", f"deployments/{deployment}/schedule", min_runs=1)

    def made() -> str | None:
        runs = launcher.prefect(
            "POST", "flow_runs/filter", deployments={"id": {"any_": [deployment]}}
        )
        found = [run["id"] for run in runs if (run["created_by"] or {}).get("id") == schedule]
        return found[0] if found else None

    return str(wait_for(made, 60, "a scheduled run"))


async def again(launcher: Launcher, fid: str) -> str:
    return await run_again(fid, OWNER, launcher.place.settings)


def got(launcher: Launcher, fid: str) -> Any:
    """What the flow got, which it gave back; nothing of it may be what is hidden."""
    recorded = launcher.execute(fid)
    assert recorded.row["status"] == "finished", recorded.of("error")
    assert HIDDEN not in str(recorded.final)
    return recorded.final["dict"]


@pytest.mark.parametrize("way", WAYS)
def test_what_people_type_arrives_as_it_is(
    launcher: Launcher, markers: list[dict[str, Any]], way: Callable[..., Any]
) -> None:
    wanted = typed(markers)
    fid = way(launcher, json.dumps(wanted))["result"]
    assert got(launcher, fid) == wanted
    shown = json.loads(launcher.place.recorded(fid).of("inputs")[0])
    assert shown["dict"]["data"] == wanted
    assert got(launcher, launcher.do(again, launcher, fid)) == wanted


@pytest.mark.parametrize("way", WAYS)
def test_what_people_schedule_arrives_as_it_is(
    launcher: Launcher, markers: list[dict[str, Any]], way: Callable[..., Any]
) -> None:
    wanted = typed(markers)
    schedule = way(launcher, json.dumps(wanted), EVERY_HOUR)["schedule"]
    fid = of_schedule(launcher, schedule)
    assert got(launcher, fid) == wanted
    assert got(launcher, launcher.do(again, launcher, fid)) == wanted


def test_a_schedule_of_an_earlier_release_does_not_load_blocks(
    launcher: Launcher, markers: list[dict[str, Any]]
) -> None:
    endpoint = deployed(launcher)

    async def made(parameters: dict[str, Any]) -> str:
        when = await When.of(EVERY_HOUR)
        return await schedules.create(
            UUID(str(endpoint.deployment_id)),
            when,
            parameters,
            OWNER,
            settings=launcher.place.settings,
        )

    schedule = launcher.do(made, {"data": {"a": 1}})
    # As it was written then: to Prefect, and to our table.
    parameters = {"data": markers[0]}
    launcher.prefect(
        "PATCH",
        f"deployments/{endpoint.deployment_id}/schedules/{schedule}",
        active=True,
        parameters=parameters,
    )
    launcher.rows(
        "UPDATE kodosumi.schedule SET parameters = %s WHERE id = %s RETURNING id",
        json.dumps(parameters),
        schedule,
    )
    assert got(launcher, of_schedule(launcher, schedule)) == markers[0]


def test_a_launch_of_an_earlier_release_does_not_load_blocks(
    launcher: Launcher, markers: list[dict[str, Any]]
) -> None:
    fid = by_form(launcher, json.dumps({"a": 1}))["result"]
    run = launcher.prefect("GET", f"flow_runs/{fid}")
    parameters = run["parameters"] | {"inputs": {"data": markers[0]}}
    launcher.prefect("PATCH", f"flow_runs/{fid}", parameters=parameters)
    assert got(launcher, fid) == markers[0]


def test_a_flow_that_checks_nothing_gets_it_as_it_is(
    launcher: Launcher, markers: list[dict[str, Any]]
) -> None:
    endpoint = deployed(launcher, echoes.unchecked)
    fid = fill_in(launcher, endpoint, {"data": json.dumps(markers[4])})["result"]
    assert got(launcher, fid) == markers[4]


def test_a_model_gets_it_as_it_is(launcher: Launcher, markers: list[dict[str, Any]]) -> None:
    wrapped = json.dumps({"inner": markers[4]})
    fid = fill_in(launcher, deployed(launcher), {"wrapped": wrapped})["result"]
    assert got(launcher, fid) == markers[4]


def test_blocks_of_the_deployment_itself_are_loaded_beside_what_people_type(
    launcher: Launcher, markers: list[dict[str, Any]]
) -> None:
    endpoint = deployed(launcher, parameters={"data": markers[0]})
    fid = fill_in(launcher, endpoint, {"count": "1"})["result"]
    recorded = launcher.execute(fid)
    assert recorded.row["status"] == "finished"
    assert "Secret" in str(recorded.final)
    again_fid = launcher.do(again, launcher, fid)
    assert launcher.prefect("GET", f"flow_runs/{again_fid}")["deployment_id"] is not None


def test_where_no_runner_of_ours_executes_it_a_reference_is_an_error_of_its_field(
    launcher: Launcher, markers: list[dict[str, Any]]
) -> None:
    name = f"process-{uuid4().hex[:8]}"
    launcher.prefect("POST", "work_pools/", name=name, type="process")
    endpoint = deployed(launcher, pool=name)
    for when in (None, EVERY_HOUR):
        told = fill_in(launcher, endpoint, {"data": json.dumps(markers[0])}, when)
        assert "work pools of type kodosumi-ray" in told["errors"]["data"][0]
        assert not told.keys() & {"result", "schedule"}
    assert "result" in fill_in(launcher, endpoint, {"data": '{"a": 1}'})


@pytest.mark.parametrize(
    "value",
    [
        {"$ref": 1},
        {"\\$ref": 1, "$ref": 2, "\\\\$ref": 3},
        {"$ref ": 1, "ref": 2, "$REF": 3, "$ref\n": 4, "\\": 5, "\\\\": 6, "a\\$ref": 7},
        [[{"a": {"$ref": {"$ref": [{"\\$ref": None}]}}}]],
        {},
        [],
        "$ref",
        1.5,
        None,
    ],
)
def test_what_is_escaped_is_opened_as_it_was(value: Any) -> None:
    hidden = escaped(value)
    assert opened(hidden) == value
    assert json.dumps(opened(hidden)) == json.dumps(value)  # in the same order
    assert '"$ref":' not in json.dumps(hidden)
    assert opened(escaped(hidden)) == hidden


def test_a_form_refuses_json_that_is_too_deep_at_its_field() -> None:
    form = from_schema({"properties": {"data": {"type": "array"}}})
    text = "[" * 900 + "]" * 900
    with pytest.raises(InputsError, match=f"data: is nested deeper than {DEEPEST} levels"):
        form.read({"data": text})
