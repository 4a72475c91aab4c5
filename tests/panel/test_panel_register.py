"""Where endpoints are found, and what becomes of them when their sources change or fail."""

import hashlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from kodosumi_prefect.panel.services.register import fetching
from kodosumi_prefect.panel.services.register.address import of_service
from kodosumi_prefect.panel.services.register.openapi import endpoints_of
from kodosumi_prefect.settings import Settings
from tests.panel import faulty_services as faults
from tests.panel.faulty_services import document, operation
from tests.panel.panel_runs import Stand, serving, until
from tests.panel.registering import Start, listed, register, rows, trouble


@pytest.fixture
def panel(settings: Settings) -> Iterator[Stand]:
    """A panel that looks at its sources all the time."""
    with serving(settings.model_copy(update={"register_interval": 0.2})) as stand:
        yield stand


def refused(panel: Stand, url: str) -> str:
    answer = panel.client.post("/flow/register", json={"url": url})
    assert answer.status_code == 422, answer.text
    line = str(answer.json()["detail"])
    assert "\n" not in line and len(line) < 1000
    return line


def where(url: str) -> str:
    """Host and port as they stand in the panel's paths."""
    host, _, port = url.removeprefix("http://").partition(":")
    return f"/-/{host}/{port}"


def test_the_marked_operations_of_a_document_become_endpoints(panel: Stand, start: Start):
    said = operation("Say hello", description="To all", tags=["demo"], deprecated=True)
    said |= {"x-author": "me@example.org", "x-organization": "Us", "x-version": "1.2"}
    paths = {
        "/": {"get": said, "post": {"x-kodosumi": False}},
        "/plain": {"get": {"summary": "Not marked"}, "post": operation("Marked here")},
        "/of/{somebody}": {"get": operation("Not of a fixed address")},
        "/unmarked": {"get": {}},
    }
    _, url = start(**{"openapi.json": document(paths)})
    hello, other = sorted(register(panel, f"{url}/openapi.json"), key=lambda e: -len(e["tags"]))
    path = f"{where(url)}/-/"
    assert hello == {
        "uid": hashlib.md5(path.encode()).hexdigest(),
        "method": "GET",
        "url": path,
        "source": f"{url}/openapi.json",
        "summary": "Say hello",
        "description": "To all",
        "deprecated": True,
        "author": "me@example.org",
        "organization": "Us",
        "version": "1.2",
        "tags": ["demo"],
        "base_url": url,
        "reachable": True,
        "kind": "openapi",
    }
    assert (other["method"], other["url"]) == ("POST", f"{where(url)}/-/plain")
    assert listed(panel) == sorted([hello, other], key=lambda e: e["summary"].lower())


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("http://localhost:8000", "/go", "/-/localhost/8000/-/go"),
        ("http://localhost:8000/", "/", "/-/localhost/8000/-/"),
        ("http://Host.example/a/b", "/c/d", "/-/host.example/80/a/b/-/c/d"),
        ("https://host.example/a", "/", "/-/host.example/443/a/-/"),
        ("http://[::1]:8000/a", "/go", "/-/::1/8000/a/-/go"),
        ("http://h:1", "/caf%C3%A9", "/-/h/1/-/caf%C3%A9"),
        ("http://h:1", "/café", "/-/h/1/-/caf%C3%A9"),
    ],
)
def test_an_endpoint_has_one_address(base: str, path: str, expected: str):
    assert of_service(base, path) == expected


