"""What browser tests do and look for on any page."""

from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, expect

AXE = Path(__file__).with_name("axe-4.14.1.min.js")
NAME = "admin"
PASSWORD = "correct horse battery"
CUT_OFF = ("htmx:sendError", "htmx:afterRequest")


def sign_in(page: Page, url: str, name: str = NAME, password: str = PASSWORD) -> None:
    """Sign in by the page as a person does."""
    page.goto(f"{url}/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(page).not_to_have_url(f"{url}/login")
    page.wait_for_load_state("load")


class Complaints:
    """Errors that pages of some contexts wrote to their consoles, and exceptions nobody caught.

    Attributes:
        expected: texts of complaints that a test brings about on purpose.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.expected = ["status of 422"]  # wrong fields, told in place
        self._cut_off = 0  # requests that ended because their page was left

    def listen(self, context: BrowserContext) -> None:
        context.on("console", self._console)
        context.on("requestfailed", self._failed)
        context.on("weberror", lambda error: self._hear(str(error.error)))

    @property
    def unexpected(self) -> list[str]:
        heard = [text for text in self.heard if not any(part in text for part in self.expected)]
        for _ in range(self._cut_off):
            for event in CUT_OFF:  # htmx writes down both, if the page gets to hear of it at all
                one = next((text for text in heard if text.startswith(event)), None)
                if one is not None:
                    heard.remove(one)
        return heard

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._hear(f"{message.text} ({message.location.get('url', '')})")

    def _failed(self, request: Request) -> None:
        if request.failure == "net::ERR_ABORTED":
            self._cut_off += 1

    def _hear(self, text: str) -> None:
        self.heard.append(text)


def violations(page: Page, *, contrast: bool = True) -> list[str]:
    """What axe finds on the page that is serious or critical, one line each with where it is.

    Whether texts have enough ``contrast`` takes most of its time, and is the same at any width.

    It is evaluated through the debugger, which the page's Content-Security-Policy does not bind.
    """
    page.evaluate(AXE.read_text(encoding="utf-8"))
    rules = {"color-contrast": {"enabled": contrast}}
    found: dict[str, Any] = page.evaluate(
        "rules => axe.run(document, {resultTypes: ['violations'], rules})", rules
    )
    return [
        f"{rule['impact']} {rule['id']}: {node['target']} {node['html'][:160]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def sideways(page: Page) -> int:
    """By how many CSS pixels the page is wider than its window."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )
