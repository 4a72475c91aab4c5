"""What people send is refused with a 4xx that names it, never answered with a fault of ours."""

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.core import ServeAPI, forms
from kodosumi_prefect.forms.bounds import DEEPEST
from kodosumi_prefect.launch.firing import When, timezones, upcoming
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.panel.schedules.preview import zones
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.panel.panel_runs import Stand, serving
from tests.serve.service_doubles import FakeLaunch, InPanel

HUGE = "9" * 30
ENDLESS = "9" * 400

# JSON that is read, and cannot be used.
BODIES = {
    "lists 300 deep": '{"%s": ' + "[" * 300 + "]" * 300 + "}",
    "objects 300 deep": '{"%s": ' + '{"a":' * 300 + "1" + "}" * 300 + "}",
    "lists 900 deep": '{"%s": ' + "[" * 900 + "]" * 900 + "}",
    "lists without an end": '{"%s": ' + "[" * 100_000,
    "a huge integer": f'{{"%s": {HUGE}}}',
    "an endless integer": f'{{"%s": {"9" * 5000}}}',
    "a float without an end": '{"%s": 1e400}',
    "no number": '{"%s": NaN}',
    "half a character": '{"%s": "a\\ud800b"}',
    "half a character in a key": '{"%s": {"\\udfff": 1}}',
    "a NUL character": '{"%s": "a\\u0000b"}',
    "a NUL character in a key": '{"a\\u0000b%s": 1}',
    "no UTF-8": '{"%s": "\udcff"}',
    "an array": "[[[[1]]]]",
    "nothing": "null",
}
# Fields of some route's body, so that what is in them is looked at.
FIELDS = ("url", "name", "password", "fid", "email", "active", "expires_days")
VALUES = (
    *(HUGE, ENDLESS, f"-{HUGE}", "1e400", "NaN", "9223372036854775808", "2147483648", "-1"),
    *("%00", "a%00b", "%ff%fe", "%ED%A0%80", "%", "%zz", "[[[[", "''", "0001-01-01", "99999-01-01"),
)
NAMES = ("after", "before", "around", "start", "since", "limit", "pp", "offset", "q", "page")
MORE = ("from", "to", "owner", "status", "tag", "kind", "kinds", "time", "pid", "role", "span")


@pytest.fixture(scope="module")
def stand(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A panel for this module, with an execution in it."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE attacked_by_input TEMPLATE template_kodosumi")
    url = SecretStr(make_conninfo(postgres.url, dbname="attacked_by_input"))
    with serving(Settings(database_url=url, data_dir=tmp_path_factory.mktemp("panel"))) as stand:
        run = stand.run()
        run.begin(a=1).finish()
        stand.fid = run.fid  # type: ignore[attr-defined]
        yield stand
        stand.close_runs()


def routes(stand: Stand, *methods: str) -> list[tuple[str, str]]:
    """The operations of the panel, with ids in their paths."""
    document = stand.client.get("/openapi.json").json()
    found = []
    for path, operations in document["paths"].items():
        for method in operations:
            endless = "stream" in path or path == "/changes"
            if method in methods and not endless and "/logout" not in path:
                filled = path.replace("{fid}", stand.fid)  # type: ignore[attr-defined]
                while "{" in filled:
                    name = filled[filled.index("{") + 1 : filled.index("}")]
                    filled = filled.replace(f"{{{name}}}", str(uuid4()))
                found.append((method, filled))
    assert len(found) > 5
    return found


def refused(answer: httpx.Response) -> bool:
    """Whether a request was answered without a fault of ours; Prefect and services are away."""
    return answer.status_code < 500 or answer.status_code in (502, 504)


