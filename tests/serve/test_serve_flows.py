"""Flows whose own parameters make the form."""

import datetime

import httpx
import pytest
from pydantic import BaseModel, Field

import kodosumi_prefect
from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.core import ServeAPI
from kodosumi_prefect.serve import api
from tests.serve.service_doubles import FakeLaunch, InPanel


class Range(BaseModel):
    first: int = Field(ge=0)
    last: int = Field(9, le=100)


@flow(summary="Count", tags=["demo"], author="an author", version="3")
def count(
    span: Range,
    since: datetime.date,
    style: str = "plain",
    steps: list[int] | None = None,
    tracer: Tracer = None,  # type: ignore[assignment]
) -> int:
    """Count something.

    Args:
        since: the first day
    """
    return span.last - span.first


@flow
def whole(inputs: dict, tracer: Tracer):
    """Takes what it gets."""


@pytest.fixture
def launches(monkeypatch):
    made = []

    def launch(request, entry_point, inputs=None, **more):
        made.append((entry_point, inputs))
        return FakeLaunch(request)

    monkeypatch.setattr(api, "Launch", launch)
    return made


def client(app):
    transport = httpx.ASGITransport(InPanel(app), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


async def test_a_flow_becomes_an_endpoint_with_a_form_of_its_parameters(launches):
    app = ServeAPI(title="Counter")
    app.add_flow(count, "/count")
    async with client(app) as http:
        form = (await http.get("/count")).json()
        answer = await http.post(
            "/count",
            json={"span.first": "1", "since": "2026-01-31", "steps": "[1, 2]"},
        )
    assert (form["summary"], form["tags"]) == ("Count", ["demo"])
    assert form["description"].startswith("Count something.")
    assert form["openapi_extra"] == {
        "x-kodosumi": True,
        "x-author": "an author",
        "x-version": "3",
    }
    named = {each["name"]: each for each in form["elements"] if each.get("name")}
    assert list(named) == ["span.first", "span.last", "since", "style", "steps"]
    assert named["since"]["type"] == "date"
    assert named["since"]["placeholder"] == "the first day"
    assert answer.json()["result"] == "fid-1"
    given = {"span": {"first": 1}, "since": "2026-01-31", "steps": [1, 2]}
    assert launches == [(count, given)]


async def test_what_the_flow_does_not_accept_is_told_at_the_field(launches):
    app = ServeAPI(title="Counter")
    app.add_flow(count)
    async with client(app) as http:
        answer = await http.post(
            "/", json={"span": {"first": -1, "last": 200}, "steps": '["x"]', "since": "never"}
        )
        wrong = await http.post(
            "/", json={"span.first": 1, "since": "2026-01-31", "steps": '["x"]'}
        )
    assert set(answer.json()["errors"]) == {"span.first", "span.last", "since", "_global_"}
    assert "valid integer" in wrong.json()["errors"]["steps"][0]
    assert not launches


async def test_a_flow_of_inputs_gets_them_whole(launches):
    app = ServeAPI(title="Counter")
    app.add_flow(whole, summary="Whole")
    async with client(app) as http:
        assert (await http.get("/")).json()["summary"] == "Whole"
        await http.post("/", json={"inputs": '{"a": 1}'})
        await http.post("/", json={"inputs": {"b": 2}})
    assert launches == [(whole, {"a": 1}), (whole, {"b": 2})]


def test_a_flow_of_which_no_form_can_be_made_is_refused():
    app = ServeAPI(title="Counter")

    @kodosumi_prefect.flow
    def loose(**options): ...

    @kodosumi_prefect.flow
    def mixed(inputs: dict, more: int): ...

    with pytest.raises(TypeError, match="takes options"):
        app.add_flow(loose)
    with pytest.raises(TypeError, match="takes inputs and more"):
        app.add_flow(mixed)
    with pytest.raises(TypeError, match="add_flow takes a flow"):
        app.add_flow(print)
