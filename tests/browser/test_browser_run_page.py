"""One execution's page: its questions answered there, its log by line and offset, its head."""

import re
import time
from uuid import uuid4

from playwright.sync_api import Page, expect

from kodosumi_prefect import forms
from kodosumi_prefect.events import State, serialize
from tests.browser.conftest import NewContext
from tests.browser.faults import PHONE
from tests.browser.looking import Complaints, sideways, violations
from tests.panel.panel_runs import Run, Stand, markdown

DECISION = forms.Model(
    forms.Markdown("Is it **fine**?"),
    forms.InputNumber("stars", label="Stars", min_value=1, max_value=5, required=True),
    forms.Submit("Answer"),
)


def asked(run: Run, name: str) -> str:
    """Ask a question; the id of its lock."""
    lid = str(uuid4())
    question = {
        "name": name,
        "lid": lid,
        "data": {"draft": "# Hello\n\nTo **all**"},
        "expires": time.time() + 3600,
        "elements": DECISION.get_model(),
    }
    run.say("lock", serialize(question))
    return lid


def opened(page: Page, run: Run, tab: str = "output") -> None:
    page.goto(f"/executions/{run.fid}?tab={tab}")
    expect(page.locator("#live")).to_have_text(re.compile("Live|Complete"))


def test_a_question_comes_by_itself_is_corrected_and_answered_on_the_runs_page(
    page: Page, stand: Stand
) -> None:
    run = stand.run(summary="Asks").begin()
    opened(page, run)
    page.evaluate("window.loadedOnce = true")
    asked(run, "approve")
    card = page.locator("#questions").get_by_role("article", name="approve")
    expect(card.locator(".data strong")).to_have_text("all")
    stars = card.get_by_label("Stars")
    stars.fill("9")
    card.get_by_role("button", name="Answer").click()
    expect(stars).to_have_attribute("aria-invalid", "true")
    expect(stars).to_be_focused()
    expect(card.locator("ul.wrong")).to_have_count(1)
    stars.fill("4")
    expect(card.locator("ul.wrong")).to_have_count(0)
    assert violations(page) == []
    card.get_by_role("button", name="Answer").click()
    expect(page.locator("#questions")).to_contain_text("is answered")
    expect(page.locator("#summary .chip")).to_contain_text("running")
    page.get_by_role("tab", name="Trace").click()
    asks = page.locator("#steps-list .asked")
    expect(asks).to_have_text(re.compile("^Asked “approve”, answered by admin after .* s$"))
    expect(page.locator("#steps-list > li")).to_have_count(1)
    expect(page.locator("#steps-list .answer")).to_contain_text("4")
    run.say("result", markdown("goes on"))
    page.get_by_role("tab", name="Output").click()
    expect(page.locator("#output-list")).to_contain_text("goes on")
    assert page.evaluate("window.loadedOnce") is True
    live = asks.inner_text()
    page.reload()
    page.get_by_role("tab", name="Trace").click()
    assert asks.inner_text().split(" after ")[0] == live.split(" after ")[0]


def test_several_questions_stand_on_top_and_one_answered_elsewhere_is_told(
    page: Page, stand: Stand
) -> None:
    run = stand.run(summary="Asks twice").begin()
    first, second, _ = (asked(run, name) for name in ("one", "two", "three"))
    opened(page, run)
    cards = page.locator("#questions > .lock")
    expect(cards).to_have_count(3)
    assert page.evaluate("scrollY") == 0
    typed = page.get_by_role("article", name="one").get_by_label("Stars")
    typed.fill("3")
    for lid in (first, second):
        answer = stand.client.post(f"/lock/{run.fid}/{lid}", json={"stars": 5})
        assert answer.json() == {"result": {"stars": 5}}
    # What somebody types stays; a card that nobody touched says it in its place.
    expect(cards.nth(0).locator(".trouble")).to_contain_text("was answered already")
    expect(typed).to_have_value("3")
    expect(cards.nth(1)).to_contain_text("was answered already")
    expect(page.get_by_role("article", name="three").get_by_label("Stars")).to_be_visible()
    page.reload()
    expect(cards).to_have_count(1)
    run.finish()
    expect(cards.first).to_contain_text("is of a run that is over")