@pytest.mark.parametrize("what", BODIES)
def test_no_body_is_answered_with_a_fault(
    stand: Stand, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for method, path in routes(stand, "post", "put", "patch"):
            for field in FIELDS:
                text = BODIES[what].replace("%s", field).encode("utf-8", "surrogateescape")
                answer = stand.client.request(
                    method, path, content=text, headers={"content-type": "application/json"}
                )
                assert refused(answer), (method, path, field, answer.text[:300])
                if "%s" not in BODIES[what]:
                    break
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("value", VALUES)
def test_no_query_is_answered_with_a_fault(stand: Stand, value: str) -> None:
    for _, path in routes(stand, "get"):
        query = "&".join(f"{name}={value}" for name in (*NAMES, *MORE))
        assert refused(answer := stand.client.get(f"{path}?{query}")), (path, answer.text[:300])
    for path in (f"/executions/{stand.fid}", "/executions", "/timeline/list"):  # type: ignore[attr-defined]
        for name in (*NAMES, *MORE):
            answer = stand.client.get(f"{path}?{name}={value}", headers={"accept": "text/html"})
            assert refused(answer), (path, name, answer.text[:300])
    for name in (*NAMES, *MORE, "since"):
        assert refused(answer := stand.client.get(f"/changes?wait=0&{name}={value}")), answer.text


@pytest.mark.parametrize(
    "fid", ["%00", "a%00b", "%ff", HUGE, "..", "%2e%2e%2f", "x" * 5000, "'", "[", "{fid}"]
)
def test_no_path_is_answered_with_a_fault(stand: Stand, fid: str) -> None:
    for _, path in routes(stand, "get"):
        answer = stand.client.get(path.replace(stand.fid, fid))  # type: ignore[attr-defined]
        assert refused(answer), (path, fid, answer.text[:300])
    for path in ("/-/", "/static/", "/services/", "/waiting/", "/lock/", "/users/"):
        assert refused(answer := stand.client.get(path + fid)), (path, answer.text[:300])


@pytest.mark.parametrize("cursor", ["x", HUGE, "-1", "1e9", "٣", "9223372036854775808", "1" * 8000])
def test_no_cursor_of_a_stream_is_answered_with_a_fault(stand: Stand, cursor: str) -> None:
    path = f"/outputs/stream/{stand.fid}"  # type: ignore[attr-defined]
    headers = [(b"last-event-id", cursor.encode())]
    with stand.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code in (200, 422, 431)
    with stand.client.stream("GET", f"{path}?after={quote(cursor)}") as answer:
        assert answer.status_code in (200, 422)


@pytest.mark.parametrize("value", ["%00", "a%00b", "%ff", HUGE, "1e400", "%ED%A0%80"])
def test_no_form_is_answered_with_a_fault(stand: Stand, value: str) -> None:
    for method, path in routes(stand, "post"):
        body = "&".join(f"{name}={value}" for name in (*FIELDS, "redirect", "fids", "action"))
        answer = stand.client.request(
            method,
            path,
            content=body,
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
        assert refused(answer), (path, answer.text[:300])


# Services.


def service() -> ServeAPI:
    app = ServeAPI(title="Attacked")

    @app.enter("/", forms.Model(forms.InputText("name"), forms.InputNumber("count")))
    def handle(inputs: dict[str, Any], request: Any) -> FakeLaunch:
        return FakeLaunch(request)

    @app.enter("/when", forms.Model(forms.InputText("name")))
    async def check(inputs: dict[str, Any], request: Any) -> FakeLaunch:
        await When.of(request.headers["x-kodosumi-schedule"])
        return FakeLaunch(request)

    return app


@pytest.fixture
def in_panel() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(InPanel(service()), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")


@pytest.mark.parametrize("what", BODIES)
async def test_no_body_of_a_service_is_answered_with_a_fault(
    in_panel: httpx.AsyncClient, settings: Settings, what: str
) -> None:
    for field in ("name", "count", "other"):
        text = BODIES[what].replace("%s", field).encode("utf-8", "surrogateescape")
        answer = await in_panel.post("/", content=text)
        assert answer.status_code < 500, answer.text
        if "deep" in what:
            assert answer.status_code == 422
            assert answer.json()["detail"] == f"{field}: is nested deeper than {DEEPEST} levels"


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("[" * 5000, "nested too deep"),
        ('{"a":' * 1500, "nested too deep"),
        (f'{{"interval": {ENDLESS}}}', "interval is 999"),
        (f'{{"interval": -{ENDLESS}}}', "interval is -999"),
        (f'{{"interval": {"9" * 5000}}}', "a schedule is JSON"),
        ('{"interval": NaN}', "interval is nan"),
        ('{"interval": 1e400}', "interval is inf"),
        ('{"interval": -3600}', "interval is -3600"),
        ('{"interval": ' + "[" * 900 + "]" * 900 + "}", "interval is ["),
        ('{"cron": ' + '{"a":' * 300 + "1" + "}" * 301, "cron is {"),
        ('{"cron": "99999999999999999999 * * * *"}', "is not valid"),
        ('{"cron": "*/0 * * * *"}', "is not valid"),
        ('{"cron": "0 0 31 2 *"}', "never fires"),
        ('{"cron": "\\u0000 * * * *"}', "is not valid"),
        ('{"cron": "0 0 * * *", "timezone": "localtime"}', "timezone 'localtime' is not known"),
        ('{"cron": "0 0 * * *", "timezone": "Factory"}', "timezone 'Factory' is not known"),
        ('{"interval": 3600, "timezone": "Factory"}', "timezone 'Factory' is not known"),
        ('{"interval": 3600, "timezone": "../../etc/passwd"}', "is not known"),
        ('{"interval": 3600, "name": "\\u0000"}', "name contains a NUL"),
        ('{"interval": 3600, "name": "\\ud800"}', "name contains half a character"),
        ('{"interval": 3600, "\\ud800": 1}', "has no"),
    ],
)
async def test_a_schedule_that_is_none_is_refused_by_its_name(
    in_panel: httpx.AsyncClient, settings: Settings, wanted: str, why: str
) -> None:
    answer = await in_panel.post("/when", json={}, headers={"x-kodosumi-schedule": wanted})
    assert answer.status_code == 422, answer.text
    assert why in answer.json()["detail"]
    assert len(answer.text) < 1000


async def test_all_time_zones_that_are_listed_are_those_that_prefect_takes() -> None:
    assert {"UTC", "Europe/Berlin", "America/New_York"} <= set(zones()) <= timezones()
    assert not {"Factory", "localtime"} & timezones()
    for zone in sorted(timezones()):
        when = await When.of({"cron": "30 12 * * *", "timezone": zone})
        assert len(await upcoming(when.schedule(), 2)) == 2
    with pytest.raises(LaunchError):
        await When.of({"cron": "30 12 * * *", "timezone": "localtime"})
