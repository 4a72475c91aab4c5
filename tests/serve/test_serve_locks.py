"""What a service asks humans, and what it makes of their answers."""

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request

from kodosumi_prefect.core import InputsError, ServeAPI, forms
from kodosumi_prefect.serve.lock_facts import LockFacts
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.vocabulary import LOCK_FACTS_SCOPE
from tests.http_services import served_app
from tests.serve.service_doubles import InPanel

FORM = forms.Model(forms.Checkbox("approve"), forms.InputArea("comment", required=True))


async def facts(fid, lid):
    if lid == "gone":
        raise HTTPException(404, f"{fid} has no open lock {lid}")
    return LockFacts(lid, {"draft": "of " + fid})


@pytest.fixture
def app():
    return ServeAPI(title="Asker")


@pytest.fixture
async def http(app):
    inside = InPanel(app, **{LOCK_FACTS_SCOPE: facts})
    transport = httpx.ASGITransport(inside, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


async def test_a_lock_function_makes_the_form_of_its_data(app, http):
    @app.lock("review")
    def ask(data):
        return forms.Model(forms.Markdown(data["draft"]))

    answer = await http.get("/_lock_/run-1/review")
    assert answer.json() == [{"type": "markdown", "text": "of run-1"}]


@pytest.mark.parametrize("how", ["data", "inputs", "request", "turned", "none", "async"])
async def test_lock_and_lease_functions_take_what_they_ask_for(app, http, how):
    async def ask_async(request, data):
        return FORM

    async def make_async(request, inputs, data):
        return {"inputs": inputs, "data": data}

    asking = {
        "data": lambda data: FORM,
        "inputs": lambda inputs: FORM,
        "request": lambda request: FORM,
        "turned": lambda inputs, request, data: FORM,
        "none": lambda: FORM,
        "async": ask_async,
    }
    making = {
        "data": lambda data: {"data": data},
        "inputs": lambda inputs: {"inputs": inputs},
        "request": lambda request: {"is": isinstance(request, Request)},
        "turned": lambda data, request, inputs: {"data": data, "inputs": inputs},
        "none": lambda: 1,
        "async": make_async,
    }
    app.lock("review")(asking[how])
    app.lease("review")(making[how])
    assert (await http.get("/_lock_/run-1/review")).json() == FORM.get_model()
    answer = await http.post("/_lock_/run-1/review", json={"approve": "on", "comment": "fine"})
    data, inputs = {"draft": "of run-1"}, {"approve": True, "comment": "fine"}
    expected = {
        "data": {"data": data},
        "inputs": {"inputs": inputs},
        "request": {"is": True},
        "none": 1,
    }
    result = expected.get(how, {"data": data, "inputs": inputs})
    assert answer.json() == {"result": result, "elements": FORM.get_model()}


async def test_without_a_lease_function_the_form_is_the_result(app, http):
    app.lock("review")(lambda: FORM)
    answer = await http.post("/_lock_/run-1/review", data={"comment": "fine"})
    assert answer.json()["result"] == {"approve": False, "comment": "fine"}


async def test_a_lease_function_gets_what_was_posted_though_the_form_lacks_it(app, http):
    app.lock("review")(lambda: forms.Model(forms.InputNumber("stars"), forms.Checkbox("sure")))
    app.lease("review")(lambda inputs: inputs)
    posted = {"stars": "3", "note": "unasked", "more": [1]}
    answer = await http.post("/_lock_/run-1/review", json=posted)
    assert answer.json()["result"] == posted | {"sure": False}


async def test_errors_of_form_and_lease_keep_the_lock_open(app, http):
    app.lock("review")(lambda: FORM)

    @app.lease("review")
    def made(inputs):
        raise InputsError("not on Sundays", approve="needs a reason")

    ours = (await http.post("/_lock_/run-1/review", json={})).json()
    own = (await http.post("/_lock_/run-1/review", json={"comment": "x"})).json()
    assert ours["errors"] == {"comment": ["is required"], "_global_": []}
    assert own == {
        "errors": {"approve": ["needs a reason"], "_global_": ["not on Sundays"]},
        "elements": FORM.get_model(),
    }


@pytest.mark.parametrize(
    ("lid", "status", "said"),
    [
        ("gone", 404, "run-1 has no open lock gone"),
        ("unknown", 404, "the service has no @app.lock('unknown')"),
        ("wrong", 500, "the lock function wrong_one returned str, not a Model"),
        ("raising", 500, "unexpected error"),
    ],
)
async def test_a_lock_without_a_form_says_why(app, http, lid, status, said):
    @app.lock("wrong")
    def wrong_one():
        return "form"

    @app.lock("raising")
    def raising():
        raise ValueError("oh")

    for method in ("GET", "POST"):
        answer = await http.request(method, f"/_lock_/run-1/{lid}", json={})
        assert answer.status_code == status
        assert said in answer.json()["detail"]


async def test_a_result_that_is_no_json_is_named(app, http):
    app.lock("review")(lambda: FORM)
    app.lease("review")(lambda: object)
    answer = await http.post("/_lock_/run-1/review", json={"comment": "x"})
    assert answer.status_code == 500
    assert "the lease function of 'review' returned" in answer.json()["detail"]


def test_what_lock_functions_cannot_have_is_refused_when_they_are_made(app):
    with pytest.raises(TypeError, match="takes form; it can only take data, request, inputs"):
        app.lock("review")(lambda data, form: FORM)
    app.lock("review")(lambda: FORM)
    with pytest.raises(ValueError, match="two lock functions named 'review'"):
        app.lock("review")(lambda: FORM)


async def test_elsewhere_the_configured_panel_is_asked_with_the_callers_signature(app):
    seen = []
    panel = FastAPI()

    @panel.get("/lock/{fid}/{lid}/facts")
    def of_panel(request: Request, fid: str, lid: str):
        seen.append(request.headers.get("x-kodosumi-signature"))
        if lid == "taken":
            raise HTTPException(409, "it was answered already")
        return {"name": "review", "data": [fid, lid], "expires": 12.5} if lid == "1" else "junk"

    app.lock("review")(lambda data: forms.Model(forms.Markdown(" ".join(data))))
    transport = httpx.ASGITransport(InPanel(app), raise_app_exceptions=False)
    signed = {"x-kodosumi-signature": "s"}
    with served_app(panel) as url, use_settings(Settings(panel_url=url)):
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            answer = await client.get("/_lock_/run/1", headers=signed)
            taken = await client.get("/_lock_/run/taken", headers=signed)
            junk = await client.get("/_lock_/run/2", headers=signed)
    assert answer.json() == [{"type": "markdown", "text": "run 1"}]
    assert (taken.status_code, taken.json()["detail"]) == (409, "it was answered already")
    assert junk.status_code == 502
    assert seen == ["s"] * 3
    with use_settings(Settings(panel_url="http://127.0.0.1:1")):
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            away = await client.get("/_lock_/run/1")
    assert away.status_code == 503
    assert "the panel does not answer at http://127.0.0.1:1/lock/run/1/facts" in away.text
