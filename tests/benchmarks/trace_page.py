"""How soon the trace of a run of 10,000 spans is painted, beside another tab of the same run.

    python -m tests.benchmarks.trace_page [--spans 10000] [--visits 20]

Starts a Postgres and a panel of its own. First rows are the first paint with rows in it, the tree
is the first one that folds, the whole has every span. Exits 1 if the p95 of the first rows is above
the limit.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from pydantic import SecretStr

from kodosumi_prefect.database import migrate
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.benchmarks.harness import machine, panel, quantile, report
from tests.browser.chromium import launch
from tests.panel import traced_runs
from tests.panel.panel_runs import Run

SCHEMA = "kodosumi"
LIMIT = 500.0  # milliseconds
# Notes when a paint first shows rows, a tree, and all spans.
WATCH = """
    window.painted = {};
    const note = (name) => requestAnimationFrame(() => setTimeout(() => {
        window.painted[name] ??= performance.now();
    }));
    new MutationObserver(() => {
        if (document.querySelector("#trace-first tbody tr, .trace-body .trace-row")) note("rows");
        if (document.querySelector(".trace-body .trace-row")) note("tree");
        if (document.querySelector("#trace-tree[data-loaded=all]")) note("whole");
    }).observe(document, {childList: true, subtree: true, attributes: true});
"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main(words: list[str] | None = None) -> int:
    """Measure once and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=10_000)
    parser.add_argument("--visits", type=int, default=20)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as postgres:
        migrate.upgrade(postgres.url, SCHEMA)
        settings = Settings(database_url=SecretStr(postgres.url), data_dir=Path(folder))
        run = Run(postgres.url, summary="Many spans").begin()
        traced_runs.many(run, options.spans).finish().close()
        with (
            panel(settings, postgres.url) as (url, _),
            sync_playwright() as playwright,
            launch(playwright) as browser,
        ):
            page, token = f"{url}/executions/{run.fid}", local_token(settings)
            times: dict[str, list[float]] = {"output": [], "rows": [], "tree": [], "whole": []}
            for visit in range(options.visits + 1):
                seen = _visit(browser, page, token)
                if visit:  # the first warms up
                    for name, milliseconds in seen.items():
                        times[name].append(milliseconds)
    report(
        f"paint of the trace of {options.spans:,} spans, p50 and p95 of {options.visits} visits, "
        f"load average {os.getloadavg()[0]:.1f}",
        {
            label: f"{quantile(times[name], 0.5):7.0f} ms {quantile(times[name], 0.95):7.0f} ms"
            for name, label in (
                ("output", "another tab, first paint"),
                ("rows", f"first rows (p95 at most {LIMIT:g} ms)"),
                ("tree", "the tree of the first page of spans"),
                ("whole", "the tree of all spans"),
            )
        },
    )
    return 0 if quantile(times["rows"], 0.95) <= LIMIT else 1


def _visit(browser: Browser, page: str, token: str) -> dict[str, float]:
    """Milliseconds from the request of a page to its paints, in a browser that knows nothing."""
    with browser.new_context(extra_http_headers={API_KEY_HEADER: token}) as fresh:
        other = fresh.new_page()
        other.goto(page)
        first = float(other.evaluate(PAINT))
        other.close()
    with browser.new_context(extra_http_headers={API_KEY_HEADER: token}) as fresh:
        tab = fresh.new_page()
        tab.add_init_script(WATCH)
        tab.goto(f"{page}?tab=trace")
        tab.wait_for_function("() => window.painted.whole", timeout=60_000)
        painted: dict[str, float] = tab.evaluate("window.painted")
        return painted | {"output": first}


def run() -> None:
    """As one of all benchmarks."""
    main([])


if __name__ == "__main__":
    print(f"measured on {machine()}")
    sys.exit(main())