@pytest.mark.parametrize(
    ("url", "servers", "base"),
    [
        ("http://h:1/openapi.json", None, "http://h:1"),
        ("http://h:1/a/openapi.json?x=/y", None, "http://h:1/a"),
        ("http://h:1/openapi.json", [{"url": "/a"}], "http://h:1/a"),
        ("http://h:1/a/openapi.json", [{"url": "/a"}], "http://h:1/a"),
        ("http://h:1/a/openapi.json", [{"url": "."}], "http://h:1/a"),
        ("http://h:1/openapi.json", [{"url": "http://h:1/b/"}], "http://h:1/b"),
        ("http://h/openapi.json", [{"url": "http://h:80/b"}], "http://h:80/b"),
        # Who calls is not sent to a host that only the document names.
        ("http://h:1/openapi.json", [{"url": "https://elsewhere.example/b"}], "http://h:1"),
        ("http://h:1/openapi.json", [{"url": "/{tenant}"}, {"url": 7}, None], "http://h:1"),
        ("http://h:1/openapi.json", [{"url": "http://[bad"}], "http://h:1"),
    ],
)
def test_an_app_lives_where_its_document_does_or_says(url: str, servers: Any, base: str):
    [found] = endpoints_of(url, document(servers=servers)).endpoints
    assert (found.base_url, found.target) == (base, f"{base}/go")


@pytest.mark.parametrize(
    "odd",
    [
        {"/go": {"get": operation(summary=None, tags="x", description=["y"], deprecated="yes")}},
        {"/go": {"get": operation("a\x00b\ud800", tags=[1, None, "ok"])}},
        {"/go": {"get": operation("s" * 10_000, description="d" * 100_000)}, "/no": 7, "": {}},
        {"/go": {"get": operation(7)}, "/other": {"get": "x"}, "/third": None},
    ],
)
def test_odd_documents_do_no_harm(panel: Stand, start: Start, odd: dict[str, Any]):
    _, url = start(**{"openapi.json": document(odd)})
    [found] = register(panel, f"{url}/openapi.json")
    assert found["url"] == f"{where(url)}/-/go"
    assert len(found["summary"] or "") <= 500 and len(found["description"] or "") <= 20_000


def test_ray_serves_routes_are_read_with_their_prefixes(panel: Stand, start: Start):
    service, url = start(
        **{
            "-/routes": {"/": "root", "/one": "first", "/two": "second", "/plain": "third"},
            "openapi.json": document({"/r": {"get": operation("Root")}}),
            "one/openapi.json": document(servers=[{"url": "/one"}]),
            "two/openapi.json": document(),
        }
    )
    found = register(panel, f"{url}/-/routes")
    assert sorted(each["url"] for each in found) == [
        f"{where(url)}/-/r",
        f"{where(url)}/one/-/go",
        f"{where(url)}/two/-/go",
    ]
    assert {each["kind"] for each in found} == {"routes"}
    # One application that fails leaves the others as they are, and its own endpoint is kept.
    service.answers["/two/openapi.json"] = faults.PlainTextResponse("no", 500)
    until(lambda: [e["reachable"] for e in listed(panel) if "/two/" in e["url"]] == [False])
    assert [e["reachable"] for e in listed(panel) if "/two/" not in e["url"]] == [True, True]
    assert "/two/openapi.json answered 500" in str(trouble(panel, f"{url}/-/routes"))
    # One that is undeployed is gone.
    service.answers["/-/routes"] = {"/": "root"}
    until(lambda: [e["summary"] for e in listed(panel)] == ["Root"])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (faults.page(), "web page"),
        (faults.PlainTextResponse("hello"), "not JSON"),
        (faults.PlainTextResponse("gone", 404), "404"),
        ([1, 2], "not an OpenAPI document"),
        ({"openapi": "3.1.0"}, "not an OpenAPI document"),
        ({"swagger": "2.0", "paths": {}}, "not an OpenAPI document"),
        (faults.large, "larger than 10 MB"),
        (faults.large_and_honest, "larger than 10 MB"),
        (faults.compressed(document()), "compressed"),
        (faults.redirect("/openapi.json"), "circle"),
        (faults.redirect("ftp://elsewhere.example/"), "not http"),
        (faults.redirect("file:///etc/passwd"), "not http"),
        (faults.PlainTextResponse("[" * 100_000), "not JSON"),
    ],
)
def test_what_is_no_document_is_refused_and_not_kept(
    panel: Stand, start: Start, answer: Any, said: str
):
    _, url = start(**{"openapi.json": answer})
    assert said in (line := refused(panel, f"{url}/openapi.json"))
    assert url in line
    assert url not in str(panel.json("/flow/register"))


