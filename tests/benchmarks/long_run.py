"""How quick the page of an execution with 200,000 events is, in Chromium.

    python -m tests.benchmarks.long_run [--events 200000] [--others 1800000] [--rounds 5]

Starts a Postgres and a panel of its own. Frame times while the log is scrolled stand beside those
of the same page at rest, the first paint beside that of a page with next to nothing on it. Exits 1
above a limit.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pydantic import SecretStr

from kodosumi_prefect.database import migrate
from kodosumi_prefect.events import Event, serialize
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.benchmarks.harness import machine, panel, quantile, report
from tests.browser.chromium import launch

SCHEMA = "kodosumi"
PAINT_LIMIT = 1000.0  # milliseconds until something is painted, median
OPEN_LIMIT = (
    1000.0  # milliseconds until the newest lines, or what was searched for, are there, median
)
FRAME_LIMIT = 50.0  # milliseconds of a frame while the log is scrolled, 95th percentile
BATCH = 2000
PIXELS = 200  # a frame, which is a quick flick
WORDS = ("plan", "search", "read", "page", "answer", "tokens", "agent", "tool", "step", "source")
FREQUENT, RARE, NOWHERE = "retrieved", "needle", "unspoken"
WANTED = {FREQUENT: "in a tenth of all lines", RARE: "in one line", NOWHERE: "in none"}
WIDTH, HEIGHT = 1280, 900
COUNT = "document.getElementById('log-count').textContent"
HIT = "(document.querySelector('#log-list .found .text')?.textContent ?? '')"

# From a click until the page has drawn what is asked for, in milliseconds.
UNTIL_DRAWN = """
async () => {
  const began = performance.now();
  document.querySelector("%s").click();
  while (!(%s)) await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  return performance.now() - began;
}
"""
# Scroll up by so much a frame, for a time; answers what frames took and where it came to.
SCROLL = """
async ([pixels, ms]) => {
  const screen = document.getElementById("log-screen");
  const frames = [];
  let nodes = 0, moved = 0;
  const began = performance.now();
  let last = began;
  while (last - began < ms) {
    const at = screen.scrollTop;
    screen.scrollTop -= pixels;
    moved += at - screen.scrollTop;
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
    nodes = Math.max(nodes, document.getElementsByTagName("*").length);
  }
  const first = document.querySelector("#log-list [data-seq]");
  return { frames: frames.slice(2), nodes, moved, seq: Number(first?.dataset.seq) };
}
"""
PAINT = """
new Promise((found) => {
  const look = () => {
    const [entry] = performance.getEntriesByName("first-contentful-paint");
    entry ? found(entry.startTime) : requestAnimationFrame(look);
  };
  look();
})
"""
AT_END = """
(() => {
  const screen = document.getElementById("log-screen");
  const lines = document.querySelectorAll("#log-list [data-seq]");
  const last = lines[lines.length - 1];
  return last && last.dataset.seq === "%d" &&
    screen.scrollTop + screen.clientHeight >= screen.scrollHeight - 4;
})()
"""


class Scrolled(NamedTuple):
    """What a time of scrolling came to."""

    frames: list[float]  # milliseconds
    nodes: int
    moved: float  # px
    seq: int


def main(words: list[str] | None = None) -> int:
    """Measure once and print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=200_000)
    arguments.add_argument("--others", type=int, default=1_800_000)
    arguments.add_argument("--rounds", type=int, default=5)
    chosen = arguments.parse_args(words)
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as postgres:
        migrate.upgrade(postgres.url, SCHEMA)
        settings = Settings(database_url=SecretStr(postgres.url), data_dir=Path(folder))
        spooler = Spooler(postgres.url, SCHEMA)
        for _ in range(chosen.others // chosen.events):
            write_run(spooler, chosen.events)
        fid = write_run(spooler, chosen.events)
        spooler.close()
        with (
            panel(settings, postgres.url) as (url, _),
            sync_playwright() as playwright,
            launch(playwright) as browser,
        ):
            figures, limits = _measure(browser, url, local_token(settings), fid, chosen)
    report(
        f"the page of a run with {chosen.events:,} events, {chosen.others:,} more in the database, "
        f"{chosen.rounds} rounds, load average {os.getloadavg()[0]:.1f}",
        figures,
    )
    missed = {name: limit for name, limit in limits.items() if limit[0] > limit[1]}
    for name, (value, limit) in missed.items():
        sys.stdout.write(f"missed: {name}: {value:.0f} ms, at most {limit:g} ms\n")
    return 1 if missed else 0


def write_run(spooler: Spooler, events: int) -> str:
    """A run with this number of events; its fid."""
    fid, writer = str(uuid4()), str(uuid4())
    made = _events(events)
    for number in range(1, -(-events // BATCH) + 1):
        batch = [next(made) for _ in range(min(BATCH, events - (number - 1) * BATCH))]
        spooler.append([Batch(fid, writer, number, {"flow_name": "long"}, batch)])
    return fid


def _events(count: int) -> Iterator[Event]:
    """Mostly lines of a log, some in colours; in between what agents do, and results."""
    chance = random.Random(count)
    began = time.time() - count / 50
    for n in range(count):
        ts = began + n / 50
        text = f"{n} {' '.join(chance.choices(WORDS, k=10))}"
        if n == count // 3:
            yield Event(ts, "stdout", f"{text} {RARE}")
        elif n == 0:
            yield Event(ts, "status", "starting")
        elif n % 997 == 0:
            yield Event(ts, "result", json.dumps({"Markdown": {"body": f"## {n}\n\n{text}"}}))
        elif n % 101 == 0:
            yield Event(ts, "action", serialize({"tool": "search", "input": text}))
        elif n % 10 == 0:
            yield Event(ts, "debug", f"{text} {FREQUENT}")
        elif n % 7 == 0:
            yield Event(ts, "stderr", f"\x1b[33mwarning\x1b[0m {text}")
        else:
            yield Event(ts, "stdout", text)


def _measure(
    browser: Browser, url: str, token: str, fid: str, chosen: argparse.Namespace
) -> tuple[dict[str, str], dict[str, tuple[float, float]]]:
    """Figures in words, and values with their limits."""
    here = f"{url}/executions/{fid}"
    last = chosen.events - 1
    while last % 997 == 0 or last % 101 == 0:
        last -= 1  # no line of the log
    at_end = AT_END % (last + 1)
    times: dict[str, list[float]] = {}
    frames: list[float] = []
    resting: list[float] = []
    nodes, heap, moved = 0, 0.0, 0.0

    def context() -> BrowserContext:
        made = browser.new_context(
            extra_http_headers={API_KEY_HEADER: token}, viewport={"width": WIDTH, "height": HEIGHT}
        )
        made.set_default_timeout(60_000)
        return made

    def note(name: str, took: Any) -> None:
        times.setdefault(name, []).append(float(took))

    for _ in range(chosen.rounds):
        for name, address in {
            "first paint, output": here,
            "first paint, log": f"{here}?tab=log",
            "first paint of the account page": f"{url}/account",
        }.items():
            with context() as fresh:
                page = fresh.new_page()
                page.goto(address)
                note(name, page.evaluate(PAINT))
        with context() as fresh:
            page = fresh.new_page()
            page.goto(here)
            page.locator("#log-follow").wait_for(state="attached")
            page.wait_for_function("!document.getElementById('log-follow').hidden")
            note("log opened at its end", _drawn(page, "#tab-log", at_end))
            resting += _scroll(page, 0, 2000).frames
            scrolled = _scroll(page, PIXELS, 6000)
            frames += scrolled.frames
            nodes, moved = max(nodes, scrolled.nodes), moved + scrolled.moved
            for word, where in WANTED.items():
                page.locator("#log-text").fill(word)
                page.evaluate(f"{COUNT} = ''")
                done = (
                    f"{COUNT} === 'not found'" if word == NOWHERE else f"{HIT}.includes('{word}')"
                )
                note(f"search for a word {where}", _drawn(page, "[value=previous]", done))
            heap = max(heap, _heap(page))
    figures = {
        f"{name}, p50 and longest": f"{quantile(took, 0.5):6.0f} ms {max(took):6.0f} ms"
        for name, took in times.items()
    }
    for name, some in (("while the log scrolls", frames), ("at rest", resting)):
        shown = f"{quantile(some, 0.95):6.1f} ms {max(some):6.1f} ms"
        figures[f"a frame {name}, p95 and longest"] = shown
    figures["scrolled back, each round"] = f"{moved / chosen.rounds:6.0f} px"
    figures["elements in the page, at most"] = f"{nodes:6}"
    figures["JavaScript heap, at most"] = f"{heap:6.1f} MB"
    limits = {
        name: (quantile(took, 0.5), PAINT_LIMIT if "paint" in name else OPEN_LIMIT)
        for name, took in times.items()
    }
    limits["a frame while the log scrolls"] = (quantile(frames, 0.95), FRAME_LIMIT)
    return figures, limits


def _drawn(page: Page, selector: str, done: str) -> float:
    """Milliseconds from a click on ``selector`` until ``done`` holds and is drawn."""
    return float(page.evaluate(UNTIL_DRAWN % (selector, done)))


def _heap(page: Page) -> float:
    """MB that the page's scripts hold."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("HeapProfiler.collectGarbage")
    devtools.send("Performance.enable")
    found = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(m["value"] for m in found if m["name"] == "JSHeapUsedSize")) / 2**20


def _scroll(page: Page, pixels: int, ms: int) -> Scrolled:
    return Scrolled(**page.evaluate(SCROLL, [pixels, ms]))


def run() -> None:
    """As one of all benchmarks."""
    main([])


if __name__ == "__main__":
    print(f"measured on {machine()}")
    sys.exit(main())
