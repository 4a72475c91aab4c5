"""The Trace tab: a tree over time, what one of its rows holds, live and of any size."""

import re
import time

from playwright.sync_api import Locator, Page, expect

from kodosumi_prefect.events import serialize
from tests.browser.conftest import NewContext
from tests.browser.faults import PHONE
from tests.browser.looking import sideways, violations
from tests.panel import traced_runs
from tests.panel.panel_runs import Run, Stand
from tests.panel.traced_runs import Said

TREE = [
    ("research", "1"),
    ("gpt-5-mini", "2"),
    ("tool search query sunny", "3"),
    ("search", "2"),
    ("pages of the coast", "3"),
    ("text-embedding-3-small", "4"),
    ("weather", "2"),
    ("Waits for “Is this fine?”", "2"),
    ("summarise", "2"),
    ("summarise-1", "3"),
    ("summary", "4"),
    ("gpt-5-mini", "2"),
]


def opened(page: Page, run: Run, more: str = "") -> Locator:
    page.goto(f"/executions/{run.fid}?tab=trace{more}")
    expect(page.locator("#trace-tree")).to_have_attribute("data-loaded", "all")
    return page.locator(".trace-body [role=row]")


def row(page: Page, name: str) -> Locator:
    return page.locator(".trace-body [role=row]", has=page.get_by_text(name, exact=True))


def test_an_agents_work_is_a_tree_with_all_that_belongs_to_it(page: Page, stand: Stand) -> None:
    run = traced_runs.agent(stand.run(summary="Trace").begin()).finish()
    rows = opened(page, run)
    expect(rows).to_have_count(len(TREE))
    seen = "all => all.map(e => [e.querySelector('.name').textContent, e.ariaLevel])"
    assert [tuple(each) for each in rows.evaluate_all(seen)] == TREE
    top = row(page, "research")
    expect(top.locator(".tokens")).to_have_text("14.3k")  # of what is below, once each
    expect(top.locator(".cost")).to_have_text("$0.0084 + ?")
    expect(row(page, "weather")).to_contain_text("the station did not answer")
    expect(row(page, "Waits for “Is this fine?”").locator(".took")).to_have_text("18.5 s")
    assert "critical" not in str(row(page, "weather").get_attribute("class"))
    expect(page.locator("#trace-totals")).to_contain_text("12.4k tokens in")
    page.get_by_label("log lines").check()
    expect(row(page, "asking the station")).to_have_attribute("aria-level", "4")
    page.get_by_role("checkbox", name="errors").check()
    expect(page.locator("#trace-count")).to_have_text(re.compile("^1 of "))
    expect(rows).to_have_count(2)  # what failed, and what it lies in
    page.get_by_role("checkbox", name="errors").uncheck()
    page.get_by_label("Search names").fill("local-model")
    expect(rows).to_have_count(4)
    assert violations(page) == []
    page.get_by_label("Search names").fill("no such thing")
    expect(page.locator("#trace-count")).to_have_text("nothing matches")


def test_the_keyboard_walks_the_tree_and_a_row_has_an_address(
    new_context: NewContext, stand: Stand
) -> None:
    context = new_context(stand, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    run = traced_runs.agent(stand.run(summary="Trace").begin()).finish()
    rows = opened(page, run)
    rows.first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)  # to the first call, what is below it, back, and folded
    expect(row(page, "gpt-5-mini").first).to_have_attribute("aria-expanded", "false")
    expect(row(page, "tool search query sunny")).to_have_count(0)
    page.keyboard.press("Enter")
    details = page.locator("#trace-details")
    expect(details.locator("h2")).to_have_text("gpt-5-mini")
    expect(details.locator(".said.user strong")).to_have_text("sea")
    expect(details).to_contain_text("calls search")
    expect(page).to_have_url(re.compile("tab=trace&span=m1$"))
    page.keyboard.press("End")  # details follow
    expect(details.locator('[data-content="output"] .body').first).to_contain_text("Nice")
    details.get_by_role("group", name="Show output as").get_by_label("JSON").check()
    expect(details.locator('[data-content="output"] pre')).to_be_visible()
    details.get_by_role("button", name="Copy output").click()
    page.wait_for_function(
        "text => navigator.clipboard.readText().then((t) => t === text)", arg=traced_runs.ANSWER
    )
    assert violations(page) == []
    page.goto(page.url)
    expect(details.locator("h2")).to_have_text("gpt-5-mini")
    expect(rows.last).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Tab")
    details.get_by_role("link", name="Close").focus()
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()
    expect(rows.last).to_be_focused()
    expect(page).to_have_url(re.compile("tab=trace$"))


