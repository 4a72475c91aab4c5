"""Every page of the panel in both themes, wide and on a phone: whole, quiet, light and legible."""

import re
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from playwright.sync_api import Page, expect
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from kodosumi_prefect.events import serialize
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.browser.conftest import NewContext
from tests.browser.faults import PHONE, Scales, faults
from tests.browser.looking import PASSWORD, Complaints, sideways, violations
from tests.browser.sights import fill
from tests.panel.panel_runs import Stand, markdown, serving

EMPTY = (
    *("services", "executions", "waiting", "schedules", "account", "users", "budgets", "audit"),
    *("account/webhooks", "system"),
)
PARTS = 3  # in which the pages are looked at, which takes a while
SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries())
      if (!entry.hadRecentInput)
       window.shifts.push([entry.value, entry.sources.map((s) => s.node?.outerHTML?.slice(0, 80))]);
  }).observe({ type: "layout-shift", buffered: false });
}"""


@pytest.fixture(scope="module")
def filled(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stand, dict[str, str]]]:
    """A panel with something on every page, and the addresses of these."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_browser_pages TEMPLATE template_kodosumi")
    settings = Settings(
        database_url=SecretStr(make_conninfo(postgres.url, dbname="of_browser_pages")),
        data_dir=tmp_path_factory.mktemp("browser_pages"),
        admin_password=SecretStr(PASSWORD),
        service_timeout=2,
    )
    with ExitStack() as stack:
        stand = stack.enter_context(serving(settings))
        pages = fill(stand, stack)
        stand.close_runs()
        yield stand, pages


@pytest.mark.parametrize("part", range(PARTS))
def test_every_page_is_legible_fits_a_phone_and_is_light(
    new_context: NewContext, filled: tuple[Stand, dict[str, str]], complaints: Complaints, part: int
) -> None:
    stand, every = filled
    pages = dict(list(every.items())[part::PARTS])
    complaints.expected += ["404", "410"]
    page = new_context(stand, reduced_motion="reduce").new_page()
    scales = Scales(page)
    found = {name: faults(page, path, scales) for name, path in pages.items()}
    wrong = [f"{name}: {text}" for name, texts in found.items() for text in texts]
    assert wrong == [], "\n".join(wrong)


def test_every_page_is_legible_while_there_is_nothing_on_it(
    new_context: NewContext, settings: Settings
) -> None:
    own = settings.model_copy(update={"admin_password": SecretStr(PASSWORD)})
    with serving(own) as stand:
        page = new_context(stand, reduced_motion="reduce").new_page()
        scales = Scales(page)
        found = {name: faults(page, f"/{name}", scales) for name in EMPTY}
        stranger = new_context(stand, signed_in=False, reduced_motion="reduce").new_page()
        found["login"] = faults(stranger, "/login", Scales(stranger))
        for each in (page, stranger):
            each.context.close()  # or they ask on while the panel goes down
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def within(page: Page, selector: str) -> bool:
    """Whether all of it lies in the window."""
    box, window = page.locator(selector).bounding_box(), page.viewport_size
    assert box is not None and window is not None
    inside = box["x"] >= 0 and box["x"] + box["width"] <= window["width"]
    return inside and box["y"] >= 0 and box["y"] + box["height"] <= window["height"]


def test_what_opens_on_a_phone_lies_in_its_window_and_hides_nothing(
    new_context: NewContext, filled: tuple[Stand, dict[str, str]]
) -> None:
    page = new_context(filled[0], viewport=PHONE).new_page()
    page.goto("/executions")
    page.get_by_role("button", name="Filters").click()
    for word, popover in (("Status", "fieldset"), ("Between", "fieldset")):
        page.locator("summary", has_text=word).click()
        assert within(page, f".pick[open] > {popover}"), word
        assert (sideways(page), violations(page)) == (0, [])
        page.locator("summary", has_text=word).click()
    page.keyboard.press("Escape")
    expect(page.locator("#filters")).to_be_hidden()
    page.locator("tbody input[type=checkbox]").last.check()
    expect(page.locator("#bulk")).to_be_visible()
    assert within(page, "#bulk")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    row = page.locator("tbody tr").last.bounding_box()
    bar = page.locator("#bulk").bounding_box()
    assert row and bar and row["y"] + row["height"] <= bar["y"]
    page.get_by_role("button", name="Archive").click()
    expect(page.locator("#sure")).to_be_visible()
    assert within(page, "#sure")
    assert violations(page) == []


