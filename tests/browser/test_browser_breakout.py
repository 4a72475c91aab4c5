"""What people, agents and flows wrote is shown on every page, and nothing of it does anything."""

import json
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from playwright.sync_api import Page, expect

from kodosumi_prefect import forms
from tests.browser.looking import sideways
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document, operation
from tests.panel.panel_runs import Stand, markdown
from tests.panel.test_panel_system_page import tell
from tests.panel.test_panel_waiting_page import asking

ELSEWHERE = "http://elsewhere.invalid"
SCRIPT = "window.broken = true; alert(1)"
NASTY = f'"><script>{SCRIPT}</script><img src=x onerror="{SCRIPT}">\u202egnp.exe'
COVER = "position:fixed;inset:0;z-index:9999;background:red"
HTML = f"""
<h2>harmless part</h2><script>{SCRIPT}</script><img src="{ELSEWHERE}/a.png" onerror="{SCRIPT}">
<svg onload="{SCRIPT}"></svg><iframe src="{ELSEWHERE}"></iframe><object data="{ELSEWHERE}"></object>
<form action="{ELSEWHERE}"><input name="password"><button>Sign in again</button></form>
<style>body {{ display: none }} @import url({ELSEWHERE}/a.css);</style>
<link rel="stylesheet" href="{ELSEWHERE}/a.css"><base href="{ELSEWHERE}">
<meta http-equiv="refresh" content="0;url={ELSEWHERE}">
<div style="{COVER}" class="notice" id="content">over all</div><dialog open>over all</dialog>
<a href="javascript:{SCRIPT}">a script</a> <a href="{ELSEWHERE}">a link</a>
</div></main></body>
"""
MARKDOWN = f"""harmless words {HTML}

[a script](javascript:alert(1)) [a link]({ELSEWHERE}) ![a picture]({ELSEWHERE}/b.png)
<{ELSEWHERE}/auto>
"""
ANSI = (
    f"\x1b[31mred\x1b[0m \x1b]8;;{ELSEWHERE}\x07a link\x1b]8;;\x07 \x1b]0;title\x07\x1b[2J{NASTY}"
)


@pytest.fixture
def guarded(page: Page, stand: Stand) -> Iterator[Page]:
    """A page that asked nobody but the panel, and opened no dialog, when the test ends."""
    left: list[str] = []
    dialogs: list[str] = []
    page.context.on("request", lambda one: left.append(one.url))
    page.on("dialog", lambda one: (dialogs.append(one.message), one.dismiss()))
    yield page
    assert [url for url in left if not url.startswith((stand.url, "data:"))] == []
    assert dialogs == []


def harmless(page: Page, stand: Stand, *, framed: bool = True) -> None:
    """Nothing ran, nothing covers the navigation, and links leave without a trace.

    Arguments:
        framed: whether the page has a navigation, as all have but for those to be printed.
    """
    assert page.evaluate("window.broken") is None
    if framed:
        expect(page.locator("nav[aria-label=Main]")).to_be_visible()
    covered = page.evaluate(
        """() => {
        const ways = [...document.querySelectorAll(".bar > a, .bar nav a, .bar summary")];
        return ways.filter((one) => {
            const box = one.getBoundingClientRect();
            const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
            return !one.contains(top);
        }).map((one) => one.outerHTML);
        }"""
    )
    assert covered == []
    strange = page.evaluate(
        """([panel, where]) => [...document.querySelectorAll(where)].filter((one) =>
            ["SCRIPT", "IFRAME", "OBJECT", "STYLE", "BASE", "META", "LINK"].includes(one.tagName)
            || one.hasAttribute("style") && one.style.position
            || [...one.attributes].some((it) => /^on/.test(it.name))
            || one.tagName === "FORM" && !one.action.startsWith(panel)
            || one.tagName === "A" && one.protocol === "javascript:"
            || one.tagName === "A" && one.href.includes("elsewhere")
                && !(one.relList.contains("noreferrer") && one.relList.contains("noopener"))
        ).map((one) => one.outerHTML.slice(0, 300))""",
        [stand.url, "main *" if framed else "body *"],
    )
    assert strange == []
    assert sideways(page) == 0


