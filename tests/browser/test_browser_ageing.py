"""Rows of a list that shows the last hour, while time passes."""

from datetime import UTC, datetime, timedelta

import psycopg
from playwright.sync_api import Page, expect

from tests.panel.panel_runs import Stand
from tests.waiting import wait_for

LEFT = timedelta(seconds=12)  # until the old one is older than an hour


def test_rows_leave_the_last_hour_as_they_age(page: Page, stand: Stand) -> None:
    old, young = (stand.run(flow_name="ageing").begin().finish() for _ in range(2))
    with psycopg.connect(stand.database, autocommit=True) as connection:
        query = "UPDATE kodosumi.execution SET started_at = now() - interval '1 h' + %s"
        connection.execute(f"{query} WHERE fid = %s", (LEFT, old.fid))
    aged = datetime.now(UTC) + LEFT
    page.clock.install()
    page.goto("/executions?flow=ageing&last=hour")
    rows = page.locator("#list tbody tr[data-fid]")
    expect(rows).to_have_count(2)
    expect(page.locator("#live")).to_have_text("Live")
    wait_for(lambda: datetime.now(UTC) > aged, 30, "the old one to be older than an hour")
    page.clock.fast_forward(16_000)
    expect(page.locator(f"#e-{old.fid}")).to_have_count(0)
    expect(page.locator(f"#e-{young.fid}")).to_be_visible()
