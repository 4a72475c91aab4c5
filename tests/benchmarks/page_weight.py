"""How many bytes every page of the panel takes on the wire, with all it loads, in Chromium.

    python -m tests.benchmarks.page_weight

Starts a Postgres and a panel of its own: 1,000 endpoints, 200 executions, a long run, no Prefect.
Each page is opened by a browser that knows nothing, and once more by the same. Exits 1 above the
limit.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, CDPSession, sync_playwright
from pydantic import SecretStr

from kodosumi_prefect.database import migrate
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.benchmarks.executions_list import fill
from tests.benchmarks.flow_list import fill_endpoints
from tests.benchmarks.harness import machine, panel, report
from tests.benchmarks.long_run import SCHEMA, write_run
from tests.browser.chromium import launch

LIMIT = 250_000  # bytes
EVENTS = 10_000
EXECUTIONS = 200
ENDPOINTS = 1000
PATHS = {
    "sign in": "/login",
    "services": "/services",
    "executions": "/executions",
    **{
        f"execution, {tab}": f"/executions/FID?tab={tab}"
        for tab in ("output", "trace", "tasks", "log", "inputs", "raw")
    },
    "waiting": "/waiting",
    "schedules": "/schedules",
    "system": "/system",
    "account": "/account",
    "users": "/users",
}
SETTLED = 1500  # milliseconds for what pages load after they have loaded


def main(words: list[str] | None = None) -> int:
    """Measure once and print the figures."""
    argparse.ArgumentParser(description=__doc__).parse_args(words)
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as postgres:
        migrate.upgrade(postgres.url, SCHEMA)
        settings = Settings(database_url=SecretStr(postgres.url), data_dir=Path(folder))
        fill_endpoints(postgres.url, ENDPOINTS)
        fill(postgres.url, 0, EXECUTIONS)
        spooler = Spooler(postgres.url, SCHEMA)
        fid = write_run(spooler, EVENTS)
        spooler.close()
        with (
            panel(settings, postgres.url) as (url, _),
            sync_playwright() as playwright,
            launch(playwright) as browser,
        ):
            token = local_token(settings)
            weights = {
                name: _weight(browser, url + path.replace("FID", fid), token)
                for name, path in PATHS.items()
            }
    report(
        f"bytes of a page, first and second visit (at most {LIMIT / 1000:g} kB), "
        f"load average {os.getloadavg()[0]:.1f}",
        {
            name: f"{first / 1000:7.1f} kB {again / 1000:7.1f} kB"
            for name, (first, again) in weights.items()
        },
    )
    return 0 if max(first for first, _ in weights.values()) <= LIMIT else 1


def _weight(browser: Browser, address: str, token: str) -> tuple[int, int]:
    """Bytes over the network, headers included, of a first visit and of the next one."""
    headers = {} if address.endswith("/login") else {API_KEY_HEADER: token}
    with browser.new_context(extra_http_headers=headers) as fresh:
        page = fresh.new_page()
        devtools = fresh.new_cdp_session(page)
        devtools.send("Network.enable")
        sizes = _sizes(devtools)
        visits = []
        for _ in range(2):
            sizes.clear()
            answer = page.goto(address, wait_until="load")
            assert answer is not None
            assert answer.ok, f"{address} answers {answer.status}"
            page.wait_for_timeout(SETTLED)
            visits.append(sum(sizes.values()))
    return visits[0], visits[1]


def _sizes(devtools: CDPSession) -> dict[str, int]:
    """Bytes so far by request; also of streams, which go on."""
    sizes: dict[str, int] = {}

    def add(request: str, size: int) -> None:
        sizes[request] = sizes.get(request, 0) + size

    def finished(told: dict[str, object]) -> None:
        sizes[str(told["requestId"])] = int(float(str(told["encodedDataLength"])))

    def received(told: dict[str, object]) -> None:
        add(str(told["requestId"]), int(float(str(told["encodedDataLength"]))))

    devtools.on("Network.dataReceived", received)
    devtools.on("Network.loadingFinished", finished)
    return sizes


def run() -> None:
    """As one of all benchmarks."""
    main([])


if __name__ == "__main__":
    print(f"measured on {machine()}")
    sys.exit(main())
