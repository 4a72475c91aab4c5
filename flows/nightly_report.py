"""What ran in the last hours, what failed and what was slow; made for a cron."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypedDict

from pydantic import Field

from kodosumi_prefect import KodosumiError, Tracer, flow
from kodosumi_prefect.settings import database_url, get_settings
from kodosumi_prefect.stream.reader import Reader

ROWS_MOST = 100_000  # executions read
FAILURES_SHOWN = 25
SLOWEST_SHOWN = 10
CELL_MOST = 200  # characters of a table cell
TERMINAL = ("finished", "error")

_MEANT_AS_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&!])")


class Line(TypedDict):
    """One execution of a report; ``seconds`` up to its end, or so far."""

    fid: str
    flow: str
    status: str
    started_at: str
    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the query ``report``; times in epoch seconds."""

    fid: str
    flow_name: str | None
    summary: str | None
    status: str
    attempt: int
    error: str | None
    started_at: float
    ended_at: float | None


class Report(TypedDict):
    """What ran in a span of time; ``complete`` is False if there were more than can be read."""

    since: str
    until: str
    executions: int
    complete: bool
    by_status: dict[str, int]
    by_flow: dict[str, dict[str, int]]
    failures: list[Line]
    slowest: list[Line]


@flow(
    summary="Nightly report",
    description="Counts, failures and slowest executions of the last hours.",
    tags=["example", "report"],
)
async def nightly_report(
    tracer: Tracer,
    hours: Annotated[int, Field(ge=1, le=8784)] = 24,
    at: datetime | None = None,
) -> Report:
    """Report the executions that began in a span of time, but for this one.

    Arguments:
        hours: length of the span.
        at: end of the span, UTC unless it says otherwise; now if not given.

    Raises:
        KodosumiError: there is no database to read from.
    """
    now = datetime.now(UTC)
    until = now if at is None else at if at.tzinfo else at.replace(tzinfo=UTC)
    since = until - timedelta(hours=hours)
    settings = get_settings()
    url = database_url(settings)
    if url is None:
        raise KodosumiError(
            f"no Postgres is configured and none runs for {settings.data_dir}; "
            "set database_url or start `kodosumi-prefect up`"
        )
    async with Reader(url, settings.database_schema, connections=1) as reader:
        rows = await reader.rows_of(
            Row, "report", since=since.timestamp(), until=until.timestamp(), limit=ROWS_MOST
        )
    complete = len(rows) < ROWS_MOST
    lines = [line_of(row, now) for row in rows if row.fid != tracer.fid]
    report = summarise(lines, since, until, complete)
    tracer.markdown(as_markdown(report))
    return report


def line_of(row: Row, now: datetime) -> Line:
    """What a row of the query ``report`` says, in a report's words."""
    ended = now.timestamp() if row.ended_at is None else row.ended_at
    return Line(
        fid=row.fid,
        flow=row.flow_name or row.summary or "unnamed",
        status=row.status,
        started_at=datetime.fromtimestamp(row.started_at, UTC).isoformat(timespec="seconds"),
        seconds=round(max(ended - row.started_at, 0.0), 3),
        error=row.error if row.status == "error" else None,
    )


def summarise(lines: list[Line], since: datetime, until: datetime, complete: bool) -> Report:
    """Counts by status and by flow, every failure, and the slowest executions."""
    by_flow: dict[str, Counter[str]] = {}
    for line in lines:
        by_flow.setdefault(line["flow"], Counter())[line["status"]] += 1
    slowest = sorted(lines, key=lambda line: -line["seconds"])
    return Report(
        since=since.isoformat(timespec="seconds"),
        until=until.isoformat(timespec="seconds"),
        executions=len(lines),
        complete=complete,
        by_status=dict(Counter(line["status"] for line in lines).most_common()),
        by_flow={name: dict(by_flow[name].most_common()) for name in sorted(by_flow)},
        failures=[line for line in lines if line["status"] == "error"],
        slowest=slowest[:SLOWEST_SHOWN],
    )


def as_markdown(report: Report) -> str:
    """The report as people read it."""
    parts = [f"# Executions from {report['since']} to {report['until']}"]
    if not report["executions"]:
        return "\n\n".join([*parts, "There were no executions in this time."])
    if not report["complete"]:
        parts.append(f"There were more; only the first {ROWS_MOST:,} are counted.")
    parts += [
        f"{report['executions']:,} executions: "
        + ", ".join(f"{count:,} {status}" for status, count in report["by_status"].items()),
        "## By flow",
        table(
            ["flow", "finished", "error", "not over"],
            [
                [
                    name,
                    f"{counts.get('finished', 0):,}",
                    f"{counts.get('error', 0):,}",
                    f"{sum(n for status, n in counts.items() if status not in TERMINAL):,}",
                ]
                for name, counts in report["by_flow"].items()
            ],
        ),
        "## Failures",
        failures_of(report),
        "## Slowest",
        table(
            ["flow", "status", "began", "seconds", "fid"],
            [
                [
                    line["flow"],
                    line["status"],
                    line["started_at"],
                    f"{line['seconds']:,.1f}",
                    line["fid"],
                ]
                for line in report["slowest"]
            ],
        ),
    ]
    return "\n\n".join(parts)


def failures_of(report: Report) -> str:
    """The newest failures as a table, or that there were none."""
    failures = report["failures"]
    if not failures:
        return "None."
    shown = failures[::-1][:FAILURES_SHOWN]
    text = table(
        ["flow", "began", "error", "fid"],
        [
            [line["flow"], line["started_at"], line["error"] or "unknown", line["fid"]]
            for line in shown
        ],
    )
    more = len(failures) - len(shown)
    return f"{text}\n\nand {more:,} earlier ones" if more else text


def table(head: list[str], rows: list[list[str]]) -> str:
    """A markdown table of plain text."""
    lines = [head, ["---"] * len(head), *([cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """Text for one table cell: on one line, cut if long, nothing in it taken for markdown."""
    flat = " ".join(text.split())
    if len(flat) > CELL_MOST:
        flat = flat[: CELL_MOST - 1] + "…"
    return _MEANT_AS_MARKDOWN.sub(r"\\\1", flat)


if __name__ == "__main__":
    import asyncio

    asyncio.run(nightly_report())
