"""Following an execution's stream: live, through a lost connection, and in a log of any length."""

import json
import random
import re
import time

import psycopg
from playwright.sync_api import Page, expect

from kodosumi_prefect.events import Event, serialize
from tests.browser.conftest import NewContext
from tests.browser.looking import Complaints
from tests.browser.steps import arrived
from tests.panel.panel_runs import Gate, Run, Stand, markdown

LINES = 20_000
IN_PAGE = 2_600  # elements of the log at most: its window, and what is loaded around it


def open_log(page: Page, run: Run) -> None:
    page.goto(f"/executions/{run.fid}?tab=log")
    expect(page.locator("#live")).to_have_text(re.compile("Live|Complete"))


def seqs(page: Page) -> list[int]:
    """The numbers of the log lines in the page, in their order there."""
    found = page.eval_on_selector_all("#log-list [data-seq]", "all => all.map(e => e.dataset.seq)")
    return [int(seq) for seq in found]


def stored(stand: Stand, run: Run) -> list[int]:
    """The numbers of all lines of output that an execution has."""
    with psycopg.connect(stand.database) as connection:
        rows = connection.execute(
            "SELECT e.seq FROM kodosumi.event e JOIN kodosumi.execution x ON x.id = e.execution_id"
            " WHERE x.fid = %s AND e.kind = 'stdout' ORDER BY e.seq",
            (run.fid,),
        ).fetchall()
    return [row[0] for row in rows]


