"""Small leaks: crooked paths in the register, cursors that tell, and answers that caches keep."""

from collections.abc import Iterator
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from starlette.responses import JSONResponse

from kodosumi_prefect.panel.services.forwarded_headers import response_headers
from kodosumi_prefect.panel.services.register.address import LONGEST, objection
from kodosumi_prefect.panel.services.register.openapi import endpoints_of
from kodosumi_prefect.panel.services.register.reading import SourceError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.answering import locks
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document, operation
from tests.panel.panel_runs import Stand, serving
from tests.panel.test_panel_waiting_page import asking

CROOKED = [
    "/../admin",
    "/a/../../b",
    "/a/..",
    "/./a",
    "/%2e%2e/a",
    "/%2E./a",
    "/%252e%252e/a",
    "/a%2f..%2fb",
    "//elsewhere.example/a",
    "/a//b",
    "/a%2f%2fb",
    "/a\\b",
    "/a%5cb",
    "/a\x00b",
    "/a%0d%0ab",
    "/a\u202eb",
    "/a?b=c",
    "/a#b",
    "/" + "x" * LONGEST,
    "/" + "x" * 3_000_000,
    "/%25252525252525252525252e/a",
]


@pytest.fixture(scope="module")
def stand(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_small TEMPLATE template_kodosumi")
    url = SecretStr(make_conninfo(postgres.url, dbname="of_small"))
    with serving(Settings(database_url=url, data_dir=tmp_path_factory.mktemp("small"))) as made:
        yield made


@pytest.mark.parametrize("path", CROOKED, ids=lambda path: repr(path[:24]))
def test_a_crooked_path_is_left_out_with_the_reason(path: str) -> None:
    url = "http://h:1/openapi.json"
    paths = {"/go": {"get": operation("Go")}, path: {"get": operation("Bad")}}
    reading = endpoints_of(url, document(paths))
    assert [found.target for found in reading.endpoints] == ["http://h:1/go"]
    assert reading.trouble is not None and len(reading.trouble) < 400
    with pytest.raises(SourceError, match="not registered"):
        endpoints_of(url, document({path: paths[path]}))


@pytest.mark.parametrize("path", CROOKED, ids=lambda path: repr(path[:24]))
def test_nor_can_an_app_live_there(path: str) -> None:
    if "?" in path or "#" in path:
        return  # taken off
    with pytest.raises(SourceError, match="path"):
        endpoints_of("http://h:1/openapi.json", document(servers=[{"url": f"http://h:1{path}"}]))


@pytest.mark.parametrize(
    "path", ["", "/", "/go", "/go/", "/a.b/..c/d..", "/caf%C3%A9", "/café", "/a b", "/100%", "/-/x"]
)
def test_straight_paths_are_taken(path: str) -> None:
    assert objection(path) is None


def test_the_register_says_which_paths_it_does_not_take(stand: Stand) -> None:
    paths = {path: {"get": operation("Bad")} for path in CROOKED}
    service = Faulty(
        **{
            "openapi.json": document(paths | {"/go": {"get": operation("Go")}}),
            "bad/openapi.json": document(paths),
        }
    )
    with served_app(service.app) as url:
        added = stand.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
        assert [item["url"].rpartition("/-/")[2] for item in added.json()] == ["go"]
        (source,) = [one for one in stand.json("/flow/register")["sources"] if url in str(one)]
        assert "not registered" in str(source)
        for crooked in (f"{url}/bad/openapi.json", f"{url}/%2e%2e/openapi.json"):
            refused = stand.client.post("/flow/register", json={"url": crooked})
            assert refused.status_code == 422
            assert "path" in refused.json()["detail"]
            assert len(refused.text) < 2000


def test_a_cursor_that_may_not_be_seen_is_as_one_that_is_not_there(stand: Stand) -> None:
    ann, ben = (stand.person(f"{name} {uuid4().hex[:6]}") for name in ("Ann", "Ben"))
    theirs = asking(stand, "secret", owner=ben.id)
    nobodys = stand.run().begin()
    own = [asking(stand, "mine", owner=ann.id) for _ in range(2)]
    for path in (
        "/timeline/list?offset={}",
        "/executions?before={}",
        "/executions?after={}",
        "/executions?fragment=true&before={}",
    ):

        def answered(fid: str, path: str = path) -> tuple[int, str]:
            answer = ann.client.get(path.format(fid))
            return answer.status_code, answer.text.replace(fid, "FID")

        unknown = answered(str(uuid4()))
        assert unknown[0] == 422
        assert answered(theirs.fid) == unknown, path
        assert answered(nobodys.fid) == unknown, path
        assert answered(own[0].fid)[0] == 200
        assert stand.get(path.format(theirs.fid)).status_code == 200

    def acted(fid: str) -> tuple[int, str]:
        wish = {"action": "archive", "before": fid}
        answer = ann.client.post("/executions/bulk", json=wish)
        return answer.status_code, answer.text.replace(fid, "FID")

    assert acted(theirs.fid) == acted(str(uuid4()))

    def waiting(lid: str) -> str:
        page = ann.client.get(f"/waiting?before={lid}")
        assert page.status_code == 200
        return page.text.replace(lid, "LID")

    older = asking(stand, "older", owner=ann.id)  # stands above: newer than theirs
    their_lid = locks(stand.database, theirs.fid, None)[0]["lid"]
    assert waiting(their_lid) == waiting(str(uuid4()))
    own_lid = locks(stand.database, older.fid, None)[0]["lid"]
    assert "mine" in waiting(own_lid)
    stand.close_runs()


@pytest.mark.parametrize("said", ["public, max-age=31536000", "private", "no-cache", None])
def test_what_a_service_answers_is_kept_by_no_cache(stand: Stand, said: str | None) -> None:
    kept = {"Expires": "Thu, 01 Dec 2099 16:00:00 GMT", "Age": "1", "Pragma": "public"}
    kept |= {"CDN-Cache-Control": "public", "Surrogate-Control": "max-age=9"}
    headers = kept | ({"Cache-Control": said} if said else {})
    service = Faulty(**{"openapi.json": document(), "go": JSONResponse({}, headers=headers)})
    with served_app(service.app) as url, httpx.Client(base_url=url) as _:
        found = stand.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
        answer = stand.get(found.json()[0]["url"])
        assert answer.status_code == 200
        assert answer.headers.get_list("cache-control") == ["no-store"]
        assert not set(kept) & set(answer.headers)
        for name in kept:
            assert name not in answer.headers


def test_only_headers_that_are_known_pass() -> None:
    many = [(f"x-thing-{number}".encode(), b"1") for number in range(50)]
    many += [(b"set-cookie", b"a=b"), (b"cache-control", b"public"), (b"content-type", b"text/csv")]
    names = {name for name, _ in response_headers(many)}
    assert names == {b"content-type", b"content-security-policy", b"cache-control"}
