"""Pages: readable without scripts, harmless whatever runs write, and free of the network."""

import re
from html.parser import HTMLParser

from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from kodosumi_prefect.events import serialize
from kodosumi_prefect.panel.executions.pages import TABS
from kodosumi_prefect.panel.web.prefect_links import flow_run_url
from kodosumi_prefect.settings import Settings, write_address
from tests.panel.panel_runs import Stand, markdown
from tests.spooler.recording import execute

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_the_front_door_leads_to_the_list(fresh_panel: Stand) -> None:
    answer = fresh_panel.get("/")
    assert answer.status_code == 307
    assert answer.headers["location"] == "executions"
    assert "No executions yet" in fresh_panel.get("/executions").text


def test_the_first_paint_holds_the_whole_state(panel: Stand) -> None:
    run = panel.run(summary="Sum of sums", tags=["nice"], author="Ada").begin(start=7)
    run.lines("said on stdout").say("progress", serialize({"done": 1, "total": 4}))
    run.say("result", markdown("**partial**"))
    text = panel.get(f"/executions/{run.fid}").text
    for part in ("Sum of sums", "nice", "Ada", "running", "25%", "partial"):
        assert part in text
    assert "said on stdout" in panel.get(f"/executions/{run.fid}?tab=log").text
    assert 'data-cursor="7"' in text
    run.finish(markdown("# the end"))
    text = panel.get(f"/executions/{run.fid}").text
    assert "<h1>the end</h1>" in text and "finished" in text


def test_a_failed_second_attempt_is_told_apart(panel: Stand) -> None:
    run = panel.run().begin().lines("first try")
    run.attempt = 2
    run.status("running").lines("second try").fail("Trace\nOSError: gone")
    text = panel.get(f"/executions/{run.fid}?tab=log").text
    assert "Attempt 2" in text
    assert '<p class="message">OSError: gone</p>' in text


def lines_of(page: str) -> int:
    """How many lines the tab of the log shows; those of the live view stand elsewhere."""
    return page.partition('id="log-list"')[2].partition("</ol>")[0].count('class="line ')


def test_long_logs_begin_at_their_end_and_lead_back(panel: Stand) -> None:
    run = panel.run().begin()
    run.lines(*(f"line-{i}-" for i in range(1200)))
    text = panel.get(f"/executions/{run.fid}?tab=log").text
    assert "line-1199-" in text and "line-699-" not in text
    seen = lines_of(text)
    assert seen == 500
    # The live view shows the end of the log, too, and leads back from there.
    earlier = re.compile(
        r'more"><a href="(\?tab=log&before=\d+)">[\w ]+</a></p>\s*<ol [^>]*id="log-list"'
    )
    while path := earlier.search(text):
        text = panel.get(f"/executions/{run.fid}{path[1]}").text
        seen += lines_of(text)
    assert seen == 1200
    piece = panel.get(f"/executions/{run.fid}/log?before=10").text
    assert "<html" not in piece and piece.count('class="line ') == 5


def handlers(text: str) -> list[str]:
    """Attributes of a page that are scripts; what stands within the quotes of others is text."""
    found: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(name for name, _ in attrs if name.startswith("on"))

    Parser().feed(text)
    return found


def test_handlers_are_told_from_text() -> None:
    assert handlers('<a title="x onerror=y"><svg><a ONCLICK="y"/></svg><p>onload=z') == ["onclick"]


def test_whatever_a_run_writes_stays_text(panel: Stand) -> None:
    run = panel.run(
        flow_name=ATTACK,
        summary=ATTACK,
        tags=[ATTACK],
        author=ATTACK,
        description=ATTACK,
        owner=ATTACK,
        entry_point=ATTACK,
        app_url="javascript:alert(1)",
        version=ATTACK,
    )
    run.begin(**{ATTACK: ATTACK}).lines(ATTACK).say("result", markdown(ATTACK))
    run.say("agent", serialize({ATTACK: [ATTACK]})).fail(ATTACK)
    for path in (
        *(f"/executions/{run.fid}?tab={tab}" for tab in TABS),
        "/executions",
        f"/outputs/html/{run.fid}",
        f"/executions/{run.fid}/head",
        f"/executions/{run.fid}/log?before=99",
    ):
        text = panel.get(path).text
        scripts = re.findall(r"<script\b[^>]*>", text)
        assert all("static/" in script for script in scripts), path
        assert handlers(text) == [], path
        assert "javascript:" not in re.sub(r">[^<]*<", "><", text), path
    text = panel.get("/executions", params={"q": ATTACK}).text
    assert "<script>alert" not in text and "<img" not in text
    text = panel.get(f"/executions/{ATTACK.replace('/', '')}", headers={"accept": "text/html"}).text
    assert "<script>alert" not in text