@pytest.mark.parametrize("odd", ["\\u0000", "\\ud800"])
def test_a_document_with_text_that_cannot_be_kept_spoils_no_other_source(
    panel: Stand, start: Start, odd: str
):
    text = json.dumps(document({"/odd": {"get": operation()}})).replace("/odd", f"/o{odd}d")
    answer = faults.PlainTextResponse(text, media_type="application/json")
    _, url = start(**{"bad.json": answer, "openapi.json": document()})
    before = panel.client.post("/flow/register", json={"url": f"{url}/bad.json"})
    assert before.status_code < 500, before.text
    register(panel, f"{url}/openapi.json")
    assert panel.client.put("/flow/register").status_code == 200
    assert f"{url}/openapi.json" in [found["source"] for found in listed(panel)]


def test_too_many_redirects_are_too_many(panel: Stand, start: Start):
    hops = {f"{n}": faults.redirect(f"/{n + 1}") for n in range(1, 9)}
    _, url = start(**hops, **{"9": document()})
    assert "redirects more than 5 times" in refused(panel, f"{url}/1")
    [found] = register(panel, f"{url}/4")
    assert found["source"] == f"{url}/4"


@pytest.mark.parametrize(
    "url",
    [
        *("", " ", "nonsense", "ftp://h/openapi.json", "file:///etc/passwd", "http://", "//h/x"),
        *("http://h:99999/openapi.json", "http://[bad/openapi.json", "flows.review:app"),
        *("http://user:secret@h/openapi.json", "http://h:0/", "javascript:alert(1)"),
        "http://h/" + "x" * 1990 + "\N{SNOWMAN}",
    ],
)
def test_what_is_no_address_is_refused(panel: Stand, url: str):
    answer = panel.client.post("/flow/register", json={"url": url})
    assert answer.status_code == 422, answer.text
    assert "secret" not in answer.text
    kinds = [source["kind"] for source in panel.json("/flow/register")["sources"]]
    assert kinds == ["prefect"]


def test_of_several_sources_the_good_ones_are_kept(panel: Stand, start: Start):
    _, url = start(**{"openapi.json": document(), "page": faults.page()})
    urls = [f"{url}/openapi.json", f"{url}/page", "nonsense"]
    answer = panel.client.post("/flow/register", json={"url": urls})
    assert answer.status_code == 201
    assert [found["source"] for found in answer.json()] == [urls[0]]
    failed = json.loads(answer.headers["kodosumi-failed"])
    assert failed.keys() == set(urls[1:])
    assert "web page" in failed[urls[1]] and "not an http URL" in failed[urls[2]]
    assert [found["source"] for found in listed(panel)] == [urls[0]]


def test_a_source_that_is_away_is_kept_and_found_later(panel: Stand, start: Start):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    source = f"http://127.0.0.1:{port}/openapi.json"
    assert "cannot be reached" in (line := refused(panel, source)) and "it is kept" in line
    assert "cannot be reached" in str(trouble(panel, source))
    start(port, **{"openapi.json": document()})
    until(lambda: listed(panel))
    assert trouble(panel, source) is None


def test_sources_that_fail_keep_their_endpoints_which_come_back(
    panel: Stand, start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fetching, "DOCUMENT_ANSWER_SECONDS", 0.5)
    service, url = start(**{"openapi.json": document()})
    source = f"{url}/openapi.json"
    register(panel, source)
    for answer in (
        *(faults.page(), faults.hanging, faults.dripping, faults.large, {"openapi": 3}),
        *(faults.redirect("/openapi.json"), faults.PlainTextResponse("down", 503)),
    ):
        service.answers["/openapi.json"] = answer
        until(lambda: [each["reachable"] for each in listed(panel)] == [False])
        assert trouble(panel, source)
        answer = panel.json("/flow/register")
        assert answer["routes"] == [f"{where(url)}/-/go"]
        service.answers["/openapi.json"] = document()
        until(lambda: [each["reachable"] for each in listed(panel)] == [True])
        assert trouble(panel, source) is None


