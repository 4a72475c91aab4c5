"""The audit's page, with script and without."""

from uuid import uuid4

from playwright.sync_api import expect

from tests.browser.conftest import NewContext
from tests.browser.faults import PHONE
from tests.browser.looking import sideways, violations
from tests.panel.panel_runs import Stand


def test_an_operator_narrows_it_down_by_the_form_and_shares_the_address(
    new_context: NewContext, stand: Stand
) -> None:
    mira = stand.person(f"mira-{uuid4().hex[:8]}")
    for n in range(60):
        mira.client.post("/keys", json={"name": f"key {n}"})
    page = new_context(stand, java_script_enabled=False, viewport=PHONE).new_page()
    page.goto("/executions")
    page.locator(".me > summary").click()
    page.get_by_role("link", name="Audit", exact=True).click()
    page.get_by_label("Who").fill(mira.name)
    page.get_by_label("What").select_option("Create an API key")
    page.get_by_role("button", name="Filter").click()
    rows = page.get_by_role("row").filter(has_text="Create an API key")
    expect(rows).to_have_count(50)
    expect(rows.first).to_contain_text("key 59")
    assert f"actor={mira.name}" in page.url and "action=key_create" in page.url
    page.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(10)
    expect(page.get_by_label("Who")).to_have_value(mira.name)
    expect(rows.last).to_contain_text("key 0")
    page.get_by_role("link", name="Show all").click()
    expect(page.get_by_label("Who")).to_have_value("")


def test_it_is_legible_and_fits_a_phone_with_hostile_names_in_it(
    new_context: NewContext, stand: Stand
) -> None:
    long = f"<b>{uuid4().hex}</b>{'x' * 150}"
    agent = f"<script>alert(1)</script>{'agent' * 60}"
    stand.client.post("/keys", json={"name": long}, headers={"User-Agent": agent})
    page = new_context(stand, viewport=PHONE).new_page()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto("/audit")
        expect(page.get_by_text(long)).to_be_visible()
        assert (sideways(page), violations(page)) == (0, [])