def test_a_run_is_followed_live_to_its_end(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Followed").begin(question=42)
    page.goto(f"/executions/{run.fid}")
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate("window.loadedOnce = true")
    run.say("result", markdown("a *first* result"))
    expect(page.locator("#output-list em")).to_have_text("first")
    run.say("progress", serialize({"done": 1, "total": 4, "text": "one of four"}))
    expect(page.locator("#progress")).to_contain_text("one of four")
    run.lines("\x1b[31mred\x1b[0m and plain", "<b>not bold</b>")
    page.get_by_role("tab", name="Log").click()
    expect(page.locator("#log-list li").last).to_contain_text("<b>not bold</b>")
    red = page.locator("#log-list span", has_text=re.compile("^red$"))
    plain = page.locator("#log-list .text", has_text="and plain")
    colour = "e => getComputedStyle(e).color"
    assert red.evaluate(colour) != plain.evaluate(colour)
    page.get_by_role("tab", name="Inputs").click()
    expect(page.locator("#panel-inputs")).to_contain_text("42")
    page.go_back()
    expect(page.locator("#panel-log")).to_be_visible()
    arrived(page, re.compile("tab=log"))
    run.fail('Traceback (most recent call last):\n  File "a.py"\nValueError: no such thing')
    expect(page.locator("#summary .chip")).to_contain_text("error")
    expect(page.locator("#live")).to_have_text("Complete")
    page.get_by_role("tab", name="Output").click()
    failure = page.locator("#result .failure")
    expect(failure.locator(".message")).to_have_text("ValueError: no such thing")
    expect(failure.get_by_text('File "a.py"')).to_be_hidden()
    failure.get_by_text("Traceback", exact=True).click()
    expect(failure.get_by_text('File "a.py"')).to_be_visible()
    assert page.evaluate("window.loadedOnce") is True


def test_a_lost_network_is_told_and_mended_without_loss_or_repetition(
    new_context: NewContext, stand: Stand, complaints: Complaints
) -> None:
    complaints.expected += ["net::ERR_", "htmx:"]
    gate = Gate("127.0.0.1", int(stand.url.rpartition(":")[2]))
    try:
        page = new_context(stand).new_page()
        run = stand.run().begin().lines(*(f"before {n}" for n in range(50)))
        page.goto(f"http://127.0.0.1:{gate.port}/executions/{run.fid}?tab=log")
        expect(page.locator("#live")).to_have_text("Live")
        expect(page.locator("#log-list")).to_contain_text("before 49")
        for turn in range(2):
            gate.shut()
            run.lines(*(f"meanwhile {turn} {n}" for n in range(30)))
            expect(page.locator("#live")).to_have_text("Reconnecting")
            expect(page.locator("#notices")).to_contain_text("The panel does not answer")
            gate.open()
            run.lines(f"after {turn}")
            expect(page.locator("#live")).to_have_text("Live", timeout=30_000)
            expect(page.locator("#log-list li").last).to_contain_text(f"after {turn}")
            expect(page.locator("#notices")).to_be_empty()
        assert seqs(page) == stored(stand, run)
    finally:
        gate.close()


def test_a_long_log_is_a_window_that_reaches_every_line(page: Page, stand: Stand) -> None:
    run = stand.run().begin()
    for start in range(0, LINES, 2000):
        run.lines(
            *(
                f"line {n}" + (" with a needle" if n in (5, 9_000, 19_990) else "")
                for n in range(start, start + 2000)
            )
        )
    open_log(page, run)
    screen, lines = page.locator("#log-screen"), page.locator("#log-list li[data-seq]")
    expect(lines.last).to_contain_text(f"line {LINES - 1}")
    numbers = stored(stand, run)

    def reached(seq: int) -> bool:
        found = seqs(page)
        assert len(found) <= IN_PAGE
        assert found == sorted(set(found)), "out of order, or twice"
        return bool(found) and found[0] <= seq <= found[-1]

    # From the end to the beginning, as a person scrolls.
    steps = 0
    while not reached(numbers[0]):
        first = str(seqs(page)[0])
        screen.evaluate("e => { e.scrollTop = 0 }")
        page.wait_for_function(
            "first => document.querySelector('#log-list [data-seq]')?.dataset.seq != first",
            arg=first,
        )
        steps += 1
        assert steps < LINES
    expect(lines.first).to_contain_text(re.compile(r"line 0\b"))

    search = page.get_by_label("Search the whole log")
    search.fill("NEEDLE")
    counted = page.locator("#log-count")
    for button, expected, line in (
        ("Previous", "3 of 3", 19_990),
        ("Previous", "2 of 3", 9_000),
        ("Previous", "1 of 3", 5),
        ("Next", "2 of 3", 9_000),
    ):
        page.get_by_role("button", name=button, exact=True).click()
        expect(counted).to_have_text(expected)
        expect(screen.get_by_text(f"line {line} with a needle")).to_be_in_viewport()
        assert reached(numbers[line])
    assert page.evaluate("CSS.highlights.get('found').size") >= 1
    page.reload()
    expect(search).to_have_value("NEEDLE")
    search.fill("nothing like it")
    page.get_by_role("button", name="Next", exact=True).click()
    expect(counted).to_have_text("not found")

    # Following the end, pausing, and going back to it.
    search.fill("")
    page.goto(f"/executions/{run.fid}?tab=log")
    expect(lines.last).to_contain_text(f"line {LINES - 1}")
    run.lines("one more")
    expect(screen.get_by_text("one more")).to_be_in_viewport()
    screen.evaluate("e => { e.scrollTop = e.scrollHeight / 3 }")
    follow = page.locator("#log-follow")
    expect(follow).to_be_visible()
    expect(follow).to_have_attribute("aria-pressed", "false")
    where = screen.evaluate("e => e.scrollTop")
    run.lines("and another")
    page.evaluate("new Promise((told) => setTimeout(told, 500))")  # time to do it wrongly
    assert abs(screen.evaluate("e => e.scrollTop") - where) < 5
    follow.click()
    expect(screen.get_by_text("and another")).to_be_in_viewport()


def test_raw_events_are_copied_and_downloaded(new_context: NewContext, stand: Stand) -> None:
    context = new_context(stand, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    run = stand.run().begin(question=42).say("action", serialize("an action")).finish()
    page.goto(f"/executions/{run.fid}?tab=raw")
    row = page.locator("#raw-list li", has_text="an action")
    row.locator("summary").click()
    row.get_by_role("button", name="Copy payload").click()
    expect(row.get_by_role("button", name="Copied")).to_be_visible()
    page.wait_for_function("navigator.clipboard.readText().then((t) => t.includes('an action'))")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all as JSON lines").click()
    text = download.value.path().read_text()
    assert len(text.splitlines()) == page.locator("#raw-list li[data-seq]").count()
    assert '"an action"' in text or "an action" in text


def log_texts(page: Page) -> list[str]:
    return page.locator("#log-list .text").all_text_contents()


def of_task(at: float, number: int, task: str) -> Event:
    source = json.dumps({"task_run": {"id": task, "name": f"{task}-run"}})
    return Event(at, "stdout", f"{number}", 1, source)


def test_lines_of_tasks_stand_by_their_times_live_and_loaded(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Tasks at once").begin()
    open_log(page, run)
    expect(page.locator("#live")).to_have_text("Live")
    now = time.time()
    for first in (0, 40):  # each task delivers its own half of what was said by turns
        for task, odd in (("second", 1), ("first", 0)):
            numbers = range(first + odd, first + 40, 2)
            run.put(*(of_task(now + number / 10, number, task) for number in numbers))
    expect(page.locator("#log-list .text")).to_have_count(80)
    live = log_texts(page)
    assert live == [str(number) for number in range(80)]
    assert page.locator("#log-list .from").all_text_contents() == ["first-run", "second-run"] * 40
    page.reload()
    expect(page.locator("#log-list .text")).to_have_count(80)
    assert log_texts(page) == live
    run.finish()


def test_a_long_log_that_is_out_of_order_has_every_line_once_at_its_time(
    page: Page, stand: Stand
) -> None:
    lines = 6000
    run = stand.run(summary="Out of order").begin()
    now, chance = time.time(), random.Random(1)
    stretches = list(range(0, lines, 50))
    for start in stretches:
        numbers = list(range(start, start + 50))
        chance.shuffle(numbers)
        run.put(*(of_task(now + number / 100, number, "task") for number in numbers))
    run.finish()
    open_log(page, run)
    expect(page.locator("#log-list .text").last).to_have_text(str(lines - 1))
    seen: set[str] = set()

    def look() -> None:
        shown = [int(text) for text in log_texts(page)]
        assert shown == sorted(set(shown))
        seen.update(map(str, shown))

    look()
    while page.locator("#panel-log .earlier").is_visible():
        top = page.locator("#log-list li").first.get_attribute("data-seq")
        page.locator("#panel-log .earlier a").evaluate("link => link.click()")
        expect(page.locator("#log-list li").first).not_to_have_attribute("data-seq", str(top))
        look()
    assert seen == {str(number) for number in range(lines)}
    seen.clear()
    look()
    while page.locator("#panel-log .later").is_visible():
        end = page.locator("#log-list li").last.get_attribute("data-seq")
        page.locator("#panel-log .later a").evaluate("link => link.click()")
        expect(page.locator("#log-list li").last).not_to_have_attribute("data-seq", str(end))
        look()
    assert seen == {str(number) for number in range(lines)}


def test_a_group_of_errors_is_one_line_live_and_loaded(page: Page, stand: Stand) -> None:
    run = stand.run(summary="Group").begin()
    page.goto(f"/executions/{run.fid}?tab=trace")
    expect(page.locator("#live")).to_have_text("Live")
    run.fail(
        "  + Exception Group Traceback (most recent call last):\n"
        '  |   File "a.py", line 1, in <module>\n'
        "  | ExceptionGroup: both (2 sub-exceptions)\n"
        "  +-+---------------- 1 ----------------\n"
        "    | ValueError: one\n"
        "    +---------------- 2 ----------------\n"
        "    | KeyError: 'two'\n"
        "    +------------------------------------"
    )
    line = page.locator("#steps-list .error summary")
    expect(line).to_have_text("ValueError: one; KeyError: 'two'")
    page.reload()
    expect(line).to_have_text("ValueError: one; KeyError: 'two'")


def test_a_data_frame_is_a_table_that_scrolls_by_itself(page: Page, stand: Stand) -> None:
    rows = [[number, number / 7, f"word {number}"] for number in range(1000)]
    frame = {"columns": ["n", "share", "word"], "data": rows, "shape": [25000, 3]}
    run = stand.run(summary="Frame").begin().finish(json.dumps({"DataFrame": frame}))
    page.goto(f"/executions/{run.fid}")
    table = page.locator("#result .frame")
    expect(table.locator("tbody tr")).to_have_count(1000)
    expect(page.locator("#result")).to_contain_text("first 1,000 of 25,000 rows × 3 columns")
    assert table.evaluate("each => each.scrollHeight > each.clientHeight")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