def test_an_endpoint_that_its_source_no_longer_names_is_gone(panel: Stand, start: Start):
    two = document({"/go": {"get": operation("Go")}, "/stay": {"get": operation("Stay")}})
    service, url = start(**{"openapi.json": two})
    register(panel, f"{url}/openapi.json")
    service.answers["/openapi.json"] = document({"/stay": {"get": operation("Stayed")}})
    until(lambda: [each["summary"] for each in listed(panel)] == ["Stayed"])
    assert panel.get(f"{where(url)}/-/go").status_code == 404
    service.answers["/openapi.json"] = two
    until(lambda: [each["summary"] for each in listed(panel)] == ["Go", "Stay"])


def test_all_sources_can_be_read_now(settings: Settings, start: Start):
    with serving(settings) as panel:  # which looks every 30 seconds by itself
        service, url = start(**{"openapi.json": document()})
        _, other = start(**{"openapi.json": document({"/x": {"get": operation("Other")}})})
        register(panel, f"{url}/openapi.json", f"{other}/openapi.json")
        service.answers["/openapi.json"] = document({"/new": {"get": operation("New")}})
        answer = panel.client.put("/flow/register").json()
    assert answer["deletes"] == [f"{where(url)}/-/go"]
    assert sorted(answer["summaries"]) == ["New", "Other"]
    assert sorted(answer["urls"]) == sorted([f"{where(url)}/-/new", f"{where(other)}/-/x"])
    mine = {f"{url}/openapi.json", f"{other}/openapi.json"}
    assert set(answer["sources"]) == {*mine, "prefect"}
    assert set(answer["connected"]) == mine


def test_one_service_under_two_addresses_is_one_endpoint(panel: Stand, start: Start):
    service, url = start(**{"openapi.json": document(), "again": document()})
    [first] = register(panel, f"{url}/openapi.json")
    [second] = register(panel, f"{url}/again")
    assert first == second
    assert len(listed(panel)) == 1
    # It stays while either names it, whatever becomes of the other.
    service.answers["/openapi.json"] = faults.page()
    until(lambda: [each["source"] for each in listed(panel)] == [f"{url}/again"])
    assert listed(panel)[0]["reachable"]
    answer = panel.client.post("/flow/unregister", json={"url": f"{url}/again"})
    assert answer.json() == {"deletes": [f"{url}/again"]}
    service.answers["/openapi.json"] = document()
    until(lambda: [each["source"] for each in listed(panel)] == [f"{url}/openapi.json"])


def test_services_with_one_summary_stand_side_by_side(panel: Stand, start: Start):
    urls = [start(**{"openapi.json": document()})[1] for _ in range(2)]
    found = register(panel, *(f"{url}/openapi.json" for url in urls))
    assert {each["summary"] for each in found} == {"Go"}
    assert len({each["uid"] for each in listed(panel)}) == 2


