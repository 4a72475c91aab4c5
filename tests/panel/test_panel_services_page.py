"""Services as pages: found, launched, scheduled, and launched again."""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import prefect
import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.events import serialize
from kodosumi_prefect.launch.masking import MASK
from kodosumi_prefect.panel.executions.run_again import again_url, again_urls, filled
from kodosumi_prefect.panel.services import cards
from kodosumi_prefect.settings import Settings, use_settings, write_address
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stream.reader import Reader
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document, hanging, operation
from tests.panel.panel_runs import Stand, serving, until
from tests.panel.registering import Start
from tests.prefect_http import ask_prefect
from tests.services import Place, record_prefect
from tests.spooler.recording import execute

TIMEOUT = 3.0  # seconds that the panel waits for a service
HTMX = {"hx-request": "true"}
HTML = {"accept": "text/html"}
ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
ELEMENTS = [
    {"type": "text", "name": "name", "label": "Name", "required": True},
    {"type": "password", "name": "code", "label": "Code"},
    {"type": "boolean", "name": "loud", "option": "Loud", "value": True},
    {"type": "select", "name": "kind", "option": [{"type": "option", "name": n} for n in "ab"]},
]


@pytest.fixture
def panel(settings: Settings) -> Iterator[Stand]:
    with serving(settings.model_copy(update={"service_timeout": TIMEOUT})) as stand:
        yield stand


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One panel for tests that look at one service only."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_services_page TEMPLATE template_kodosumi")
    url = SecretStr(make_conninfo(postgres.url, dbname="of_services_page"))
    folder = tmp_path_factory.mktemp("services_page")
    with serving(Settings(database_url=url, data_dir=folder, service_timeout=TIMEOUT)) as stand:
        yield stand


class Remote:
    """A service on its own address, and its endpoint ``/go``."""

    def __init__(self, panel: Stand, stack: ExitStack, **paths: Any) -> None:
        self.service = Faulty(**{"openapi.json": document(paths or None)})
        self.url = stack.enter_context(served_app(self.service.app))
        source = {"url": f"{self.url}/openapi.json"}
        self.found = panel.client.post("/flow/register", json=source).json()
        self.uid = str(self.found[0]["uid"])
        self.page = f"/services/{self.uid}"

    def answer(self, value: Any) -> None:
        self.service.answers["/go"] = value


@pytest.fixture
def remote(panel: Stand) -> Iterator[Remote]:
    with ExitStack() as stack:
        made = Remote(panel, stack)
        made.answer({"elements": ELEMENTS})
        yield made


@pytest.fixture
def single(shared: Stand) -> Iterator[Remote]:
    with ExitStack() as stack:
        made = Remote(shared, stack)
        made.answer({"elements": ELEMENTS})
        yield made


def field(html: str, name: str) -> str:
    """The tag of a field."""
    tag = rf'<(?:input|textarea|select)[^>]* name="(?:field\.)?{re.escape(name)}"[^>]*>'
    found = re.search(tag, html)
    assert found is not None, name
    return found[0]


def names(html: str) -> list[str]:
    """The services that a list shows, in its order."""
    return re.findall(r'<td role="cell" class="name">\s*<a [^>]+>([^<]+)</a>', html)