def test_spans_come_live_and_what_is_open_ends(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Live").begin()
    page.goto(f"/executions/{run.fid}?tab=trace")
    expect(page.locator("#trace-empty")).to_contain_text("Nothing has recorded a span yet")
    page.evaluate("window.loadedOnce = true")
    began = time.time()
    begin, end = traced_runs.events([Said("a", "thinks", "agent", 0, 4.25)], began)
    run.put(begin)
    expect(row(page, "thinks")).to_have_class(re.compile("open"))
    traced_runs.write(run, [Said("b", "looks", "tool", 1, 2, "a")], began)
    run.say("action", serialize({"tool": "looks"}))
    expect(row(page, "looks")).to_have_attribute("aria-level", "2")
    expect(row(page, "tool looks")).to_have_attribute("aria-level", "2")
    run.put(end).finish()
    expect(row(page, "thinks").locator(".took")).to_have_text("4.25 s")
    expect(page.locator("#trace-totals")).to_contain_text("2 spans")
    page.get_by_role("link", name="Steps").click()
    expect(page.locator("#steps-list")).to_contain_text("looks")
    assert page.evaluate("window.loadedOnce") is True


def test_of_thousands_of_spans_only_those_in_sight_are_in_the_page(
    page: Page, stand: Stand
) -> None:
    run = traced_runs.many(stand.run(summary="Many").begin(), 3000).finish()
    rows = opened(page, run)
    page.get_by_role("button", name="Unfold all").click()
    expect(page.get_by_role("treegrid")).to_have_attribute("aria-rowcount", "3001")
    assert rows.count() < 80
    rows.first.focus()
    page.keyboard.press("End")
    expect(row(page, "tool 2999")).to_be_focused()
    expect(row(page, "tool 2999")).to_be_in_viewport()
    assert rows.count() < 80
    page.get_by_role("button", name="Fold all", exact=True).click()
    expect(page.get_by_role("treegrid")).to_have_attribute("aria-rowcount", "301")


def test_odd_spans_have_a_picture_each(page: Page, stand: Stand) -> None:
    rows = opened(page, traced_runs.odd(stand))
    expect(rows.filter(has_text="Attempt")).to_have_count(2)
    for name, words in (
        ("never ends", "not ended"),
        ("ends before it began", "unknown"),
        ("an hour ahead", "clock differs"),
        ("no such type", "1.00 s"),
        ("circle one", "1.00 s"),
        ("nobody's child", "1.00 s"),
    ):
        expect(row(page, name)).to_contain_text(words)
    bars = [row(page, name).locator(".stretch") for name in ("second try", "an hour ahead")]
    boxes = [bar.bounding_box() for bar in bars]
    assert boxes[0] and boxes[1]
    assert boxes[0]["x"] <= boxes[1]["x"] < boxes[0]["x"] + boxes[0]["width"]
    row(page, "never ends").click()
    expect(page.locator("#trace-details")).to_contain_text("not ended: its process stopped")


def test_on_a_phone_details_lie_over_the_tree(new_context: NewContext, stand: Stand) -> None:
    page = new_context(stand, viewport=PHONE, color_scheme="dark").new_page()
    run = traced_runs.agent(stand.run(summary="Trace").begin()).finish()
    opened(page, run)
    assert sideways(page) <= 0
    assert violations(page) == []
    row(page, "weather").click()
    dialog = page.get_by_role("dialog", name="Details")
    expect(dialog).to_contain_text("the station did not answer")
    expect(dialog.locator("h2")).to_be_focused()
    box = dialog.bounding_box()
    assert box == {"x": 0, "y": 0, "width": PHONE["width"], "height": PHONE["height"]}
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(row(page, "weather")).to_be_focused()
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_label("critical path")).to_be_visible()
