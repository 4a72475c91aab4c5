"""``doctor``: one line for each thing that must be right, and the remedy if it is not."""

import asyncio
import time
from contextlib import suppress

from rich.text import Text

from kodosumi_prefect.cli.doctor.files import check_files, compare
from kodosumi_prefect.cli.doctor.finding import Finding, Verdict, ok, warn
from kodosumi_prefect.cli.doctor.outbox import check_outbox
from kodosumi_prefect.cli.doctor.postgres import check_postgres
from kodosumi_prefect.cli.doctor.prefect_server import check_prefect
from kodosumi_prefect.cli.doctor.prices import check_prices
from kodosumi_prefect.cli.doctor.ray_cluster import check_ray
from kodosumi_prefect.cli.doctor.sign_in import check_sign_in
from kodosumi_prefect.cli.options import Output
from kodosumi_prefect.cli.output import CommandError, console
from kodosumi_prefect.cli.tables import print_json
from kodosumi_prefect.settings import Settings, get_settings
from kodosumi_prefect.spooler import refused, spill

_COLOURS = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def doctor(*, files: bool = False, fix: bool = False, output: Output = "text") -> int:
    """Check database, Prefect, Ray, files and what waits, one line each with the remedy.

    Changes nothing and starts nothing. The exit code is 1 if something needed does not work.

    Parameters
    ----------
    files
        Compare the contents in the storage with the files that are listed, one by one.
    fix
        With --files: delete contents without a file, list what is not listed.
    """
    settings = get_settings()
    if fix and not files:
        raise CommandError("--fix mends what --files finds; give both")
    findings = compare(settings, fix=fix) if files else asyncio.run(examine(settings))
    if output == "json":
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            console.print(finding_line(finding), soft_wrap=True)
    return 1 if any(finding.verdict is Verdict.FAIL for finding in findings) else 0


async def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order of the report; the slow checks run beside each other."""
    postgres, sign_in, prefect, ray, prices, (files, outbox) = await asyncio.gather(
        asyncio.to_thread(check_postgres, settings),
        asyncio.to_thread(check_sign_in, settings),
        check_prefect(settings),
        asyncio.to_thread(check_ray, settings),
        asyncio.to_thread(check_prices, settings),
        asyncio.gather(
            asyncio.to_thread(check_files, settings), asyncio.to_thread(check_outbox, settings)
        ),
    )
    return [*postgres, check_spill(settings), outbox, *prefect, *ray, files, prices, sign_in]


def check_spill(settings: Settings) -> Finding:
    """What waits in spill files."""
    where = spill.folder(settings)
    waiting = []
    for path in where.glob(f"*{spill.SUFFIX}"):
        with suppress(FileNotFoundError):  # delivered in this moment
            waiting.append(path.stat())
    if refused_files := refused.files(where):
        text = f"{len(refused_files)} files of events that Postgres refused are in {where}"
        return warn("spill", text, "the log says why; `kodosumi-prefect spool replay` tries again")
    damaged = list(where.glob(f"*{spill.DAMAGED}"))
    if waiting:
        size = sum(file.st_size for file in waiting) / 1_000_000
        oldest = (time.time() - min(file.st_mtime for file in waiting)) / 60
        text = f"{len(waiting)} files of {size:.1f} MB, {oldest:.0f} minutes old, wait in {where}"
        return warn("spill", text, "run `kodosumi-prefect spool replay` once Postgres answers")
    if damaged:
        text = f"{len(damaged)} damaged files are in {where}"
        return warn("spill", text, "what is readable was delivered; inspect and delete them")
    return ok("spill", "no events wait for Postgres")


def finding_line(finding: Finding) -> Text:
    """A finding as a line of a terminal."""
    text = Text.assemble(
        (f"{finding.verdict:<5}", _COLOURS[finding.verdict]),
        (f"{finding.check:<11}", "bold"),
        finding.text,
    )
    if finding.remedy:
        text.append(f" → {finding.remedy}", style="cyan")
    return text
