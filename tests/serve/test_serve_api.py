"""An agentic service over HTTP: forms, handlers, errors, bodies."""

import asyncio
import logging
import re
import threading

import httpx
import pytest
from fastapi import Depends, Query, Request
from ray import cloudpickle
from ray.serve._private.utils import ensure_serialization_context
from starlette.exceptions import HTTPException

from kodosumi_prefect.core import InputsError, KodosumiError, ServeAPI, Templates, forms
from kodosumi_prefect.http.body import LARGEST
from kodosumi_prefect.launch.refusal import UnavailableLaunchError
from kodosumi_prefect.serve.lock_facts import LockFacts
from kodosumi_prefect.settings import Settings, use_settings
from kodosumi_prefect.vocabulary import LOCK_FACTS_SCOPE, OPERATOR_SCOPE
from tests.serve.service_doubles import FakeLaunch, InPanel

FORM = forms.Model(
    forms.InputText("name", "Name", required=True),
    forms.InputNumber("count"),
    forms.Checkbox("loud"),
    forms.InputPassword("token"),
    forms.Submit("Go"),
)


def client(app, **scope):
    transport = httpx.ASGITransport(InPanel(app, **scope), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


@pytest.fixture
def app():
    return ServeAPI(title="Greeter")


async def test_get_answers_the_form(app):
    @app.enter(
        "/",
        model=FORM,
        summary="Greet",
        description="Says hello",
        tags=["demo"],
        version="1.2",
        author="an author",
        organization="an organization",
        deprecated=True,
    )
    def greet(inputs): ...

    async with client(app) as http:
        answer = await http.get("/")
    assert answer.json() == {
        "summary": "Greet",
        "description": "Says hello",
        "tags": ["demo"],
        "openapi_extra": {
            "x-kodosumi": True,
            "x-author": "an author",
            "x-organization": "an organization",
            "x-version": "1.2",
        },
        "deprecated": True,
        "elements": FORM.get_model(),
    }


async def test_an_endpoint_that_says_nothing_is_named_after_its_function(app):
    @app.enter("/hello", FORM)
    def say_hello():
        """Says hello.

        Politely.
        """

    async with client(app) as http:
        answer = (await http.get("/hello")).json()
    assert list(answer) == ["summary", "description", "tags", "openapi_extra", "elements"]
    assert answer["summary"] == "Say Hello"
    assert answer["description"] == "Says hello.\n\nPolitely."
    assert answer["tags"] == []


async def test_endpoints_are_marked_in_the_openapi_document(app):
    @app.enter("/a", FORM, version="1", tags=["x"])
    def a(): ...

    @app.post("/b", entry=True, author="an author", openapi_extra={"x-own": 1})
    async def b(request: Request): ...

    @app.get("/c")
    def c(): ...

    async with client(app) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    assert paths["/a"]["get"]["x-kodosumi"] is True
    assert paths["/a"]["get"]["x-version"] == "1"
    assert paths["/a"]["get"]["tags"] == ["x"]
    assert paths["/a"]["post"]["x-kodosumi"] is False
    assert paths["/b"]["post"]["x-kodosumi"] is True
    assert paths["/b"]["post"]["x-author"] == "an author"
    assert paths["/b"]["post"]["x-own"] == 1
    assert "x-kodosumi" not in paths["/c"]["get"]


@pytest.mark.parametrize("how", ["inputs", "request", "both", "turned", "neither", "async", "any"])
async def test_a_handler_takes_what_it_asks_for(app, how):
    seen = {}

    def note(**given):
        seen.update(given)
        return FakeLaunch(given.get("request"))

    async def note_async(request, inputs):
        return note(request=request, inputs=inputs)

    handlers = {
        "inputs": lambda inputs: note(inputs=inputs),
        "request": lambda request: note(request=request),
        "both": lambda inputs, request: note(inputs=inputs, request=request),
        "turned": lambda request, inputs: note(inputs=inputs, request=request),
        "neither": lambda: note(),
        "async": note_async,
        "any": lambda **given: note(**given),
    }
    app.enter("/", FORM)(handlers[how])
    async with client(app) as http:
        answer = await http.post("/", json={"name": "Ada", "count": "3", "loud": "on"})
    assert answer.json() == {"result": "fid-1", "elements": FORM.get_model()}
    assert answer.headers["kodosumi_launch"] == "fid-1"
    if how in ("inputs", "both", "turned", "async", "any"):
        expected = {"name": "Ada", "count": "3", "loud": True, "token": None}
        assert seen["inputs"] == expected
    if how in ("request", "both", "turned", "async", "any"):
        assert isinstance(seen["request"], Request)


async def test_a_handler_may_use_fastapis_dependencies(app):
    def tenant(request: Request):
        return request.headers["x-tenant"]

    seen = []

    @app.enter("/", FORM)
    def handler(inputs: dict, who: str = Depends(tenant), page: int = Query(1)):
        seen.append((inputs["name"], who, page))
        return FakeLaunch(None)

    async with client(app) as http:
        answer = await http.post("/?page=4", json={"name": "Ada"}, headers={"x-tenant": "acme"})
        assert answer.status_code == 200
        wrong = await http.post("/?page=x", json={"name": "Ada"}, headers={"x-tenant": "acme"})
        assert wrong.status_code == 422
        assert wrong.json()["detail"].startswith("query.page: Input should be a valid integer")
    assert seen == [("Ada", "acme", 4)]


async def test_a_sync_handler_does_not_hold_up_others(app):
    arrived, go = threading.Event(), threading.Event()
    released = []

    @app.enter("/slow", FORM)
    def slow(request):
        arrived.set()
        released.append(go.wait(5))
        return FakeLaunch(request)

    @app.enter("/quick", FORM)
    async def quick(request):
        return FakeLaunch(request)

    async with client(app) as http:
        waiting = asyncio.ensure_future(http.post("/slow", json={"name": "Ada"}))
        await asyncio.to_thread(arrived.wait, 10)
        assert (await http.post("/quick", json={"name": "Ada"})).status_code == 200
        go.set()
        assert (await waiting).status_code == 200
    assert released == [True]


async def test_what_a_launch_needs_to_know_of_its_endpoint_reaches_it(app):
    made = []

    @app.enter("/go", FORM, summary="Go", tags=["a"], version="2", retries=3, timeout=60)
    def go(request):
        made.append(FakeLaunch(request))
        return made[-1]

    async with client(app) as http:
        await http.post("/go", json={"name": "Ada", "token": "hidden"})
    endpoint = made[0].endpoint
    assert (endpoint.app_name, endpoint.path, endpoint.method) == ("Greeter", "/go", "POST")
    assert (endpoint.summary, endpoint.tags, endpoint.version) == ("Go", ("a",), "2")
    assert endpoint.options == {"retries": 3, "timeout": 60}
    assert endpoint.secrets == {"token"}
    assert made[0].request.scope["kodosumi.endpoint"] is endpoint
    assert made[0].request.scope["kodosumi.secrets"] == ["hidden"]
    assert made[0].request.state.caller.user_id == ""


async def test_a_form_can_be_saved_as_a_schedule(app):
    made = []

    @app.enter("/", FORM)
    def handler(request):
        made.append(FakeLaunch(request))
        return made[-1]

    async with client(app) as http:
        wanted = {"x-kodosumi-schedule": '{"cron": "0 7 * * *"}'}
        answer = await http.post("/", json={"name": "Ada"}, headers=wanted)
        refused = await http.post("/", json={}, headers=wanted)
    assert answer.json() == {"schedule": "schedule-1", "elements": FORM.get_model()}
    assert made[0].wanted == '{"cron": "0 7 * * *"}'
    assert refused.json()["errors"]["name"] == ["is required"]
    assert len(made) == 1


async def test_errors_of_form_and_handler_come_with_the_form_and_status_200(app):
    @app.enter("/", FORM)
    def handler(inputs):
        raise InputsError("try again", name="is taken")

    async with client(app) as http:
        own = await http.post("/", json={"name": "Ada"})
        ours = await http.post("/", json={"count": "x"})
    assert own.status_code == ours.status_code == 200
    assert own.json() == {
        "errors": {"name": ["is taken"], "_global_": ["try again"]},
        "elements": FORM.get_model(),
    }
    assert ours.json()["errors"] == {
        "name": ["is required"],
        "count": ["is 'x', which is not a number"],
        "_global_": [],
    }


async def test_forms_are_read_in_every_encoding(app):
    seen = []

    @app.enter("/", FORM)
    def handler(inputs):
        seen.append(inputs)
        return FakeLaunch(None)

    fields = {"name": "Ada Ö", "count": "2", "loud": "on"}
    async with client(app) as http:
        await http.post("/", json=fields)
        await http.post("/", data=fields)
        await http.post("/", files={name: (None, value) for name, value in fields.items()})
        unlabelled = await http.post("/", content='{"name": "Ada Ö", "count": 2, "loud": true}')
        assert unlabelled.status_code == 200
    typed = {"name": "Ada Ö", "loud": True, "token": None}
    assert seen == [typed | {"count": "2"}] * 3 + [typed | {"count": 2}]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"content": "{bad"}, "is not JSON"),
        ({"content": b"\xff\xfe"}, "is not"),
        ({"content": "[1]"}, "is a JSON list, not an object"),
        ({"content": "null"}, "is a JSON NoneType, not an object"),
        ({"content": '{"name": NaN}'}, "NaN is not a JSON number"),
        ({"content": '{"name": ' + "9" * 5000 + "}"}, "too long"),
        (
            {"files": {"name": ("a.txt", b"x")}},
            "the body holds a file; files are uploaded by /files before the form",
        ),
        ({"data": {f"f{n}": "x" for n in range(10_001)}}, "Too many fields"),
        (
            {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
            "boundary",
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
async def test_a_body_that_is_none_is_refused_with_400(app, sent, said):
    app.enter("/", FORM)(lambda: FakeLaunch(None))
    async with client(app) as http:
        answer = await http.post("/", **sent)
    body = answer.json()
    assert answer.status_code == 400
    assert list(body) == ["error", "path", "detail", "status_code"]
    assert said in body["detail"]


@pytest.mark.parametrize("end", ["", "]" * 300 + "}"])
async def test_a_body_that_is_nested_too_deep_is_refused_with_422(app, end):
    app.enter("/", FORM)(lambda: FakeLaunch(None))
    async with client(app) as http:
        answer = await http.post("/", content='{"name": ' + "[" * (300 if end else 200_000) + end)
    assert answer.status_code == 422
    assert "nested deeper" in answer.json()["detail"]


async def test_five_megabytes_are_read_and_nine_refused(app):
    seen = []

    @app.enter("/", FORM)
    def handler(inputs):
        seen.append(len(inputs["name"]))
        return FakeLaunch(None)

    async def streamed():
        for _ in range(9):
            yield b"x" * 1024 * 1024

    async with client(app) as http:
        assert (await http.post("/", json={"name": "x" * 5_000_000})).status_code == 200
        assert (await http.post("/", data={"name": "x" * 5_000_000})).status_code == 200
        for body in (b"x" * (LARGEST + 1), streamed()):
            answer = await http.post("/", content=body)
            assert answer.status_code == 413
            assert answer.json()["detail"] == "the body is larger than 8 MiB"
    assert seen == [5_000_000] * 2


async def test_an_empty_body_is_an_empty_form(app):
    app.enter("/", forms.Model(forms.InputText("a")))(lambda inputs: FakeLaunch(None))
    async with client(app) as http:
        assert (await http.post("/")).json()["result"] == "fid-1"


async def test_a_handler_that_raises_is_answered_with_an_id_that_finds_the_traceback(app, caplog):
    @app.enter("/", FORM)
    def handler(inputs):
        raise ZeroDivisionError(f"with {inputs['token']}")

    async with client(app) as http:
        with caplog.at_level(logging.ERROR):
            answer = await http.post("/", json={"name": "Ada", "token": "a-secret-of-mine"})
    assert answer.status_code == 500
    assert "ZeroDivisionError" not in answer.text
    number = re.search(r"unexpected error ([0-9a-f]{12})", answer.json()["detail"])[1]
    assert number in caplog.text
    assert "ZeroDivisionError: with ********" in caplog.text
    assert "a-secret-of-mine" not in caplog.text


@pytest.mark.parametrize("asked", ["endpoint", "lock", "lease"])
async def test_operators_read_what_was_raised_and_where_it_is_logged(app, caplog, asked):
    async def open_lock(fid, lid):
        return LockFacts("review")

    @app.enter("/", FORM)
    @app.lease("review")
    def boom(inputs):
        raise ZeroDivisionError(f"with {inputs['token']}\nand more")

    @app.lock("review")
    def form(inputs):
        return boom(inputs) if asked == "lock" else FORM

    where = "/" if asked == "endpoint" else "/_lock_/run/1"
    answers = {}
    for operator in (True, False):
        scope = {OPERATOR_SCOPE: operator, LOCK_FACTS_SCOPE: open_lock}
        async with client(app, **scope) as http:
            posted = {"name": "Ada", "token": "a-secret-of-mine"}
            answers[operator] = await http.post(where, json=posted)
    assert [answer.status_code for answer in answers.values()] == [500, 500]
    told = answers[True].json()["detail"]
    if asked == "lock":
        assert told.startswith("ZeroDivisionError: with ")
    else:
        assert told.startswith("ZeroDivisionError: with ******** (error ")
    assert "Zero" not in answers[False].text
    for answer in answers.values():
        number = re.search(r"error ([0-9a-f]{12})", answer.json()["detail"])[1]
        assert f"error {number} at {where}\nTraceback" in caplog.text


async def test_an_error_meant_for_people_is_told_to_them(app):
    @app.enter("/", FORM)
    def handler():
        raise KodosumiError("the archive is closed on Sundays")

    @app.enter("/http", FORM)
    def of_http():
        raise HTTPException(418, "a teapot", {"x-tea": "green"})

    async with client(app) as http:
        answer = await http.post("/", json={"name": "Ada"})
        number = re.compile(r" \(error [0-9a-f]{12} in the service's log\)")
        async with client(app, **{OPERATOR_SCOPE: True}) as operators:
            told = (await operators.post("/", json={"name": "Ada"})).json()["detail"]
        assert number.sub("", told) == "KodosumiError: the archive is closed on Sundays"
        teapot = await http.post("/http", json={"name": "Ada"})
    assert (answer.status_code, answer.json()["detail"]) == (
        500,
        "the archive is closed on Sundays",
    )
    assert (teapot.status_code, teapot.headers["x-tea"]) == (418, "green")
    assert teapot.json()["detail"] == "a teapot"


async def test_an_authors_own_exception_handler_is_used(app):
    class OutOfStockError(Exception): ...

    @app.exception_handler(OutOfStockError)
    async def told(request, exc):
        from fastapi.responses import PlainTextResponse

        return PlainTextResponse("out of stock", 409)

    @app.enter("/", FORM)
    def handler():
        raise OutOfStockError

    async with client(app) as http:
        answer = await http.post("/", json={"name": "Ada"})
    assert (answer.status_code, answer.text) == (409, "out of stock")


@pytest.mark.parametrize("answer", [None, {"fid": "x"}, "done"], ids=str)
async def test_a_handler_that_returns_no_launch_is_named(app, answer):
    @app.enter("/path", FORM)
    def careless():
        return answer

    async with client(app) as http:
        response = await http.post("/path", json={"name": "Ada"})
    assert response.status_code == 400
    assert response.json()["detail"] == (
        f"careless, the handler of /path, returned {type(answer).__name__}; it has to return a "
        "Launch or raise InputsError"
    )


async def test_a_launch_that_cannot_be_says_why(app):
    class Refused(FakeLaunch):
        async def go(self, endpoint):
            raise UnavailableLaunchError("Prefect does not answer")

    app.enter("/", FORM)(lambda request: Refused(request))
    app.post("/own", entry=True)(lambda: Refused(None))
    async with client(app) as http:
        for path in ("/", "/own"):
            answer = await http.post(path, json={"name": "Ada"})
            assert answer.status_code == 503
            assert answer.json()["detail"] == "Prefect does not answer"


async def test_fastapis_own_decorators_make_endpoints_too(app):
    made = []

    @app.post("/own", entry=True, summary="Own", tags=["t"], organization="an organization")
    async def own(request: Request):
        if (await request.json()).get("bad"):
            raise InputsError("no")
        made.append(FakeLaunch(request))
        return made[-1]

    @app.get("/plain", entry=True)
    async def plain():
        return {"x": 1}

    async with client(app) as http:
        assert (await http.post("/own", json={})).status_code == 200
        bad = await http.post("/own", json={"bad": 1})
        assert bad.json() == {"errors": {"_global_": ["no"]}, "elements": []}
        assert (await http.get("/plain")).json() == {"x": 1}
    endpoint = made[0].endpoint
    assert (endpoint.path, endpoint.summary, endpoint.tags) == ("/own", "Own", ("t",))
    assert endpoint.organization == "an organization"


async def test_what_the_panel_did_not_sign_is_refused_unless_its_network_is_trusted(app):
    called = []

    @app.enter("/", FORM)
    def handler(inputs):
        called.append(inputs)
        return FakeLaunch(None)

    app.post("/own", entry=True)(lambda: called.append(1))

    @app.get("/plain")
    def plain():
        return {"x": 1}

    transport = httpx.ASGITransport(app, client=("10.1.2.3", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
        for method, path in (("GET", "/"), ("POST", "/"), ("POST", "/own"), ("GET", "/_lock_/f/l")):
            answer = await http.request(method, path, json={"name": "Ada"})
            assert answer.status_code == 401, path
            assert "trusted_networks" in answer.json()["detail"]
        assert (await http.get("/openapi.json")).status_code == 200
        assert (await http.get("/plain")).json() == {"x": 1}
        assert not called
        with use_settings(Settings(trusted_networks=["10.0.0.0/8"])):
            assert (await http.post("/", json={"name": "Ada"})).json()["result"] == "fid-1"


def test_two_services_without_a_title_are_told_apart_by_their_modules(app):
    assert ServeAPI().service_name == __name__
    assert app.service_name == "Greeter"


async def test_a_service_can_be_pickled_for_ray_serve(app):
    @app.enter("/", FORM)
    def handler(inputs):
        return FakeLaunch(None)

    app.lock("question")(lambda: FORM)
    ensure_serialization_context()  # as serve.ingress does
    copy = cloudpickle.loads(cloudpickle.dumps(app))
    async with client(copy) as http:
        assert (await http.post("/", json={"name": "Ada"})).json()["result"] == "fid-1"


def test_what_is_no_form_is_refused_when_the_endpoint_is_made(app):
    with pytest.raises(TypeError, match=r"enter\('/'\) takes a form Model"):
        app.enter("/", [])


def test_an_option_that_no_launch_has_is_refused_when_the_endpoint_is_made(app):
    with pytest.raises(TypeError, match="retriez: not an option of a launch"):
        app.enter("/", FORM, retriez=3)
    with pytest.raises(TypeError, match="retriez: not an option of a launch"):
        app.post("/own", entry=True, retriez=3)


def test_templates_of_the_panel_come_first(tmp_path):
    (tmp_path / "base.html").write_text("mine")
    (tmp_path / "own.html").write_text("own {{ 1 + 1 }}")
    templates = Templates(directory=tmp_path)
    assert templates.get_template("own.html").render() == "own 2"
    assert "panel" in str(templates.get_template("base.html").filename)


def test_a_base_install_is_told_what_serving_needs(monkeypatch):
    import sys

    import kodosumi_prefect

    assert kodosumi_prefect.ServeAPI is ServeAPI
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [each for each in sys.modules if each.startswith("kodosumi_prefect.serve")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"install kodosumi-prefect\[serve\]"):
        kodosumi_prefect.ServeAPI
    with pytest.raises(AttributeError):
        kodosumi_prefect.nothing_like_it


def test_older_import_paths_still_work():
    from kodosumi_prefect.service.inputs import errors
    from kodosumi_prefect.service.inputs import forms as older

    assert older.InputText is forms.InputText
    assert older.Model is forms.Model
    assert errors.InputsError is InputsError