def test_what_is_written_to_break_out_is_shown_harmless_on_every_page(
    guarded: Page, stand: Stand
) -> None:
    page = guarded
    mark = uuid4().hex[:8]
    account = stand.person(f"<img src=x onerror=alert(1)> {mark}")
    header = {
        "name": f"{NASTY} {mark}",
        "flow_name": NASTY,
        "summary": NASTY,
        "tags": [NASTY, mark],
        "username": account.name,
    }
    form = forms.Model(forms.Markdown(MARKDOWN), forms.InputText(NASTY, label=NASTY))
    run = asking(stand, NASTY, form=form, data={NASTY: NASTY, "text": HTML}, **header)
    run.say("result", markdown(MARKDOWN))
    run.say("result", json.dumps({"HTML": {"body": HTML}}))
    run.say("result", json.dumps({"Text": {"body": HTML}}))
    run.say("agent", json.dumps({"dict": {"agent": NASTY, "role": HTML}}))
    run.say("progress", json.dumps({"dict": {"percent": 5, "message": NASTY}}))
    run.lines(ANSI, HTML)
    failed = stand.run(**header).begin(topic=HTML).fail(f"Traceback\nValueError: {NASTY}")

    for address, seen in (
        (f"/executions?tag={mark}", "<script>"),
        ("/waiting", "<script>"),
        (f"/executions/{run.fid}", "harmless part"),
        (f"/executions/{run.fid}?tab=trace", "<script>"),
        (f"/executions/{run.fid}?tab=log", "<script>"),
        (f"/executions/{run.fid}?tab=raw", "script"),
        (f"/executions/{failed.fid}", "<script>"),
        (f"/executions/{failed.fid}?tab=inputs", "<script>"),
        ("/users", mark),
        (f"/users/{account.id}", mark),
    ):
        page.goto(address)
        expect(page.locator("main")).to_contain_text(seen)
        harmless(page, stand)
    for whole in (run, failed):
        page.goto(f"/outputs/html/{whole.fid}")
        expect(page.locator("body")).to_contain_text("<script>")
        harmless(page, stand, framed=False)


def test_what_services_schedules_and_workers_call_themselves_does_nothing(
    guarded: Page, stand: Stand
) -> None:
    page, mark = guarded, uuid4().hex[:8]
    marks = {"x-author": NASTY, "x-organization": NASTY}
    paths = {
        "/go": {"get": operation(f"{NASTY} {mark}", description=MARKDOWN, tags=[NASTY], **marks)},
        "/bad": {"get": operation(f"bad {mark}", description=NASTY)},
    }
    service = Faulty(**{"openapi.json": document(paths)})
    form = forms.Model(
        forms.Markdown(MARKDOWN),
        forms.InputText(NASTY, label=NASTY, value=NASTY, placeholder=NASTY),
        forms.Select("kind", label=NASTY, option=[forms.InputOption(NASTY, label=NASTY)]),
        forms.Submit(NASTY),
    )
    service.answers |= {"/go": {"elements": form.get_model()}, "/bad": {"detail": NASTY}}
    with served_app(service.app) as url:
        found = stand.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
        uids = {
            item["url"].rpartition("/")[2]: item["uid"] for item in found.raise_for_status().json()
        }
        with psycopg.connect(stand.database) as connection:
            connection.execute(
                "INSERT INTO kodosumi.schedule (id, deployment_id, summary, owner, paused_because)"
                " VALUES (%s, %s, %s, %s, %s)",
                (uuid4(), uuid4(), f"{NASTY} {mark}", NASTY, NASTY),
            )
        cluster = [{"host": NASTY, "resources": {NASTY: 1.0}}]
        known = {"warm": 0, "runs": 1, "draining": False, "ray": True}
        tell(stand.database, "worker", f"{NASTY} {mark}", **known, pool=NASTY, cluster=cluster)
        for address, seen in (
            (f"/services?q={mark}", "<script>"),
            (f"/services/{uids['go']}", "harmless words"),
            (f"/services/{uids['bad']}", "cannot be shown"),
            (f"/schedules?q={mark}", "<script>"),
            ("/system", mark),
        ):
            page.goto(address)
            expect(page.locator("main")).to_contain_text(seen)
            harmless(page, stand)
        page.goto(f"/services/{uids['go']}")
        page.wait_for_load_state("load")
        service.answers["/go"] = {"errors": {NASTY: [NASTY]}, "elements": form.get_model()}
        page.locator("#launch button.primary").click()
        expect(page.locator("#launch .wrong")).to_contain_text("<script>")
        harmless(page, stand)
        stand.client.post("/flow/unregister", json={"url": f"{url}/openapi.json"})