def tags_of(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """All tags with their attributes, as a browser takes them."""
    found: list[tuple[str, dict[str, str | None]]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Tags().feed(html)
    return found


def test_without_services_the_list_says_how_to_get_some(panel: Stand) -> None:
    text = panel.get("/services").text
    assert "No services yet" in text and "kodosumi-prefect up --service" in text
    assert 'href="/system"' in text
    person = panel.person("visitor").client.get("/services").text
    assert "ask an operator" in person and 'href="/system">System</a>, or' not in person


def test_the_list_is_searched_filtered_and_paged_by_its_address(panel: Stand) -> None:
    paths = {
        f"/e{n}": {"get": operation(f"Endpoint {n:02}", tags=["even"] if n % 2 == 0 else ["odd"])}
        for n in range(40)
    }
    paths["/x"] = {
        "get": operation("Other", tags=["even", "a & b"], description="First.\n\nNot shown.")
    }
    with ExitStack() as stack:
        remote = Remote(panel, stack, **paths)
        text = panel.get("/services").text
        assert names(text) == [f"Endpoint {n:02}" for n in range(30)]
        counts = re.findall(r'class="pick" href="([^"]+)"[^>]*>([^<]+)<span[^>]*>(\d+)', text)
        assert [(name, int(count)) for _, name, count in counts] == [
            ("even", 21),
            ("odd", 20),
            ("a &amp; b", 1),
        ]
        following = re.search(r'href="([^"]+)" rel="next"', text)
        assert following is not None
        text = panel.get(unescape(following[1])).text
        assert names(text) == [*(f"Endpoint {n:02}" for n in range(30, 40)), "Other"]
        assert 'rel="next"' not in text and ">First</a>" in text
        text = panel.get(unescape(counts[2][0])).text
        assert names(text) == ["Other"]
        assert 'aria-current="true">a &amp; b' in text
        assert "First." in text and "Not shown." not in text
        # Letters only: digits may stand in the service's port.
        assert names(panel.get("/services", params={"q": "THER shown"}).text) == ["Other"]
        both = panel.get("/services", params={"q": "endpoint", "tag": ["even", "odd"]}).text
        assert "No service contains all of “endpoint” with tags even, odd" in both
        assert names(both) == []
        assert remote.url in text and "reachable" not in text  # nothing is said while all is well
        text = panel.get("/services", params={"schedule": "true"}).text
        assert (
            len(re.findall(r'data-open href="/services/\w+\?schedule=true#schedule"', text)) == 30
        )
        following = re.search(r'href="([^"]+)" rel="next"', text)
        assert following is not None and "schedule=true" in following[1]
    for wrong in ({"after": "x"}, {"after": "'; drop"}, {"q": "x" * 1001}):
        assert panel.get("/services", params=wrong).status_code == 422


def test_a_source_that_is_away_is_shown_with_since_when(panel: Stand, remote: Remote) -> None:
    assert "unreachable" not in panel.get("/services").text
    execute(panel.database, "UPDATE kodosumi.source SET trouble = 'it is off'")
    execute(panel.database, "UPDATE kodosumi.endpoint SET reachable = false")
    text = panel.get("/services").text
    assert re.search(r'title="it is off"><svg.*?</svg>unreachable since <time datetime="20', text)
    assert "unreachable since" in panel.get(remote.page).text


def test_only_runs_that_one_may_see_are_the_last(panel: Stand, remote: Remote) -> None:
    assert "not yet" in panel.get("/services").text
    ann, ben = panel.person("ann"), panel.person("ben")
    mine = panel.run(flow_name="t-go", app_url=remote.url, owner=ann.id).begin().finish()
    other = panel.run(flow_name="t-go", app_url=remote.url, owner=ben.id).begin().fail()
    for client, run, status in ((ann.client, mine, "finished"), (ben.client, other, "error")):
        for path in ("/services", remote.page):
            text = client.get(path).text
            assert f'href="/executions/{run.fid}"' in text and status in text
    assert mine.fid not in ben.client.get("/services").text
    execute(panel.database, "UPDATE kodosumi.execution SET archived_at = now()")
    assert "not yet" in panel.get("/services").text


def test_wrong_fields_are_told_in_place_and_what_was_typed_is_kept(
    shared: Stand, single: Remote
) -> None:
    said: list[Any] = []

    async def answer(request: Request) -> Response:
        said.append(await request.json())
        return JSONResponse({"errors": {"name": ["is too short"]}, "elements": ELEMENTS})

    single.answer(answer)
    typed = {"name": "Al", "code": "hidden-word", "kind": "b", "kodosumi.cron": "x"}
    part = shared.client.post(single.page, data=typed, headers=HTMX)
    assert part.status_code == 422 and "<html" not in part.text
    assert said == [{"name": "Al", "code": "hidden-word", "kind": "b"}]
    whole = shared.client.post(single.page, data=typed)
    assert whole.status_code == 422 and "<html" in whole.text
    for text in (part.text, whole.text):
        name = field(text, "name")
        assert 'value="Al"' in name and 'aria-invalid="true"' in name
        assert "is too short" in text and "hidden-word" not in text
        assert "checked" not in field(text, "loud")
        assert '<option value="b" selected>' in text


def test_a_launch_leads_to_its_execution(shared: Stand, single: Remote) -> None:
    fid = "0192d6bb-6b6e-7aaa-8bbb-0123456789ab"
    single.answer({"result": fid, "elements": ELEMENTS})
    answer = shared.client.post(single.page, data={"name": "Ann"}, headers=HTMX)
    assert answer.headers["hx-redirect"] == f"/executions/{fid}"
    plain = shared.client.post(single.page, data={"name": "Ann"})
    assert (plain.status_code, plain.headers["location"]) == (303, f"/executions/{fid}")


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (hanging, "does not answer in time"),
        (JSONResponse({"detail": "no more credit"}, 500), "answered 500: no more credit"),
        (JSONResponse({"detail": "no pool; make one"}, 409), "no pool; make one"),
        (Response("<b>hello</b>"), "answered 200"),
        ({"what": "is this"}, "answered n"),
        ([1], "answered n"),
        ({"result": "no fid", "elements": 7}, "answered n"),
    ],
    ids=["hangs", "fails", "refuses", "no-json", "no-form", "list", "odd"],
)
def test_a_service_that_does_not_do_its_part_gives_one_line(
    shared: Stand, single: Remote, answer: Any, line: str
) -> None:
    single.answer(answer)
    text = shared.get(single.page).text
    assert "The form cannot be shown" in text and line in text
    posted = shared.client.post(single.page, data={"name": "Ann"}, headers=HTMX)
    assert posted.status_code == 422
    assert posted.headers["hx-retarget"] == "#trouble"
    assert line in posted.text and posted.text.count("<p") == 1
    plain = shared.client.post(single.page, data={"name": "Ann"})
    assert plain.status_code == 422 and line in plain.text


