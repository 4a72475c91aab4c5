"""A slash at the end of a service's paths makes no difference, unless its author made one."""

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request

from kodosumi_prefect.core import ServeAPI, forms
from tests.serve.service_doubles import FakeLaunch, InPanel

FORM = forms.Model(forms.InputText("name", "Name"))


def client(app):
    transport = httpx.ASGITransport(InPanel(app))
    return httpx.AsyncClient(transport=transport, base_url="http://service")


@pytest.fixture
def app():
    app = ServeAPI(title="Spelled")
    for path in ("/", "/plain", "/slashed/"):

        @app.enter(path, FORM)
        def launch(inputs, request: Request):
            return FakeLaunch(request, inputs=inputs)

    @app.get("/two")
    async def two():
        return "without"

    @app.get("/two/")
    async def two_slashed():
        return "with"

    @app.get("/methods/")
    async def read():
        return "read"

    @app.post("/methods")
    async def written():
        return "written"

    @app.get("/any/{rest:path}")
    async def anything(rest: str, request: Request):
        return [rest, request.scope["raw_path"].decode()]

    router = APIRouter(prefix="/included")

    @router.get("/inner")
    async def inner():
        return "inner"

    app.include_router(router)
    # An app of somebody else, which would redirect.
    other = FastAPI()

    @other.get("/leaf/")
    async def leaf():
        return "leaf"

    @other.post("/post")
    async def posted(request: Request):
        return (await request.body()).decode()

    app.mount("/below", other)
    return app


@pytest.mark.parametrize("path", ["/", "/plain", "/plain/", "/slashed", "/slashed/"])
async def test_entries_have_their_form_and_launch_under_both(app, path):
    async with client(app) as http:
        assert (await http.get(path)).json()["elements"] == FORM.get_model()
        assert (await http.post(path, json={"name": "x"})).json()["result"] == "fid-1"


async def test_routes_that_differ_in_the_slash_alone_stay_two(app):
    async with client(app) as http:
        assert (await http.get("/two")).json() == "without"
        assert (await http.get("/two/")).json() == "with"
        for path in ("/methods", "/methods/"):
            assert (await http.get(path)).json() == "read"
            assert (await http.post(path)).json() == "written"
            assert (await http.put(path)).status_code == 405


async def test_a_route_of_any_path_gets_it_as_it_came(app):
    async with client(app) as http:
        assert (await http.get("/any/a%20b/")).json() == ["a b/", "/any/a%20b/"]
        assert (await http.get("/any/a")).json() == ["a", "/any/a"]


async def test_routes_that_are_included_or_mounted_answer_under_both(app):
    async with client(app) as http:
        for path in ("/included/inner", "/included/inner/"):
            assert (await http.get(path)).json() == "inner"
        for path in ("/below/leaf", "/below/leaf/"):
            assert (await http.get(path)).json() == "leaf"
        for path in ("/below/post", "/below/post/"):
            assert (await http.post(path, content=b"kept")).json() == "kept"


@pytest.mark.parametrize("path", ["/nowhere", "/nowhere/", "/plain//", "/below/none/"])
async def test_what_is_nowhere_is_nowhere(app, path):
    async with client(app) as http:
        assert (await http.get(path)).status_code == 404
