"""The Chromium of the browser tests; ``python -m tests.browser.chromium`` makes sure of one."""

import os
import shutil
import subprocess
import sys

from playwright.sync_api import Browser, Error, Playwright, sync_playwright

# The shell draws the same pages for a third of the processor time: it has no window to keep up.
SHELL = "chromium-headless-shell"
NAMES = (SHELL, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ADVICE = f"install one: `apt-get install {SHELL}` or `playwright install --with-deps chromium`"


def launch(playwright: Playwright) -> Browser:
    """The system's own Chromium if there is one, else the one that Playwright has downloaded.

    Raises:
        playwright.sync_api.Error: neither is there.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=found, args=options)


def works() -> bool:
    """Whether a Chromium is there that starts."""
    with sync_playwright() as playwright:
        try:
            launch(playwright).close()
        except Error:
            return False
    return True


def ways() -> list[list[list[str]]]:
    """Commands that install one, the most likely to work first; each way is some commands."""
    playwright = [[[sys.executable, "-m", "playwright", "install", "chromium"]]]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return playwright
    install = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends"]
    update = ["apt-get", "update", "-qq"]
    debian = [[update, [*install, package]] for package in (SHELL, "chromium")]
    return [*debian, *playwright]


def main() -> None:
    """Install a Chromium unless one works; without one the browser tests skip and say so."""
    if works():
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for way in ways():
        sys.stdout.write(f"No Chromium for the browser tests; trying `{' '.join(way[-1])}`\n")
        sys.stdout.flush()
        done = [subprocess.run(command, env=environment, check=False).returncode for command in way]
        if done[-1] == 0 and works():
            return
    sys.stderr.write(f"There is no Chromium that starts: browser tests are skipped; {ADVICE}\n")


if __name__ == "__main__":
    main()