def test_what_services_say_stays_text(panel: Stand) -> None:
    described = operation(
        ATTACK, description=ATTACK, tags=[ATTACK], **{"x-author": ATTACK, "x-version": ATTACK}
    )
    element = {"type": "text", "name": ATTACK, "label": ATTACK, "value": ATTACK}
    with ExitStack() as stack:
        remote = Remote(panel, stack, **{"/go": {"get": described}})
        remote.answer({"elements": [element], "errors": {ATTACK: [ATTACK]}})
        run = panel.run(summary=ATTACK, app_url=remote.url).begin(**{ATTACK: ATTACK})
        preview = {"cron": ATTACK, "timezone": ATTACK}
        answers = [
            panel.get("/services", params={"q": ATTACK}),
            panel.get("/services", params={"tag": ATTACK}),
            panel.get("/services"),
            panel.get(remote.page),
            panel.get(remote.page, params={"from": run.fid}),
            panel.client.post(remote.page, data={ATTACK: ATTACK}),
            panel.client.post(f"{remote.page}/schedule", data={"kodosumi.cron": ATTACK}),
            panel.get("/services/preview", params=preview),
        ]
    for answer in answers:
        for tag, attributes in tags_of(answer.text):
            assert tag != "script" or str(attributes.get("src")).startswith("/static/")
            assert not any(name.startswith("on") for name in attributes), (answer.url, tag)
            assert "style" not in attributes