def test_pages_run_nothing_inline_and_load_nothing_from_elsewhere(panel: Stand) -> None:
    run = panel.run().begin().finish(markdown("x"))
    for path in ("/executions", f"/executions/{run.fid}", "/docs", f"/outputs/html/{run.fid}"):
        answer = panel.get(path)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy and "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text)
        assert "style=" not in answer.text and "<style" not in answer.text
        for address in re.findall(r'(?:src|href)="([^"#]+)"', answer.text):
            assert address.startswith(("/", "?")), address
            if address.startswith("/static"):
                assert panel.get(address).status_code == 200


def test_pages_and_what_they_load_are_compressed_for_browsers_and_streams_are_not(
    panel: Stand,
) -> None:
    run = panel.run().begin().lines(*(f"line {n}" for n in range(300))).finish()
    here = f"/executions/{run.fid}"
    for path in (f"{here}?tab=log", f"{here}/log", "/login", "/static/panel.css"):
        packed = panel.get(path, headers={"Accept-Encoding": "gzip"})
        plain = panel.get(path, headers={"Accept-Encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip", path
        assert "content-encoding" not in plain.headers, path
        assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding", path
        assert packed.text == plain.text, path
        assert packed.num_bytes_downloaded < plain.num_bytes_downloaded * 0.6, path
    for path in (f"{here}/live", f"{here}/events.jsonl"):
        with panel.stream(path, headers={"Accept-Encoding": "gzip"}) as streamed:
            assert "content-encoding" not in streamed.headers, path
    known = {"If-None-Match": packed.headers["etag"], "Accept-Encoding": "gzip"}
    assert panel.get("/static/panel.css", headers=known).status_code == 304


def test_a_person_gets_a_page_for_an_error_and_a_program_gets_json(panel: Stand) -> None:
    path = "/executions/00000000-0000-0000-0000-000000000000"
    page = panel.get(path, headers={"accept": "text/html"})
    assert page.status_code == 404 and "<h1>Not Found</h1>" in page.text
    assert panel.get(path).json()["status_code"] == 404


def test_the_page_links_to_the_flow_run_in_prefect(panel: Stand) -> None:
    run = panel.run().begin()
    settings = panel.app.state.panel.settings
    with temporary_settings({PREFECT_UI_URL: "http://ui.example/"}):
        assert flow_run_url(settings, run.fid) == f"http://ui.example/runs/flow-run/{run.fid}"
    with temporary_settings({PREFECT_API_URL: "http://prefect:4200/api"}):
        assert flow_run_url(settings, run.fid) == (f"http://prefect:4200/runs/flow-run/{run.fid}")


def test_page_and_status_link_to_flow_run_deployment_and_work_pool(
    settings: Settings, fresh_panel: Stand
) -> None:
    panel = fresh_panel
    write_address(settings, "prefect", {"url": "http://prefect:4200/under/here/api"})
    deployment = "0192d6bb-6b6e-7aaa-8bbb-0123456789ab"
    run = panel.run(deployment_id=deployment).begin()
    execute(
        panel.database,
        f"UPDATE kodosumi.execution SET work_pool = 'a pool' WHERE fid = '{run.fid}'",
    )
    shown = panel.json(f"/outputs/status/{run.fid}")["links"]
    assert shown == {
        "flow_run": f"http://prefect:4200/under/here/runs/flow-run/{run.fid}",
        "deployment": f"http://prefect:4200/under/here/deployments/deployment/{deployment}",
        "work_pool": "http://prefect:4200/under/here/work-pools/work-pool/a%20pool",
    }
    page = panel.get(f"/executions/{run.fid}").text
    for address in shown.values():
        assert f'href="{address}"' in page
    plain = panel.run().begin()
    shown = panel.json(f"/outputs/status/{plain.fid}")["links"]
    assert (shown["deployment"], shown["work_pool"]) == (None, None)


def test_the_api_is_described(panel: Stand) -> None:
    paths = panel.json("/openapi.json")["paths"]
    assert {"/outputs/status/{fid}", "/outputs/stream/{fid}", "/timeline/changes"} <= set(paths)
    content = paths["/outputs/stream/{fid}"]["get"]["responses"]["200"]["content"]
    assert "text/event-stream" in content
