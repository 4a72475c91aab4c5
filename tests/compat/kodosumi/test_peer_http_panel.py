"""What Kodosumi's HTTP clients find at a panel of ours: addresses, status codes, bodies."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from kodosumi_prefect.core import forms
from kodosumi_prefect.events import serialize
from kodosumi_prefect.panel.web import kodosumi_pages
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document, operation
from tests.panel.impatient import impatient
from tests.panel.panel_runs import Run, Stand, serving
from tests.panel.test_panel_audit import routes

FORM_TYPE = "application/x-www-form-urlencoded"
FID = str(uuid4())
MODULE = f"""
from fastapi import FastAPI, Request
from kodosumi_prefect.core import InputsError, ServeAPI, forms as F

app = ServeAPI(title="Peers")
form = F.Model(F.InputText("name", "Name"), F.Submit("Go"))

@app.enter("/", form, summary="Says what it was given")
def says(inputs):
    raise InputsError(name=repr(inputs))

@app.enter("/deep/slashed/", form, summary="Slashed")
def slashed(inputs):
    raise InputsError(name=repr(inputs))

@app.enter("/nothing", form, summary="No launch")
def nothing(inputs):
    return None

# Not ours, and of an author who has two routes where others have one.
plain = FastAPI()
marked = {{"openapi_extra": {{"x-kodosumi": True}}}}

@plain.get("/run", **marked)
async def form_of_run():
    return {{"elements": []}}

@plain.post("/run")
async def run(request: Request):
    return {{"result": "{FID}", "elements": []}}

@plain.get("/raw", **marked)
async def raw(request: Request):
    return {{"path": request.url.path}}

@plain.post("/raw")
async def read(request: Request):
    body = await request.body()
    return {{"body": body.decode(), "type": request.headers.get("content-type")}}