def test_services_that_are_not_there_are_not_found(panel: Stand, remote: Remote) -> None:
    gone = "/services/" + "0" * 32
    page = panel.get(gone, headers={"accept": "text/html"})
    assert page.status_code == 404 and "<h1>Not Found</h1>" in page.text
    assert panel.client.post(gone, data={}).status_code == 404
    assert panel.get("/services/nonsense").status_code == 404
    assert panel.connect().get(remote.page, headers={"accept": "application/json"}).status_code in (
        401,
        303,
    )
    execute(panel.database, "UPDATE kodosumi.endpoint SET gone_at = now()")
    assert panel.get(remote.page).status_code == 404


def preview(panel: Stand, **asked: str) -> str:
    answer = panel.get("/services/preview", params=asked)
    assert answer.status_code == 200
    return unescape(answer.text)


def test_a_cron_is_put_into_words_with_its_next_times_in_its_zone(shared: Stand) -> None:
    text = preview(shared, cron="30 6 * * 1-5", timezone="Asia/Kathmandu")
    assert "At 06:30, Monday through Friday" in text and "Asia/Kathmandu" in text
    times = re.findall(r'<time datetime="([^"]+)">(\w+) [^<]+, (\d\d:\d\d)</time>', text)
    assert len(times) == 5
    for iso, day, clock in times:
        assert iso.endswith("+05:45") and clock == "06:30" and day not in ("Sat", "Sun")
    assert [iso for iso, _, _ in times] == sorted({iso for iso, _, _ in times})


