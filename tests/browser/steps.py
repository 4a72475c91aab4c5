"""Steps that several journeys take, and where the keyboard is on them."""

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect

LIVE = 90_000  # milliseconds until a run has begun, on a busy machine


def arrived(page: Page, url: str | re.Pattern[str]) -> None:
    """Wait for a page and its scripts, which a person has by the time they press anything."""
    expect(page).to_have_url(url)
    page.wait_for_load_state("load")


def fid_of(page: Page) -> str:
    """The execution that a page shows."""
    arrived(page, re.compile("/executions/[0-9a-f-]{36}"))
    return page.url.partition("/executions/")[2][:36]


def open_form(page: Page, service: str) -> None:
    page.goto("/services")
    page.get_by_role("link", name=service, exact=True).click()
    expect(page.get_by_role("heading", name="Run now")).to_be_visible()
    page.wait_for_load_state("load")


def status(page: Page) -> Locator:
    """The status at the top of an execution's page."""
    return page.locator("#summary .chip")


def focused(page: Page) -> str:
    """What has the keyboard's focus, which has to be in sight and marked."""
    what: dict[str, Any] = page.evaluate(
        """() => {
            const one = document.activeElement, box = one.getBoundingClientRect();
            const look = getComputedStyle(one);
            return {
                tag: one.tagName,
                name: (one.ariaLabel || one.labels?.[0]?.innerText || one.innerText || "").trim(),
                marked: look.outlineStyle !== "none" || look.boxShadow !== "none",
                inside: box.bottom > 0 && box.top < innerHeight && box.right > 0,
            };
        }"""
    )
    assert what["tag"] != "BODY", "the focus is lost"
    assert what["marked"], what
    assert what["inside"], what
    return str(what["name"])


def tab_to(page: Page, name: str, most: int = 40) -> None:
    """Press the tab key until what is named so has the focus; past the end it begins anew."""
    passed = []
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            page.keyboard.press("Tab")
        passed.append(focused(page))
        if passed[-1].startswith(name):
            return
    raise AssertionError(f"no way by keyboard to {name!r}: {passed}")