"""
APP, PLAIN = "/-/panel/0/peers_module:app", "/-/panel/0/peers_module:plain"


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory, postgres: EmbeddedPostgres) -> Iterator[Stand]:
    """A panel that runs services of strangers."""
    folder = tmp_path_factory.mktemp("peers")
    (folder / "peers_module.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    settings = impatient(postgres, "of_peer_http_tests", tmp_path_factory.mktemp("panel"))
    services = ["peers_module:app", "peers_module:plain"]
    try:
        with serving(settings.model_copy(update={"services": services})) as stand:
            yield stand
            stand.close_runs()
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("peers_module", None)


def lock_of(stand: Stand, expires: float = 60.0) -> tuple[Run, str]:
    """A run that waits, and where its question is answered."""
    form = forms.Model(forms.InputText("word", "Word"))
    run, lid = stand.run().begin(), str(uuid4())
    told = {"name": "ask", "lid": lid, "data": None, "elements": form.get_model()}
    run.say("lock", serialize({**told, "expires": time.time() + expires}))
    return run, f"/lock/{run.fid}/{lid}"


# 5: status codes


def test_a_lock_that_was_answered_is_not_there_and_taken(peers: Stand):
    _, where = lock_of(peers)
    assert peers.get(where).status_code == 200
    assert peers.client.post(where, json={"word": "yes"}).json() == {"result": {"word": "yes"}}
    assert peers.get(where).status_code == 404
    assert peers.client.post(where, json={"word": "no"}).status_code == 409


def test_a_lock_that_expired_or_never_was_is_not_there(peers: Stand):
    run, expired = lock_of(peers, expires=-1.0)
    over, of_over = lock_of(peers)
    over.finish()
    unknown = (f"/lock/{run.fid}/unknown", f"/lock/{uuid4()}/x", "/lock/no-uuid/x")
    for where in (expired, of_over, *unknown):
        assert peers.get(where).status_code == 404, where
        assert peers.client.post(where, json={"word": "no"}).status_code == 404, where


def test_a_source_is_created_and_what_failed_is_in_a_header(peers: Stand):
    with served_app(Faulty(**{"openapi.json": document(), "bare.json": document({})}).app) as url:
        good, away = f"{url}/openapi.json", "http://127.0.0.1:9/openapi.json?token=hush"
        made = peers.client.post("/flow/register", json={"url": good})
        assert made.status_code == 201 and "kodosumi-failed" not in made.headers
        assert [one["source"] for one in made.json()] == [good]
        urls = [good, away, f"{url}/none.json", f"{url}/bare.json", "nonsense"]
        mixed = peers.client.post("/flow/register", json={"url": urls})
        assert mixed.status_code == 201 and len(mixed.json()) == 1
        failed = json.loads(mixed.headers["kodosumi-failed"])
        assert failed.keys() == {away.replace("token=hush", "…"), *urls[2:]}
        assert "answered 404" in failed[urls[2]] and "x-kodosumi" in failed[urls[3]]
        for wrong, why in (
            (urls[2], "answered 404"),
            (urls[3], "x-kodosumi"),
            (away, "it is kept"),
        ):
            refused = peers.client.post("/flow/register", json={"url": wrong})
            assert refused.status_code == 422 and why in refused.json()["detail"]
            assert len(json.loads(refused.headers["kodosumi-failed"])) == 1
        every = [good, away, urls[3]]
        removed = peers.client.post("/flow/unregister", json={"url": [*every, "http://x/"]})
        assert removed.json() == {"deletes": sorted(every)}
        assert peers.client.post("/flow/unregister", json={"url": every}).status_code == 404
    assert peers.client.post("/flow/register", json={"url": []}).status_code == 201


def test_the_header_of_what_failed_stays_a_short_line_of_ascii(peers: Stand):
    urls = [f"ftp://h\N{SNOWMAN}/{'é' * 300}\n{n}" for n in range(100)]
    refused = peers.client.post("/flow/register", json={"url": urls})
    assert refused.status_code == 422
    header = refused.headers["kodosumi-failed"]
    assert header.isascii() and header.isprintable() and len(header) <= 4096
    failed = json.loads(header)
    assert int(failed.pop("…").removesuffix(" more")) + len(failed) == 100


@pytest.mark.parametrize("fid", ["no-uuid", "65f1", "%00", "None"])
def test_what_is_no_fid_is_not_there(peers: Stand, fid: str):
    asked = [
        (method, route.path.replace("{fid}", fid))
        for route in routes(peers.app.routes)
        if "{fid}" in getattr(route, "path", "")
        for method in route.methods
    ]
    assert len(asked) > 25
    wrong = []
    for method, path in asked:
        path = path.replace("{lid}", "x").replace("{named}", "x")
        answer = peers.client.request(method, path, data={} if method == "POST" else None)
        if answer.status_code != 404:
            wrong.append((method, path, answer.status_code))
    assert wrong == []
    assert peers.client.request("DELETE", "/outputs", json={"fid": [fid]}).status_code == 404


def test_roles_are_answered_as_kodosumi_answers_them(peers: Stand):
    whole = {"name": "newuser", "email": "New@example.com", "password": "securepassword"}
    for missing in whole:
        body = {name: value for name, value in whole.items() if name != missing}
        refused = peers.client.post("/role", json=body)
        assert refused.status_code == 400 and missing in refused.json()["detail"]
    assert peers.client.post("/role", json=whole | {"email": "no mail"}).status_code == 400
    made = peers.client.post("/role", json=whole)
    assert made.status_code == 201
    role = made.json()
    assert (role["name"], role["email"], role["active"]) == ("newuser", "New@example.com", True)
    assert peers.client.post("/role", json=whole).status_code == 409
    where = f"/role/{role['id']}"
    for change in ({"email": None, "active": None}, {}, {"name": "newer", "email": None}):
        assert peers.client.put(where, json=change).json()["email"] == "New@example.com"
    assert peers.client.put(where, json={"email": ""}).json()["email"] is None
    assert peers.client.delete(where).status_code == 204
    for method, path in (("GET", "/role/newer"), ("GET", where), ("PUT", where), ("DELETE", where)):
        gone = peers.client.request(method, path, json={} if method == "PUT" else None)
        name = path.rpartition("/")[2]
        assert (gone.status_code, gone.json()["detail"]) == (404, f"role {name} not found")
    for method in ("PUT", "DELETE"):
        answer = peers.client.request(method, "/role/zzz", json={} if method == "PUT" else None)
        assert answer.status_code == 404


def test_a_handler_that_returns_no_launch_is_a_bad_request(peers: Stand):
    answer = peers.client.post(f"{APP}/-/nothing", json={"name": "x"})
    assert answer.status_code == 400 and "nothing" in answer.json()["detail"]


# 5: slashes


def test_paths_answer_with_and_without_a_slash_at_their_end(peers: Stand):
    for path in ("/flow", "/role", "/timeline/list", "/flow/tags", "/health", "/services", "/docs"):
        for spelling in (path, f"{path}/"):
            assert peers.get(f"{spelling}?pp=1").status_code == 200, spelling
    nobody = peers.connect()
    for path in ("/livez/", "/readyz/", "/schema/openapi.json/"):
        assert nobody.get(path).status_code in (200, 302), path
    assert nobody.get("/flow/").status_code == 401
    body = {"url": "http://127.0.0.1:9/none.json"}
    assert peers.client.post("/flow/register/", json=body).status_code == 422
    assert peers.client.post("/flow/unregister/", json=body).status_code == 200
    assert peers.client.put("/flow//").status_code == 404
    assert peers.client.patch("/flow/").status_code == 405


def test_a_slash_opens_nothing_that_is_closed(peers: Stand):
    mira = peers.person("Mira of the slashes")
    browser = peers.connect()
    browser.cookies.set("kodosumi_jwt", mira.cookie)
    for path in ("/logout", "/logout/"):
        assert browser.get(path, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert browser.get("/timeline/list/").status_code == 200
    for path in ("/role/", "/deploy/"):
        assert mira.client.get(path).status_code == 403


def test_entries_of_services_answer_with_and_without_their_slash(peers: Stand):
    for base, path in ((APP, "/"), (APP, "/deep/slashed/"), (PLAIN, "/raw")):
        for spelling in {path.rstrip("/"), f"{path.rstrip('/')}/"}:
            assert peers.get(f"{base}/-{spelling}").status_code == 200, spelling
    # Services hear the path that they have, as they have it.
    for spelling in ("/raw", "/raw/"):
        assert peers.get(f"{PLAIN}/-{spelling}").json() == {"path": "/raw"}


# 6: bodies


@pytest.mark.parametrize("kind", [FORM_TYPE, "text/plain", "application/octet-stream", None])
def test_json_is_read_as_json_whatever_it_is_called(peers: Stand, kind: str | None):
    headers = {} if kind is None else {"content-type": kind}

    def post(path: str, body: Any, method: str = "POST") -> httpx.Response:
        content = f" \n{json.dumps(body)}".encode()
        return peers.client.request(method, path, content=content, headers=headers)

    answer = post(f"{APP}/-/", {"name": "Ada & Co = {1}"}).json()
    assert "Ada & Co = {1}" in answer["errors"]["name"][0]
    answer = post(f"/inputs{APP}/-/", {"name": "by page"})
    assert "by page" in answer.text
    run, where = lock_of(peers)
    assert post(where, {"word": "a=b"}).json() == {"result": {"word": "a=b"}}
    assert post("/flow/register", {"url": "nonsense"}).status_code == 422
    run.finish()
    assert post("/outputs", {"fid": [run.fid]}, "DELETE").json()["deletes"] == [run.fid]
    name = f"of {kind}".replace("/", " ")
    role = {"name": name, "email": None, "password": "securepassword"}
    assert post("/role", role).json()["name"] == name
    credentials = json.dumps({"name": name, "password": "securepassword"}).encode()
    for path in ("/login", "/login/", "/api/login"):
        signed_in = peers.connect().post(path, content=credentials, headers=headers)
        assert signed_in.json()["name"] == name and signed_in.json()["KODOSUMI_API_KEY"]
        assert post(path, {"name": 7}).status_code == 422
    # What is passed on is passed on as it was.
    passed = peers.client.post(f"{PLAIN}/-/raw", content=b'{"a": 1}', headers=headers).json()
    assert passed == {"body": '{"a": 1}', "type": kind}


def test_forms_stay_forms(peers: Stand):
    for value in ("{}", '{"a": 1}', "[1]", "a=b"):
        answer = peers.client.post(f"{APP}/-/", data={"name": value}).json()
        assert value in answer["errors"]["name"][0].replace("\\", "")
        answer = peers.client.post(f"{APP}/-/", files={"name": (None, value)}).json()
        assert value in answer["errors"]["name"][0].replace("\\", "")
    broken = peers.client.post(f"{APP}/-/", content=b'{"a"', headers={"content-type": FORM_TYPE})
    assert broken.status_code == 400 and "not JSON" in broken.json()["detail"]


@pytest.mark.parametrize("kind", [FORM_TYPE, "text/plain", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("site", [{"origin": "https://elsewhere.example"}, {"origin": "null"}])
def test_json_of_another_site_s_page_is_refused_under_any_name(
    peers: Stand, kind: str, site: dict[str, str]
):
    browser = peers.connect()
    browser.cookies.set("kodosumi_jwt", peers.cookie)
    changes = (
        *("/role", "/role/", "/keys", "/flow/register", "/flow/register/", f"{APP}/-/"),
        *(f"/inputs{APP}/-/", f"/inputs/lock/{FID}/x", f"/lock/{FID}/x/", "/login/"),
    )
    for path in changes:
        headers = {"content-type": kind, **site}
        answer = browser.post(path, content=b'{"name": "x"}', headers=headers)
        assert answer.status_code == 403, path
        assert "another site" in answer.json()["detail"]


# 7: page addresses


def test_addresses_of_kodosumi_s_pages_lead_to_ours(peers: Stand):
    run, where = lock_of(peers)
    uid = {one["url"]: one["uid"] for one in peers.json("/flow", params={"pp": 50})["items"]}
    leads = {
        **{address: f"/{page}" for address, page in kodosumi_pages.PAGES.items()},
        f"/admin/status/view/{run.fid}": f"/executions/{run.fid}",
        f"/inputs{where}": where.replace("/lock/", "/waiting/"),
        f"/inputs{APP}/-/": f"/services/{uid[f'{APP}/-/']}",
        f"/inputs{APP}/-": f"/services/{uid[f'{APP}/-/']}",
    }
    for address, page in leads.items():
        for query in ("", "?q=a%20b"):
            answer = peers.get(address + query)
            assert (answer.status_code, answer.headers["location"]) == (302, page + query)
        followed = peers.get(page, headers={"accept": "text/html"})
        assert followed.status_code == 200 and "<html" in followed.text
    for address in ("/inputs/-/host/1/-/x", "/inputs/lock/x/y", "/admin/status/view/x"):
        assert peers.get(address).status_code == 404
    nobody = peers.connect().get("/admin/flow", headers={"accept": "text/html"})
    assert nobody.headers["location"] == "/login?redirect=/admin/flow"


def test_what_is_posted_to_kodosumi_s_pages_launches_and_answers(peers: Stand):
    done = peers.client.post(f"/inputs{PLAIN}/-/run", data={"a": "1"})
    assert (done.status_code, done.headers["location"]) == (302, f"/executions/{FID}")
    wrong = peers.client.post(f"/inputs{APP}/-/", data={"name": "kept"})
    assert wrong.status_code == 422 and "kept" in wrong.text and "<html" in wrong.text
    run, where = lock_of(peers)
    done = peers.client.post(f"/inputs{where}", data={"word": "yes"})
    assert (done.status_code, done.headers["location"]) == (302, f"/executions/{run.fid}")
    assert peers.get(where).status_code == 404


def test_the_schema_is_found_by_everybody(peers: Stand):
    nobody = peers.connect()
    assert nobody.get("/schema").headers["location"] == "/docs"
    assert nobody.get("/schema", follow_redirects=True).status_code == 200
    schema = nobody.get("/schema/openapi.json", follow_redirects=True).json()
    assert {"get", "post"} <= schema["paths"]["/logout"].keys()


# The rows of Ray Serve and of files


def test_applications_of_ray_serve_are_listed_with_their_status(
    peers: Stand, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RAY_DASHBOARD_ADDRESS", raising=False)
    assert peers.json("/deploy") == {}
    one = document({"/go": {"get": operation("Of Serve")}})
    serve = Faulty(**{"-/routes": {"/one": "one"}, "one/openapi.json": one})
    told = {
        "status": "UNHEALTHY",
        "message": "no room",
        "route_prefix": "/one",
        "deployments": {"Part": {"status": "UPDATING"}},
    }
    dashboard = Faulty(**{"api/serve/applications/": {"applications": {"one": told}}})
    with served_app(serve.app) as url, served_app(dashboard.app) as ray:
        source = {"url": f"{url}/-/routes"}
        assert peers.client.post("/flow/register", json=source).status_code == 201
        assert peers.json("/deploy") == {"one": "RUNNING"}
        monkeypatch.setenv("RAY_DASHBOARD_ADDRESS", ray)
        assert peers.json("/deploy") == {"one": "UNHEALTHY"}
        whole = {"name": "one", **told, "deployments": {"Part": "UPDATING"}}
        assert peers.json("/deploy/one") == whole
        assert peers.get("/deploy/two").status_code == 404
        peers.client.post("/flow/unregister", json=source)
    assert peers.get("/deploy").status_code == 502
    assert peers.person("who may not look").client.get("/deploy").status_code == 403


def test_what_is_not_done_here_says_what_to_do_instead(peers: Stand):
    for method in ("POST", "DELETE"):
        for path in ("/deploy", "/deploy/x", "/serve", "/serve/"):
            answer = peers.client.request(method, path, content=b"name: x")
            assert answer.status_code == 410 and "serve deploy" in answer.json()["detail"]
