"""From a posted form to the result of its run, with nothing made up in between."""

import datetime

import httpx
from pydantic import BaseModel, Field

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.core import InputsError, Launch, ServeAPI, forms
from tests.serve.launches import USER, Launcher
from tests.serve.service_doubles import InPanel

app = ServeAPI(title="End to end")
form = forms.Model(
    forms.InputText("name", "Name", required=True),
    forms.InputNumber("count", value=1, step=1),
    forms.InputPassword("token"),
    forms.Select("tone", [forms.InputOption("kind", "Kind"), forms.InputOption("dry", "Dry")]),
)


class Span(BaseModel):
    first: int = Field(ge=0)
    last: int = 9


@app.enter("/", form, summary="Greet", tags=["demo"], version="1.0")
async def enter(request, inputs):
    if inputs["name"] == "nobody":
        raise InputsError(name="is nobody's name")
    return Launch(request, "tests.serve.test_serve_to_end:greet", inputs=inputs)


async def greet(inputs: dict, tracer: Tracer) -> dict:
    await tracer.debug(f"{inputs['count']} for {inputs['name']}")
    greeting = f"Hello {inputs['name']}" * int(inputs["count"])
    return {"greeting": greeting, "count": inputs["count"], "token": len(inputs["token"])}


@flow(summary="Measure")
def measure(span: Span, day: datetime.date, tracer: Tracer) -> str:
    tracer.debug(type(span).__name__)
    return f"{span.last - span.first} on {day:%A}"


app.add_flow(measure, "/measure")


def post(launcher: Launcher, path: str, data: dict) -> httpx.Response:
    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(InPanel(app))
        headers = {"x-kodosumi_user": USER, "x-kodosumi_username": "ada"}
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            return await http.post(path, data=data, headers=headers)

    return launcher.do(call)


def test_a_posted_form_becomes_a_run_with_what_was_posted(launcher: Launcher):
    secret = "a-secret-of-mine"
    answer = post(launcher, "/", {"name": "Ada", "count": "2", "token": secret, "tone": "dry"})
    fid = answer.json()["result"]
    assert answer.headers["kodosumi_launch"] == fid
    done = launcher.execute(fid)
    assert done.row["status"] == "finished"
    assert done.final == {"dict": {"greeting": "Hello AdaHello Ada", "count": "2", "token": 16}}
    assert done.row["summary"] == "Greet"
    assert secret not in done.row["inputs"]


def test_a_refused_form_launches_nothing(launcher: Launcher):
    assert post(launcher, "/", {"name": "Ada", "token": "", "tone": "dry"}).status_code == 200
    # Prefect's scheduler makes runs of other deployments meanwhile.
    mine = {"deployments": {"name": {"like_": "end-to-end"}}}
    before = launcher.prefect("POST", "flow_runs/count", **mine)
    assert before > 0
    answer = post(launcher, "/", {"name": "nobody", "count": "2"})
    assert answer.json()["errors"]["name"] == ["is nobody's name"]
    assert launcher.prefect("POST", "flow_runs/count", **mine) == before


def test_a_flows_own_parameters_arrive_as_their_types(launcher: Launcher):
    answer = post(launcher, "/measure", {"span.first": "2", "day": "2026-01-31"})
    done = launcher.execute(answer.json()["result"])
    assert done.row["status"] == "finished"
    assert done.final == {"str": "7 on Saturday"}
    assert done.of("debug") == ["Span"]
    assert done.row["summary"] == "Measure"