def test_an_interval_is_put_into_words_as_well(shared: Stand) -> None:
    text = preview(shared, repeat="interval", every="15", unit="minutes", timezone="UTC")
    assert "Every 15 minutes" in text and text.count("<time") == 5
    assert "Every hour" in preview(shared, repeat="interval", every="1", unit="hours")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cron": "0 0 31 2 *"}, "never fires"),
        ({"cron": "99 * * * *"}, "is not valid"),
        ({"cron": "* * *"}, "does not have five fields"),
        ({"cron": ""}, "does not have five fields"),
        ({"cron": "0 6 * * *", "timezone": "Mars/Base"}, "Mars/Base"),
        ({"repeat": "interval", "every": "often"}, "is not an interval"),
        ({"repeat": "interval", "every": "nan", "unit": "minutes"}, "give at least 60"),
        ({"repeat": "interval", "every": "0.5", "unit": "minutes"}, "give at least 60"),
        ({"repeat": "interval", "every": "1", "unit": "years"}, "is not an interval"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_schedule_is_said_while_typing_and_on_saving(
    shared: Stand, single: Remote, asked: dict[str, str], said: str
) -> None:
    text = preview(shared, **asked)
    assert said in text and "<time" not in text
    body = {f"kodosumi.{name}": value for name, value in asked.items()} | {"name": "Ann"}
    before = len(single.service.asked)
    answer = shared.client.post(f"{single.page}/schedule", data=body, headers=HTMX)
    assert answer.status_code == 422 and said in unescape(answer.text)
    assert answer.headers["hx-retarget"] == "#schedule-trouble"
    assert len(single.service.asked) == before
    whole = shared.client.post(f"{single.page}/schedule", data=body)
    assert said in unescape(whole.text) and 'value="Ann"' in field(whole.text, "name")


def test_a_schedule_asks_the_service_as_the_api_does(shared: Stand, single: Remote) -> None:
    asked: list[Any] = []

    async def answer(request: Request) -> Response:
        asked.append((await request.json(), json.loads(request.headers["x-kodosumi-schedule"])))
        return JSONResponse({"schedule": "some-id", "elements": ELEMENTS})

    single.answer(answer)
    body = {
        "name": "Ann",
        "kodosumi.repeat": "cron",
        "kodosumi.cron": "0 6 * * *",
        "kodosumi.timezone": "Europe/Berlin",
        "kodosumi.name": "Mornings",
    }
    done = shared.client.post(f"{single.page}/schedule", data=body, headers=HTMX)
    assert done.headers["hx-redirect"] == "/schedules?saved=some-id"
    when = {"cron": "0 6 * * *", "timezone": "Europe/Berlin", "name": "Mornings"}
    assert asked == [({"name": "Ann"}, when)]


def test_an_earlier_execution_fills_the_form_but_for_what_was_secret(
    shared: Stand, single: Remote
) -> None:
    given = {"name": "Ann & co", "code": MASK, "loud": False, "kind": "b", "other": [1]}
    run = shared.run(summary="Before").begin(**given)
    text = shared.get(single.page, params={"from": run.fid}).text
    assert 'value="Ann &amp; co"' in field(text, "name")
    assert "value=" not in field(text, "code")
    assert "checked" not in field(text, "loud")
    assert '<option value="b" selected>' in text
    assert "Filled in with the inputs of" in text and "Before" in text
    odd = shared.run().begin(nothing="known")
    text = shared.get(single.page, params={"from": odd.fid}).text
    assert "do not match this form" in text and "checked" in field(text, "loud")


def test_nobody_fills_a_form_from_somebody_elses_execution(shared: Stand, single: Remote) -> None:
    ann, ben = shared.person("asker"), shared.person("stranger")
    run = shared.run(owner=ann.id).begin(name="private")
    assert "private" in ann.client.get(single.page, params={"from": run.fid}).text
    for fid in (run.fid, "00000000-0000-0000-0000-000000000000"):
        answer = ben.client.get(single.page, params={"from": fid})
        assert answer.status_code == 404 and "private" not in answer.text
    assert shared.get(single.page, params={"from": "nonsense"}).status_code == 404


def test_inputs_find_their_fields_by_name_or_path() -> None:
    elements = [
        {"type": "text", "name": "address.street"},
        {"type": "text", "name": "inputs.topic"},
        {"type": "textarea", "name": "parts"},
        {"type": "number", "name": "count"},
        {"type": "text", "name": "inner"},
        {"type": "select", "name": "flag", "option": [{"type": "option", "name": "true"}]},
        {"type": "hologram"},
    ]
    inputs = {
        "address": {"street": "Main"},
        "topic": "tea",
        "parts": ["a"],
        "count": 3,
        "inner": {"key": MASK},
        "flag": True,
    }
    assert filled(elements, serialize(inputs)) == {
        "address.street": "Main",
        "inputs.topic": "tea",
        "parts": '[\n  "a"\n]',
        "count": "3",
        "flag": "true",
    }
    for nothing in (None, "", "[1]", "{", '"text"', "{}", '{"dict": 1}', '{"a": {}, "b": {}}'):
        assert filled(elements, nothing) == {}


def test_an_execution_finds_the_endpoint_that_it_came_from(panel: Stand) -> None:
    paths = {
        "/": {"get": operation("Root")},
        "/go": {"get": operation("Go")},
        "/deep/go": {"get": operation("Go deeper")},
    }
    with ExitStack() as stack:
        remote = Remote(panel, stack, **paths)
    uid = {each["summary"]: each["uid"] for each in remote.found}
    runs = {
        "Root": panel.run(flow_name="app", app_url=remote.url),
        "Go": panel.run(flow_name="app-go", app_url=remote.url),
        "Go deeper": panel.run(flow_name="app-deep-go", app_url=remote.url, summary="Named"),
        "by summary": panel.run(flow_name="cut-off", app_url=remote.url, summary="Go deeper"),
        "elsewhere": panel.run(flow_name="app-go", app_url="http://other:1"),
        "plain": panel.run(flow_name="app-go"),
    }
    for run in runs.values():
        run.begin()

    async def work() -> tuple[dict[str, str], list[str | None]]:
        async with Reader(panel.database, "kodosumi", 1) as reader:
            fids = [run.fid for run in runs.values()]
            several = await again_urls(reader, fids, [])
            return several, [await again_url(reader, fid, []) for fid in fids] + [
                *(await again_urls(reader, [], []))
            ]

    several, one_by_one = asyncio.run(work())
    expected = {
        "Root": "Root",
        "Go": "Go",
        "Go deeper": "Go deeper",
        "by summary": "Go deeper",
        "elsewhere": None,
        "plain": None,
    }
    for (name, run), single in zip(runs.items(), one_by_one, strict=True):
        wanted = expected[name]
        link = f"services/{uid[wanted]}?from={run.fid}" if wanted else None
        assert (several.get(run.fid), single) == (link, link), name
        if link:
            assert panel.get(f"/{link}").status_code == 200


MODULE = """
from kodosumi_prefect.core import Launch, ServeAPI, forms as F

app = ServeAPI(title="Paged")
form = F.Model(F.InputText("name", "Name", required=True), F.InputPassword("code"))

def work(inputs): ...

@app.enter("/greet", model=form, summary="Greet by page")
async def greet(inputs, request):
    return Launch(request, "paged_service:work", inputs=inputs)
"""


@prefect.flow(name="greets-by-page")
def greets(name: str, times: int = 1) -> None: ...


@pytest.fixture
def whole(
    place: Place,
    no_pools: None,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stand]:
    """A panel with a mounted service, and beside it a deployment of a Prefect that runs."""
    monkeypatch.setattr(cards, "PREFECT_ANSWER_SECONDS", 20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "paged_service.py").write_text(MODULE)
    more = {
        "services": ["paged_service:app"],
        "launch_work_pool": "pages",
        "register_interval": 0.2,
    }
    used = settings.model_copy(update=more)
    record_prefect(used, place.api_url)
    settings_module.reset_settings(used)
    with use_settings(used), get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name="pages", type="kodosumi-ray"))
        deployment = greets.to_deployment(name="paged", work_pool_name="pages")
        deployment.entrypoint = "x.py:greets"
        made = deployment.apply()
        with serving(used) as stand:
            until(lambda: len(stand.json("/flow")["items"]) == 2)
            yield stand
        with suppress(Exception):
            client.delete_deployment(made)
    sys.modules.pop("paged_service", None)


