"""What is to be told to Prefect and to webhooks, and was not."""

import psycopg
from psycopg.rows import class_row

from kodosumi_prefect.cli.doctor.finding import Finding, ok, one_line, warn
from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.database.rows.outbox import OutboxCount
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.settings import DatabaseUrlError, Settings, database_url

CHECK = "outbox"
LATE = 600.0  # seconds that something may wait; a receiver that was away is tried again till then
NAMES = {"prefect": "for Prefect", "webhook": "for webhooks"}


def check_outbox(settings: Settings) -> Finding:
    """Whether what is to be told is taken, and nothing was set aside."""
    try:
        url = database_url(settings)
    except DatabaseUrlError:
        url = None
    if url is None:
        return ok(CHECK, "not looked at without a database")
    try:
        with connect(url) as connection, connection.cursor(row_factory=class_row(OutboxCount)) as c:
            counts = c.execute(Queries(settings.database_schema)["count_outbox"]).fetchall()
    except psycopg.errors.UndefinedTable:
        return ok(CHECK, "the database has none yet")
    except psycopg.Error as exc:
        return warn(CHECK, one_line(exc)[:200], "see what is said of Postgres")
    return _finding(counts)


def _finding(counts: list[OutboxCount]) -> Finding:
    waiting = [one for one in counts if one.waiting]
    text = "; ".join(
        f"{one.waiting:,} {NAMES[one.receiver]}, the oldest for {_duration(one.oldest)}"
        for one in waiting
    )
    if any(one.oldest > LATE for one in waiting):
        remedy = "see that `kodosumi-prefect observer` or `up` runs, Prefect answers, and "
        return warn(
            CHECK, f"waiting: {text}", remedy + "`kodosumi-prefect webhooks` shows no failures"
        )
    if set_aside := sum(one.set_aside for one in counts):
        text = f"{set_aside:,} deliveries to webhooks failed for a day and were set aside"
        remedy = "`kodosumi-prefect webhooks` shows whose; `webhooks send-again` sends them"
        return warn(CHECK, text, remedy)
    return ok(CHECK, f"waiting: {text}" if text else "nothing waits to be told")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