def test_a_source_that_is_added_while_it_is_away_is_a_warning(
    new_context: NewContext, stand: Stand
) -> None:
    page = new_context(stand, color_scheme="light").new_page()
    page.goto("/system")
    page.get_by_label("Add a source").fill("http://127.0.0.1:9/openapi.json")
    page.get_by_role("button", name="Add", exact=True).click()
    said = page.get_by_text("Added, but it cannot be read")
    expect(said).to_have_css("color", "rgb(138, 90, 0)")
    assert violations(page) == []
    page.get_by_role("button", name="Remove http://127.0.0.1:9/").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("The source is removed.")).to_be_visible()


def test_the_theme_follows_the_system_until_one_is_chosen(
    new_context: NewContext, stand: Stand
) -> None:
    page = new_context(stand, color_scheme="dark").new_page()
    dark, light = "rgb(18, 22, 29)", "rgb(246, 247, 249)"
    body = page.locator("body")
    page.goto("/executions")
    expect(body).to_have_css("background-color", dark)
    page.emulate_media(color_scheme="light")
    expect(body).to_have_css("background-color", light)
    page.get_by_label("Account admin").click()
    page.get_by_role("link", name="Account", exact=True).click()
    page.get_by_role("button", name="Dark").click()
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    expect(body).to_have_css("background-color", dark)
    page.reload()
    expect(body).to_have_css("background-color", dark)
    page.goto("/executions")
    expect(body).to_have_css("background-color", dark)
    page.goto("/account")
    page.get_by_role("button", name="System").click()
    expect(body).to_have_css("background-color", light)


def test_nothing_moves_while_events_stream(new_context: NewContext, stand: Stand) -> None:
    run = stand.run(summary="Streams").begin(topic="x").lines("first")
    run.say("progress", serialize({"done": 0, "total": 9, "text": "begins"}))
    run.say("result", markdown("result 0")).say("agent", serialize({"name": "a"}))
    context = new_context(stand)
    seen = {name: context.new_page() for name in ("output", "trace", "log", "raw", "list")}
    for name, page in seen.items():
        page.goto("/executions" if name == "list" else f"/executions/{run.fid}?tab={name}")
        expect(page.locator("#live")).to_have_attribute("data-state", "live")
        page.evaluate(SHIFTS)
    for n in range(1, 10):
        run.lines(f"line {n}", f"line {n} " + "long " * 40)
        run.say("progress", serialize({"done": n, "total": 9, "text": f"part {n}"}))
        run.say("result", markdown(f"result {n}")).say("action", serialize({"step": n}))
        expect(seen["output"].get_by_text(f"result {n}")).to_have_count(1)
    expect(seen["log"].locator("#log-list").get_by_text("line 9", exact=True)).to_be_attached()
    moved = {name: page.evaluate("window.shifts") for name, page in seen.items()}
    # Its end takes the progress away, which may move its own page; the list stays as it is.
    run.finish()
    row = seen["list"].get_by_role("row").filter(has_text="Streams")
    expect(row).to_contain_text("finished")
    moved["list"] = seen["list"].evaluate("window.shifts")
    sums = {name: sum(value for value, _ in shifts) for name, shifts in moved.items()}
    assert max(sums.values()) < 0.01, moved


def test_who_wants_less_motion_gets_none(new_context: NewContext, stand: Stand) -> None:
    run = stand.run(summary="Breathes").begin()
    running = "document.getAnimations().filter(a => a.playState === 'running').length"
    page = new_context(stand, reduced_motion="no-preference").new_page()
    page.goto(f"/executions/{run.fid}")
    expect(page.locator(".chip.running")).to_be_visible()
    assert page.evaluate(running) > 0
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(running) == 0


def test_the_typeface_is_ours_and_there_when_the_page_is_first_painted(
    new_context: NewContext, stand: Stand
) -> None:
    page = new_context(stand).new_page()
    answers: dict[str, str] = {}
    page.on(
        "response", lambda answer: answers.setdefault(answer.url, answer.headers["cache-control"])
    )
    page.goto("/executions")
    assert page.evaluate("document.fonts.ready.then(() => document.fonts.check('16px Inter'))")
    fonts = {url: kept for url, kept in answers.items() if "/static/fonts/" in url}
    assert [url.rpartition("/")[2] for url in fonts] == ["inter-v20-latin.woff2"]
    assert all("immutable" in kept for kept in fonts.values())
    loaded = "[...document.fonts].filter((face) => face.status === 'loaded').length"
    assert page.evaluate(loaded) >= 1


