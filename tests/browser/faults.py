"""What is wrong with the looks of a page, as far as a machine can tell."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.looking import sideways, violations

WEIGHT = 250_000  # bytes that a page may transfer with all it needs
SHIFT = 0.1  # of the layout while a page loads, as web vitals count it
SHIFTS = """window.movedWhileLoading = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries())
    if (!entry.hadRecentInput)
      window.movedWhileLoading.push(
        [entry.value, entry.sources.map((source) => source.node?.outerHTML?.slice(0, 90))]);
}).observe({ type: "layout-shift", buffered: true });"""
PAINTED = """() => document.fonts.ready.then(() => new Promise((done) =>
  requestAnimationFrame(() => requestAnimationFrame(() => done(true)))))"""
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


class Scales:
    """Bytes that a page's network answers took, as they came over the wire."""

    def __init__(self, page: Page) -> None:
        self.bytes = 0
        self._session = page.context.new_cdp_session(page)
        self._session.send("Network.enable")
        self._session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        self._session.on("Network.loadingFinished", self._add)
        page.add_init_script(SHIFTS)

    def _add(self, told: dict[str, Any]) -> None:
        self.bytes += int(told["encodedDataLength"])


def faults(
    page: Page, path: str, scales: Scales, ready: Callable[[Page], object] | None = None
) -> list[str]:
    """What is wrong with a page: weight, contrast and names in both themes, and its width.

    Arguments:
        ready: brings the page to what is to be looked at.
    """
    scales.bytes = 0
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")
    page.goto(path)
    expect(page.get_by_role("heading").first).to_be_visible()
    page.wait_for_load_state("load")
    if ready is not None:
        ready(page)
    moved = _moved(page)
    found = [f"light: {text}" for text in violations(page)]
    page.emulate_media(color_scheme="dark")
    found += [f"dark: {text}" for text in violations(page)]
    if wider := sideways(page):
        found.append(f"{wider} px too wide for {WIDE['width']}")
    page.set_viewport_size(PHONE)
    if wider := sideways(page):
        found.append(f"{wider} px too wide for {PHONE['width']}")
    found += [f"on a phone: {text}" for text in violations(page, contrast=False)]
    if sum(value for value, _ in moved) > SHIFT:
        found.append(f"moves while it loads: {moved}")
    if scales.bytes > WEIGHT:
        found.append(f"weighs {scales.bytes} bytes")
    return found


def _moved(page: Page) -> list[tuple[float, list[str]]]:
    """How far what moved since the page was opened, once all that it loads is there."""
    expect(page.locator(".htmx-request")).to_have_count(0)
    page.evaluate(PAINTED)
    return [(value, nodes) for value, nodes in page.evaluate("window.movedWhileLoading")]