def page_of(panel: Stand, summary: str) -> str:
    """The page of the endpoint of that name."""
    [found] = [each for each in panel.json("/flow")["items"] if each["summary"] == summary]
    return f"/services/{found['uid']}"


@pytest.mark.parametrize("summary", ["Greet by page", "greets-by-page/paged"])
def test_mounted_services_and_deployments_are_launched_scheduled_and_run_again(
    whole: Stand, summary: str
) -> None:
    assert sorted(names(whole.get("/services").text)) == ["Greet by page", "greets-by-page/paged"]
    path = page_of(whole, summary)
    assert 'type="text"' in field(whole.get(path).text, "name")
    empty = whole.client.post(path, data={"name": ""}, headers=HTMX)
    assert empty.status_code == 422 and 'aria-invalid="true"' in field(empty.text, "name")

    person = whole.person("launcher")
    typed = {"name": "Ann", "code": "hidden-word", "times": "2"}
    launched = person.client.post(path, data=typed, headers=HTMX)
    assert launched.status_code == 200, launched.text
    to = launched.headers["hx-redirect"]
    fid = to.removeprefix("/executions/")
    assert person.client.get(to).status_code == 200
    assert f'href="{to}"' in person.client.get("/services").text

    async def link() -> str | None:
        async with Reader(whole.database, "kodosumi", 1) as reader:
            return await again_url(reader, fid, list(whole.app.state.panel.services.mounted))

    assert asyncio.run(link()) == f"{path[1:]}?from={fid}"
    assert f"{path}?from={fid}" in person.client.get(f"/executions/{fid}").text
    again = person.client.get(path, params={"from": fid}).text
    assert 'value="Ann"' in field(again, "name") and "hidden-word" not in again
    assert f'value="{fid}"' in field(again, "kodosumi.again_of")
    for earlier, linked in ((fid, True), ("no fid", False), (str(uuid4()), False)):
        fields = typed | {"kodosumi.again_of": earlier}
        anew = person.client.post(path, data=fields, headers=HTMX).headers["hx-redirect"]
        assert (f'href="{to}"' in person.client.get(anew).text) == linked

    when = {"kodosumi.cron": "0 6 * * *", "kodosumi.timezone": "UTC", "kodosumi.name": "Daily"}
    wrong = person.client.post(f"{path}/schedule", data={"name": ""} | when, headers=HTMX)
    assert wrong.status_code == 422 and 'aria-invalid="true"' in field(wrong.text, "name")
    saved = person.client.post(f"{path}/schedule", data=typed | when, headers=HTMX)
    headers = {"accept": "application/json"}
    [schedule] = person.client.get("/schedules", headers=headers).json()["items"]
    to = saved.headers.get("hx-redirect")
    assert to == f"/schedules?saved={schedule['id']}", saved.text
    notice = (
        r'class="saved" role="status">.*Daily.*At 06:00, UTC.*Next run <time datetime="[^"]+T06'
    )
    assert re.search(notice, person.client.get(to, headers=HTML).text)
    assert 'class="saved"' not in person.client.get("/schedules", headers=HTML).text
    assert (schedule["summary"], schedule["cron"]) == ("Daily", "0 6 * * *")
    assert schedule["endpoint"] == path.rpartition("/")[2]
    text = person.client.get("/services").text
    assert len(re.findall(r'<a href="/schedules"><time datetime="[^"]+T06:00', text)) == 1


