"""Fields of forms, as they are filled in, refused and corrected."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from kodosumi_prefect import forms
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document, operation
from tests.panel.panel_runs import Stand

FIELDS = forms.Model(
    forms.InputText("name", label="First name"),
    forms.Select("kind", label="Sort", option=[forms.InputOption("a"), forms.InputOption("b")]),
    forms.Checkbox("agree", option="I agree"),
    forms.InputText("city", label="City"),
)


@pytest.fixture
def launch_page(page: Page, stand: Stand) -> Iterator[Page]:
    """The page of a service that refuses every field, and then does not answer at all."""
    service = Faulty(**{"openapi.json": document({"/go": {"get": operation("Refuses")}})})
    elements: list[dict[str, Any]] = FIELDS.get_model()
    service.answers["/go"] = {
        "elements": elements,
        "errors": {name: [f"{name} is wrong"] for name in ("name", "kind", "agree", "city")},
    }
    with served_app(service.app) as url:
        found = stand.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
        [item] = found.raise_for_status().json()
        page.goto(f"/services/{item['uid']}")
        page.get_by_role("button", name="Run now").click()
        expect(page.get_by_text("city is wrong")).to_be_visible()
        service.answers["/go"] = {"detail": "no"}
        yield page


def test_a_corrected_field_loses_its_error_and_the_others_keep_theirs(launch_page: Page) -> None:
    launch_page.get_by_label("First name").fill("somebody")
    launch_page.get_by_label("Sort").select_option("b")
    launch_page.get_by_label("I agree").check()
    for name in ("name", "kind", "agree"):
        expect(launch_page.get_by_text(f"{name} is wrong")).to_have_count(0)
    for label in ("First name", "Sort", "I agree"):
        field = launch_page.get_by_label(label)
        assert field.get_attribute("aria-invalid") is None
        assert field.get_attribute("aria-describedby") is None
    launch_page.get_by_role("button", name="Run now").click()
    expect(launch_page.locator("#trouble")).to_contain_text("answered neither")
    expect(launch_page.get_by_text("name is wrong")).to_have_count(0)
    expect(launch_page.get_by_text("city is wrong")).to_be_visible()
    expect(launch_page.get_by_label("City")).to_have_attribute("aria-invalid", "true")
