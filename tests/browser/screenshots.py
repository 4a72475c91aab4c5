"""Small screenshots of the panel for the README: ``python -m tests.browser.screenshots``.

Starts a stack of its own in a temporary folder, lets the flows of ``flows/`` run on it, shoots its
pages with Chromium into ``docs/`` and ends what it started.
"""

import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.browser.chromium import launch as launch_browser
from tests.e2e.running import PASSWORD, REPOSITORY, Up, running_up
from tests.waiting import wait_for

FOLDER = REPOSITORY / "docs"
SIZE = ViewportSize(width=1180, height=760)  # CSS pixels
PHONE = ViewportSize(width=360, height=740)
PATHS = {
    "services": "services",
    "launch": "services/{uid}?schedule=true#schedule",
    "executions": "executions",
    "execution": "executions/{fid}",
    "trace": "executions/{traced}?tab=trace",
    "log": "executions/{fid}?tab=log",
    "tasks": "executions/{fid}?tab=tasks",
    "waiting": "waiting",
    "system": "system",
}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
IN_BOTH = ("executions", "execution", "services")
SCALE = 0.62  # of a device pixel to a CSS pixel, which keeps the pictures small
QUESTION = {"question": "How warm is it in Lisbon, and what is 17 * 23?"}
POINTS = {"title": "Maintenance", "audience": "all", "points": "on Sunday\nfrom 6 to 8"}


def launch(up: Up, url: str, inputs: dict[str, object]) -> str:
    """Launch the endpoint at that address; the execution's fid."""
    answer = up.client.post(url, json=inputs, timeout=60).raise_for_status().json()
    assert answer.get("result"), answer
    return str(answer["result"])


def populate(up: Up) -> dict[str, str]:
    """Runs that finished and wait; what addresses name: a run, its service, and an agent's run."""
    items = up.client.get("/flow", params={"pp": 100}).raise_for_status().json()["items"]
    digest, review, assistant = (
        next(item for item in items if word in item["url"])
        for word in ("digest", "review", "assistant")
    )
    sample = next(
        option["name"]
        for element in up.client.get(digest["url"]).raise_for_status().json()["elements"]
        if element.get("name") == "sample"
        for option in element["option"]
        if option["name"]
    )
    shown = ""
    for _ in range(3):
        shown = launch(
            up, digest["url"], {"sample": sample, "language": "en", "parts": 4, "sentences": 2}
        )
        up.until(shown, "finished", 120)
    traced = launch(up, assistant["url"], dict(QUESTION))
    up.until(traced, "finished", 120)
    up.until(launch(up, review["url"], dict(POINTS)), "awaiting", 120)
    return {"fid": shown, "uid": str(digest["uid"]), "traced": traced}


def shoot(page: Page, name: str) -> None:
    """Take a picture of the page once its live parts have settled."""
    page.wait_for_timeout(1500)
    page.screenshot(path=FOLDER / f"{name}.png")
    sys.stdout.write(f"docs/{name}.png\n")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    apps = ("flows.review:app", "flows.document_digest:app", "flows.assistant:app")
    services = [word for app in apps for word in ("--service", app)]
    with tempfile.TemporaryDirectory() as folder, running_up(Path(folder), *services) as up:
        wait_for(lambda: len(up.client.get("/flow").json()["items"]) >= 3, 60, "the services")
        names = populate(up)
        with sync_playwright() as playwright, launch_browser(playwright) as browser:
            context = browser.new_context(viewport=SIZE, device_scale_factor=SCALE)
            page = context.new_page()
            page.goto(f"{up.panel}/login")
            page.fill("#name", "admin")
            page.fill("#password", PASSWORD)
            page.press("#password", "Enter")
            for name, path in PATHS.items():
                page.goto(f"{up.panel}/{path.format(**names)}")
                for theme in THEMES if name in IN_BOTH else THEMES[:1]:
                    page.emulate_media(color_scheme=theme)
                    shoot(page, name if theme == "light" else f"{name}-{theme}")
                page.emulate_media(color_scheme="light")
            page.set_viewport_size(PHONE)
            page.goto(f"{up.panel}/executions")
            page.locator(".open-menu").click()
            shoot(page, "phone")


if __name__ == "__main__":
    main()