def test_what_prefect_itself_schedules_of_a_deployment_is_its_next_run(
    whole: Stand, place: Place
) -> None:
    def due() -> str:
        text = whole.person(uuid4().hex[:8]).client.get("/services").text
        row = next(row for row in text.split("<tr ") if "greets-by-page/paged" in row)
        return row.partition('class="due"')[2]

    assert "not scheduled" in due()

    def asked(method: str, path: str, **body: Any) -> httpx.Response:
        return ask_prefect(method, f"{place.api_url}/deployments{path}", **body).raise_for_status()

    at = f"/{asked('GET', '/name/greets-by-page/paged').json()['id']}/schedules"
    every = [{"schedule": {"cron": "17 4 * * *", "timezone": "UTC"}, "active": True}]
    [made] = asked("POST", at, json=every).json()
    assert re.search(r'<time datetime="[^"]+T04:17', due())
    asked("PATCH", f"{at}/{made['id']}", json={"active": False})
    assert ">paused</a>" in due()
    write_address(whole.settings, "prefect", {"url": "http://127.0.0.1:9/api"})
    try:
        assert "so it is unknown whether" in due()
    finally:
        record_prefect(whole.settings, place.api_url)


def test_without_prefect_the_pages_say_what_is_missing(whole: Stand, place: Place) -> None:
    mounted = page_of(whole, "Greet by page")
    deployed = page_of(whole, "greets-by-page/paged")
    when = {"kodosumi.cron": "0 6 * * *", "kodosumi.timezone": "UTC"}
    saved = whole.client.post(f"{deployed}/schedule", data={"name": "A"} | when, headers=HTMX)
    assert saved.status_code == 200
    write_address(whole.settings, "prefect", {"url": "http://127.0.0.1:9/api"})
    try:
        text = whole.get("/services").text
        assert "Prefect does not answer, so the time is unknown" in text
        assert "The form cannot be shown" in whole.get(deployed).text
        answer = whole.client.post(mounted, data={"name": "A"}, headers=HTMX)
        assert answer.headers["hx-retarget"] == "#trouble" and "Prefect" in answer.text
        assert "value" in field(whole.get(mounted).text, "kodosumi.cron")
    finally:
        record_prefect(whole.settings, place.api_url)