def test_areas_are_a_menu_on_a_phone_also_without_script(
    new_context: NewContext, stand: Stand
) -> None:
    for script in (True, False):
        page = new_context(stand, viewport=PHONE, java_script_enabled=script).new_page()
        page.goto("/services")
        area = page.get_by_role("navigation", name="Main")
        expect(area).to_be_hidden()
        page.locator(".open-menu").focus()
        page.keyboard.press("Enter")
        expect(area).to_be_visible()
        assert within(page, "#areas")
        page.keyboard.press("Escape")
        expect(area).to_be_hidden()
        expect(page.locator(".open-menu")).to_be_focused()
        page.locator(".open-menu").click()
        area.get_by_role("link", name="Schedules").click()
        expect(page).to_have_url(re.compile("/schedules$"))


def test_filters_are_a_sheet_on_a_phone(new_context: NewContext, stand: Stand) -> None:
    page = new_context(stand, viewport=PHONE).new_page()
    page.goto("/schedules")
    expect(page.get_by_label("Paused or not")).to_be_hidden()
    page.locator(".open-sheet").click()
    expect(page.get_by_label("Paused or not")).to_be_visible()
    assert within(page, "#more-filters")
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("#more-filters")).to_be_hidden()


def test_keys_lead_through_the_panel_and_are_shown(new_context: NewContext, stand: Stand) -> None:
    runs = [stand.run(summary=f"Keyed {n}").begin().finish() for n in range(3)]
    page = new_context(stand).new_page()
    page.goto("/services")
    page.keyboard.press("g")
    with page.expect_navigation(url=re.compile("/executions$")):
        page.keyboard.press("e")
    page.keyboard.press("?")
    shown = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(shown).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(shown).to_be_hidden()
    for key, title in (("j", "Keyed 2"), ("j", "Keyed 1"), ("k", "Keyed 2"), ("j", "Keyed 1")):
        page.keyboard.press(key)
        expect(page.get_by_role("link", name=title)).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox").first).to_be_focused()
    page.keyboard.type("jg?e")  # typed, and nothing else
    expect(page.get_by_role("searchbox").first).to_have_value("jg?e")
    expect(shown).to_be_hidden()
    page.goto("/executions")
    page.keyboard.press("j")
    with page.expect_navigation(url=re.compile(runs[2].fid)):
        page.keyboard.press("Enter")
    with page.expect_navigation(url=re.compile("/waiting$")):
        page.keyboard.press("a")


def test_keys_can_be_turned_off(new_context: NewContext, stand: Stand) -> None:
    page = new_context(stand).new_page()
    page.goto("/account")
    page.get_by_role("region", name="Keyboard shortcuts").get_by_role("button", name="Off").click()
    expect(page.locator("body")).to_have_attribute("data-keys", "off")
    for key in ("?", "g", "e"):
        page.keyboard.press(key)
    expect(page.locator("#keys-help")).to_be_hidden()
    expect(page).to_have_url(re.compile("/account$"))
    page.get_by_label("Account admin").click()
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()


def test_a_password_is_generated_or_typed_and_never_both(
    new_context: NewContext, stand: Stand
) -> None:
    page = new_context(stand).new_page()
    page.goto("/users")
    field = page.locator("input[type=password]")
    expect(field).to_be_hidden()
    page.get_by_label("Type one").check()
    expect(field).to_be_visible()
    page.get_by_label("Generate one and show it once").check()
    expect(field).to_be_hidden()


def test_statuses_differ_by_more_than_their_colour(new_context: NewContext, stand: Stand) -> None:
    stand.run(summary="Done").begin().finish()
    stand.run(summary="Broken").begin().fail()
    stand.run(summary="Under way").begin()
    page = new_context(stand).new_page()
    page.goto("/executions")
    shapes = page.eval_on_selector_all(
        ".chip",
        "chips => chips.map((chip) => [chip.className, chip.querySelector('svg').innerHTML])",
    )
    drawn = dict(shapes)
    assert len(set(drawn.values())) == len(drawn) >= 3
