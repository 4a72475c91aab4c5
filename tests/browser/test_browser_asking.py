"""Questions to particular people: their cards, handing them on, teams, and a link's page."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from kodosumi_prefect import forms
from tests.browser.conftest import NewContext
from tests.browser.faults import PHONE
from tests.browser.looking import sideways, violations
from tests.locks.people import fetch
from tests.panel.asked_questions import add_team, asking
from tests.panel.panel_runs import Stand

FORM = forms.Model(forms.InputText("why", label="Why"), forms.Checkbox("yes", option="Publish it"))


@pytest.fixture
def public(stand: Stand) -> Iterator[Stand]:
    """The panel, as if others reached it."""
    settings = stand.app.state.panel.settings
    before, settings.panel_url = settings.panel_url, "https://panel.example.org"
    yield stand
    settings.panel_url = before


def looks_right(page: Page) -> None:
    """In both themes, wide and on a phone."""
    wide = page.viewport_size
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for size in (wide, PHONE):
            assert size is not None
            page.set_viewport_size(size)
            assert (sideways(page), violations(page)) == (0, []), (page.url, scheme)
        assert wide is not None
        page.set_viewport_size(wide)


def add_steps(stand: Stand, where: str, *people: str) -> None:
    """What the observer notes of a question."""
    fid, lid = where.split("/")
    for step in ("asked", "reminded"):
        fetch(
            stand.database,
            "INSERT INTO kodosumi.lock_step (execution_id, lid, step, reached)"
            " SELECT id, %s, %s, %s FROM kodosumi.execution WHERE fid = %s",
            lid,
            step,
            list(people),
            fid,
        )


def test_a_card_tells_who_is_asked_and_is_handed_on_without_a_reload(
    new_context: NewContext, stand: Stand
) -> None:
    names = [f"{name}-{uuid4().hex[:6]}" for name in ("ann", "bob")]
    for name in names:
        stand.person(name)
    team = f"legal-{uuid4().hex[:6]}"
    add_team(stand, team, names[0])
    run, where = asking(
        stand,
        None,
        FORM,
        ask=["owner", f"team:{team}"],
        title="Publish the report?",
        question="It goes to **all** customers.",
        quorum=2,
        link=True,
    )
    add_steps(stand, where, names[0])
    page = new_context(stand).new_page()
    page.goto("/waiting")
    card = page.locator(f"[data-lock='{where}']")
    expect(card).to_contain_text(f"Asked: the owner and team {team}")
    expect(card).to_contain_text("0 of 2 answers")
    expect(card).to_contain_text(f"reminded {names[0]}")
    looks_right(page)
    page.get_by_role("link", name="Questions for me").click()
    expect(card).to_have_count(0)
    expect(page.get_by_role("link", name="Questions for me")).to_have_attribute(
        "aria-current", "page"
    )
    page.goto(f"/executions/{run.fid}")
    card.get_by_text("Hand it on").click()
    card.get_by_label("Account", exact=True).first.fill("nobody there")
    card.get_by_role("button", name="Hand on").click()
    expect(card.get_by_role("alert").filter(has_text="no active account")).to_be_visible()
    looks_right(page)
    card.get_by_label("Account", exact=True).first.fill(names[1])
    card.get_by_role("button", name="Hand on").click()
    expect(card).to_contain_text(f"is handed on to {names[1]}")
    page.goto(f"/executions/{run.fid}?tab=trace&view=steps")
    steps = page.locator(".lock-steps").last
    expect(steps).to_contain_text(f"handed on to {names[1]} by admin")
    looks_right(page)


def test_teams_are_kept_by_forms(new_context: NewContext, stand: Stand) -> None:
    name = f"ann-{uuid4().hex[:6]}"
    stand.person(name)
    page = new_context(stand).new_page()
    page.goto("/teams")
    team = f"board {uuid4().hex[:6]}"
    add = page.locator("section").filter(has_text="Add a team")
    add.get_by_label("Name").fill(team)
    add.get_by_label(name).check()
    add.get_by_role("button", name="Add team").click()
    expect(page.get_by_text(f"“{team}” is added.")).to_be_visible()
    own = page.locator("section.team").filter(has_text=team)
    own.get_by_text("Change", exact=True).click()
    looks_right(page)
    own.get_by_label(name).uncheck()
    own.get_by_role("button", name="Save").click()
    expect(own).to_contain_text("Nobody yet")
    page.once("dialog", lambda dialog: dialog.accept())
    own.get_by_text("Change", exact=True).click()
    own.get_by_role("button", name="Delete the team").click()
    expect(own).to_have_count(0)


def test_a_link_is_made_on_a_card_and_answers_without_script_or_account(
    new_context: NewContext, public: Stand
) -> None:
    run, where = asking(
        public,
        None,
        FORM,
        title="Publish the report?",
        question="It goes to **all** customers.",
        link=True,
    )
    page = new_context(public).new_page()
    page.goto(f"/waiting/{where}")
    page.get_by_text("Make a link to answer with").click()
    page.get_by_label("or somebody without one").fill("Jane of Legal")
    page.get_by_label("Ask for a code too").check()
    page.get_by_role("button", name="Make the link").click()
    url = page.get_by_label("Link", exact=True).input_value()
    code = page.get_by_text("Code, to be sent another way").locator("strong").inner_text()
    looks_right(page)
    outside = new_context(public, signed_in=False, java_script_enabled=False).new_page()
    outside.goto(urlsplit(url).path)
    expect(outside.get_by_role("heading", name="Publish the report?")).to_be_visible()
    expect(outside.get_by_text("Sign out")).to_have_count(0)
    outside.get_by_label("Why").fill("It is right.")
    outside.get_by_label(re.compile("^Code")).fill("no code")
    outside.get_by_role("button", name="Answer").click()
    expect(outside.get_by_text("This is not the code.")).to_be_visible()
    expect(outside.get_by_label("Why")).to_have_value("It is right.")
    outside.get_by_label(re.compile("^Code")).fill(code)
    outside.get_by_role("button", name="Answer").click()
    expect(outside.get_by_text("your answer is given")).to_be_visible()
    assert public.json(f"/outputs/status/{run.fid}")["locks"] == []
    looking = new_context(public, signed_in=False).new_page()
    _, where = asking(public, None, FORM, title="Another?", link=True)
    made = public.client.post(f"/lock/{where}/links", json={"recipient": "Jane"}).json()
    looking.goto(urlsplit(made["url"]).path)
    looks_right(looking)