def test_what_runs_often_and_what_one_likes_stand_first(panel: Stand, start: Start) -> None:
    words = ("Alpha", "Beta", "Gamma", "Delta")
    paths = {f"/{word.lower()}": {"get": operation(word)} for word in words}
    _, url = start(**{"openapi.json": document(paths)})
    found = panel.client.post("/flow/register", json={"url": f"{url}/openapi.json"}).json()
    uids = {item["summary"]: item["uid"] for item in found}
    assert names(panel.get("/services").text) == ["Alpha", "Beta", "Delta", "Gamma"]
    ann, ben = panel.person(f"ann-{uuid4().hex[:6]}"), panel.person(f"ben-{uuid4().hex[:6]}")
    old = panel.run(flow_name="t-delta", app_url=url, owner=ann.id).begin().finish()
    for word, count in (("gamma", 3), ("beta", 1)):
        for _ in range(count):
            panel.run(flow_name=f"t-{word}", app_url=url, owner=ann.id).begin().finish()
    for table, id_ in (("execution", "id"), ("listing", "execution_id")):
        execute(
            panel.database,
            f"UPDATE kodosumi.{table} SET created_at = now() - interval '40 days' WHERE {id_} = "
            f"(SELECT id FROM kodosumi.execution WHERE fid = '{old.fid}')",
        )
    text = ann.client.get("/services").text
    assert names(text)[:2] == ["Gamma", "Beta"] and "Runs of the last 30 days" in text
    assert re.search(r'title="Runs of the last 30 days">3<', text)
    assert names(ben.client.get("/services").text) == ["Alpha", "Beta", "Delta", "Gamma"]
    star = f"/services/{uids['Delta']}/favourite"
    assert (
        'aria-pressed="true"'
        in ann.client.post(star, data={"do": "add"}, headers={"hx-request": "true"}).text
    )
    assert names(ann.client.get("/services").text)[:3] == ["Delta", "Gamma", "Beta"]
    assert names(ben.client.get("/services").text)[0] == "Alpha"
    assert ann.client.post(star, data={"do": "remove"}).status_code == 303
    assert names(ann.client.get("/services").text)[:2] == ["Gamma", "Beta"]
    assert ann.client.post(star, data={"do": "x"}).status_code == 422
    gone = f"/services/{'0' * 32}/favourite"
    assert ann.client.post(gone, data={"do": "add"}).status_code == 404


def test_nothing_is_no_description(panel: Stand, start: Start) -> None:
    told = operation("Speaks", description="None") | {"x-author": "null"}
    _, url = start(**{"openapi.json": document({"/go": {"get": told}})})
    found = panel.client.post("/flow/register", json={"url": f"{url}/openapi.json"}).json()
    for path in ("/services", f"/services/{found[0]['uid']}"):
        text = panel.get(path).text
        assert "Speaks" in text and not re.search(r">\s*(None|null)\b", text)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({}, "At 08:00, only on Monday"),
        ({"often": "day", "at": "07:30"}, "At 07:30"),
        ({"often": "workday"}, "At 08:00, Monday through Friday"),
        ({"often": "month", "day": "3"}, "At 08:00, on day 3 of the month"),
        ({"often": "hour", "at": "00:15"}, "At 15 minutes past the hour"),
        ({"often": "luck"}, "there is nothing regular in"),
        ({"day": "32", "often": "month"}, "there is nothing regular in"),
        ({"at": "eight"}, "is not a time of day"),
        ({"repeat": "cron", "cron": "0 6 * * *"}, "At 06:00"),
    ],
)
def test_what_is_chosen_regularly_is_told_in_words(
    shared: Stand, typed: dict[str, str], words: str
) -> None:
    query = {f"kodosumi.{name}": value for name, value in ({"repeat": "regularly"} | typed).items()}
    assert words in unescape(shared.get("/services/preview", params=query).text)


def test_the_page_opens_at_its_schedule(shared: Stand, single: Remote) -> None:
    closed = shared.get(single.page).text
    assert re.search(r'<details class="panel schedule scripted" id="schedule">', closed)
    link = re.search(r'id="to-schedule"[^>]* href="([^"#]*)#schedule"', closed)
    assert link and link[1] == "?schedule=true"
    opened = shared.get(single.page + link[1]).text
    assert re.search(r'<details class="panel schedule scripted" id="schedule" open>', opened)
    assert "data-own" in opened  # in the reader's own zone