def test_the_list_is_searched_and_paged(panel: Stand, start: Start):
    paths = {
        f"/{n}": {"get": operation(f"{'bB'[n % 2]}ook {n % 10}", tags=[f"t{n % 3}", "all"])}
        for n in range(25)
    }
    paths["/odd"] = {"get": operation(None, description="100% ODD_thing", **{"x-author": "Zoë"})}
    _, url = start(**{"openapi.json": document(paths)})
    register(panel, f"{url}/openapi.json")
    seen, offset = [], None
    while True:
        query = {"pp": 7, **({"offset": offset} if offset else {})}
        page = panel.json("/flow", params=query)
        seen += page["items"]
        if (offset := page["offset"]) is None:
            break
        assert offset == seen[-1]["uid"] and len(page["items"]) == 7
    assert len({each["uid"] for each in seen}) == len(seen) == 26
    names = [(each["summary"] or "").lower() for each in seen]
    assert names == sorted(names)
    assert len(panel.json("/flow")["items"]) == 10
    assert [e["summary"] for e in listed(panel, q="odd_THING 100%")] == [None]
    assert len(listed(panel, q="zoë")) == 1
    assert len(listed(panel, q="BOOK t2")) == 8
    assert len(listed(panel, q="book nothing")) == 0
    assert len(listed(panel, q="\x00 ' \\ %")) == 0
    assert len(listed(panel, tag=["t2", "all"])) == 8
    assert panel.json("/flow/tags") == {"all": 25, "t0": 9, "t1": 8, "t2": 8}
    unknown = panel.json("/flow", params={"offset": "0" * 32})
    assert unknown == {"items": [], "offset": None}


@pytest.mark.parametrize("query", ["pp=0", "pp=501", "pp=x", "offset=no", "q=" + "x" * 1001])
def test_questions_that_make_no_sense_are_refused(panel: Stand, query: str):
    assert panel.get(f"/flow?{query}").status_code == 422


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"url": 7}', '{"url": [[]]}'])
def test_bodies_that_make_no_sense_are_refused(panel: Stand, body: str):
    for path in ("/flow/register", "/flow/unregister"):
        assert panel.client.post(path, content=body).status_code == 422


def test_everybody_may_look_and_operators_may_change(panel: Stand, start: Start):
    _, url = start(**{"openapi.json": document()})
    source = {"url": f"{url}/openapi.json"}
    somebody, nobody = panel.person("somebody").client, panel.connect()
    for client, looks, changes in (
        (nobody, 401, 401),
        (somebody, 200, 403),
        (panel.client, 200, 200),
    ):
        registered = client.post("/flow/register", json=source).status_code
        assert registered == (201 if changes == 200 else changes)
        assert client.put("/flow/register").status_code == changes
        for path in ("/flow", "/flow/tags", "/flow/register"):
            assert client.get(path).status_code == looks
        if client is not panel.client:
            assert client.post("/flow/unregister", json=source).status_code == changes
    assert len(listed(panel)) == 1


def test_unregistered_sources_are_forgotten(panel: Stand, start: Start):
    _, url = start(**{"openapi.json": document()})
    register(panel, f"{url}/openapi.json")
    urls = [f" {url}/openapi.json#x", "http://unknown.example/openapi.json"]
    answer = panel.client.post("/flow/unregister", json={"url": urls})
    assert answer.json() == {"deletes": [f"{url}/openapi.json"]}
    assert listed(panel) == []
    again = panel.client.post("/flow/unregister", json={"url": urls})
    assert again.status_code == 404 and "unknown.example" in again.json()["detail"]
    assert panel.client.post("/flow/unregister", json={"url": "prefect"}).status_code == 409


def test_several_panels_share_the_work(settings: Settings, start: Start):
    service, url = start(**{"openapi.json": document()})
    often = settings.model_copy(update={"register_interval": 1.0})
    with serving(often) as one, serving(often):
        register(one, f"{url}/openapi.json")
        until(lambda: len(service.asked) > 2)  # those that panels ask at their start
        before = checks(settings)
        asked = len(service.asked)
        until(lambda: checks(settings) > before)
        until(lambda: len(service.asked) >= asked + 4)
        [(elapsed,)] = rows(
            settings,
            "SELECT extract(epoch FROM checked_at) FROM kodosumi.source WHERE kind = 'openapi'",
        )
    # Four readings take two panels together at least three intervals, as they would take one.
    assert float(elapsed) - before >= 2.5


def checks(settings: Settings) -> float:
    query = "SELECT extract(epoch FROM checked_at) FROM kodosumi.source WHERE kind = 'openapi'"
    return float(rows(settings, query)[0][0])