def test_the_log_and_the_latest_step_run_beside_the_output(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Busy").begin().lines("before")
    opened(page, run)
    tail = page.locator("#tail-list")
    expect(tail).to_contain_text("before")
    run.lines(*(f"line {n}" for n in range(1000)))
    run.say("action", serialize({"tool": "search"})).say("result", markdown("half"))
    expect(tail.locator("li").last).to_contain_text("line 999")
    expect(tail.locator("li").last).to_be_in_viewport()
    assert tail.locator("li").count() <= 200
    expect(page.locator("#step")).to_contain_text("tool search")
    live = page.locator("#step").inner_text()
    expect(page.locator("#output-list")).to_contain_text("half")
    page.reload()
    expect(page.locator("#live")).to_have_text("Live")
    assert page.locator("#step").inner_text() == live
    expect(tail.locator("li").last).to_contain_text("line 999")
    run.finish(markdown("whole"))
    expect(page.locator("#result")).to_contain_text("whole")
    expect(page.locator("#tail")).to_be_hidden()
    expect(page.locator("#step")).to_be_hidden()


def test_a_lines_time_is_a_link_that_leads_back_to_it(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Long").begin()
    for start in range(0, 6000, 2000):
        run.lines(*(f"line {n}" for n in range(start, start + 2000)))
    opened(page, run, "log")
    page.get_by_label("or from the start").fill("0:00")
    page.get_by_label("or from the start").press("Enter")
    line = page.locator("#log-list li", has_text=re.compile(r"line 7$"))
    line.locator("a.at").click()
    expect(page).to_have_url(re.compile(r"tab=log&line=\d+"))
    expect(line).to_have_class(re.compile("found"))
    page.goto(page.url)
    expect(page.locator("#log-list .found")).to_have_count(1)
    expect(page.locator("#log-list .found")).to_contain_text(re.compile(r"line 7$"))
    expect(page.locator("#log-list .found")).to_be_in_viewport()
    page.get_by_label("or from the start").fill("soon")
    page.get_by_label("or from the start").press("Enter")
    expect(page.locator("#log-count")).to_have_text("write +90s or 1:30")


def test_the_order_of_commits_is_kept_live_and_in_the_address(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Out of order").begin()
    opened(page, run, "log")
    order = page.get_by_role("checkbox", name="order of commits")
    order.check()
    expect(page).to_have_url(re.compile("order=commit"))
    t = time.time()
    for ts, text in ((t + 2, "second"), (t + 1, "first"), (t + 3, "third")):
        run.put(run.event("stdout", text)._replace(ts=ts))
    texts = page.locator("#log-list .text")
    expect(texts).to_have_text(["second", "first", "third"])
    page.reload()
    expect(texts).to_have_text(["second", "first", "third"])
    href = page.get_by_role("link", name="Download as text").get_attribute("href")
    assert str(href).endswith("/log.txt?order=commit")
    order.uncheck()
    expect(texts).to_have_text(["first", "second", "third"])


def test_lines_look_the_same_live_and_loaded(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Looks").begin()
    opened(page, run, "log")
    traceback = 'Traceback (most recent call last):\n  File "a.py"\nOSError: gone'
    task = '{"task_run": {"id": "t", "name": "count-1"}, "level": "WARNING"}'
    run.lines("printed").say("stderr", "warned").put(run.event("debug", traceback, source=task))
    lines = page.locator("#log-list li")
    expect(lines).to_have_count(3)
    seen = (
        "all => all.map(e => [e.className, ...[...e.children].map(c => c.className + c.innerText)])"
    )
    live = lines.evaluate_all(seen)
    page.reload()
    expect(page.locator("#live")).to_have_text("Live")
    assert lines.evaluate_all(seen) == live
    colour = lines.last.locator(".text").evaluate("e => getComputedStyle(e).color")
    assert colour == "rgb(179, 52, 46)"


def test_the_id_is_copied_and_archive_is_in_the_menu(new_context: NewContext, stand: Stand) -> None:
    context = new_context(stand, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    run = stand.run(summary="Copied").begin().finish(markdown("# Done"))
    opened(page, run)
    page.get_by_role("button", name=f"Copy the id {run.fid}").click()
    page.wait_for_function(f"navigator.clipboard.readText().then((t) => t === '{run.fid}')")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the result as Markdown").click()
    assert download.value.path().read_text() == "# Done\n"
    archive = page.get_by_role("link", name="Archive", exact=True)
    expect(archive).to_be_hidden()
    menu = page.locator(".others > summary")
    menu.focus()
    page.keyboard.press("Enter")
    expect(archive).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(archive).to_be_hidden()
    expect(menu).to_be_focused()
    page.set_viewport_size(PHONE)
    menu.click()
    assert sideways(page) == 0
    archive.click()
    expect(page.get_by_role("dialog")).to_contain_text("Archive this execution?")


def test_who_cancels_is_not_offered_it_again(
    page: Page, stand: Stand, complaints: Complaints
) -> None:
    complaints.expected += ["502"]
    run = stand.run(summary="Cancelled").begin()
    opened(page, run)
    page.get_by_role("link", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the execution").click()
    expect(page.get_by_role("dialog").locator(".wrong")).not_to_be_empty()  # there is no Prefect
    page.get_by_role("link", name="Back").click()
    expect(page.get_by_role("link", name="Cancel", exact=True)).to_be_visible()
    stand.app.state.panel.cancelled.add(run.fid)
    state = State(str(uuid4()), "CANCELLING", "Cancelling", "", time.time())
    run.put(run.event("status", "running", state=state))
    expect(page.get_by_role("button", name="Cancelling…")).to_be_disabled()
    expect(page.get_by_role("link", name="Cancel", exact=True)).to_have_count(0)
    run.fail()
    expect(page.get_by_role("button", name="Cancelling…")).to_have_count(0)


def test_a_retried_run_is_followed_into_its_next_attempt(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Retried").begin().lines("one").fail()
    opened(page, run)
    expect(page.locator("#result")).to_contain_text("ValueError: no")
    # What Prefect does once it was asked; the panel itself has none here.
    page.route("**/retry", lambda route: route.fulfill(status=202, json={"state": "AwaitingRetry"}))
    page.evaluate(
        "() => document.querySelector('#summary .acts').insertAdjacentHTML('beforeend', "
        '\'<a href="?ask=retry" data-ask="retry">Retry it</a>\')'
    )
    page.get_by_role("link", name="Retry it").click()
    page.get_by_role("button", name="Retry the execution").click()
    run.attempt = 2
    run.status("running").lines("two").say("result", markdown("second part"))
    expect(page.locator("#summary .chip")).to_contain_text("running", timeout=5000)
    expect(page.locator("#output-list")).to_contain_text("second part")
    expect(page.locator("#tail-list")).to_contain_text("two")
    expect(page.get_by_role("link", name="Compare", exact=True)).to_be_visible()


def test_the_live_view_has_its_place_from_the_start(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Keeps its place")
    run.put(run.event("status", "starting"))
    opened(page, run)
    tabs = page.locator("#tabs")
    place = tabs.bounding_box()
    assert place is not None
    run.begin(a=1).say("action", serialize({"tool": "search"}))
    expect(page.locator("#step")).to_contain_text("tool search")
    run.say("progress", serialize({"done": 1, "total": 3, "text": "word " * 60}))
    expect(page.locator("#progress")).to_contain_text("1 of 3")
    assert tabs.bounding_box() == place
    page.get_by_role("tab", name="Log").click()
    assert tabs.bounding_box() == place
    run.finish(markdown("whole"))
    expect(page.locator("#progress")).to_be_empty()
    assert tabs.bounding_box() == place


def test_a_long_title_breaks_and_no_button_beside_it_does(page: Page, stand: Stand) -> None:
    run = stand.run(summary="A title of many words " * 5, deployment_id=str(uuid4()))
    run.begin().fail()
    run.attempt = 2
    run.status("running").fail()
    opened(page, run)
    buttons = page.locator("#summary .acts > *")
    boxes = [box.bounding_box() for box in buttons.all() if box.is_visible()]
    assert len(boxes) == 3  # Retry, Compare, More
    assert len({round(box["y"] + box["height"] / 2) for box in boxes if box}) == 1
    title = page.locator("h1").bounding_box()
    assert title is not None and boxes[0] is not None
    assert boxes[0]["y"] < title["y"] + title["height"] < boxes[0]["y"] + 100
    assert sideways(page) <= 0
