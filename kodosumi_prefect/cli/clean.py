"""``clean``: retention."""

import asyncio
from collections.abc import Iterable

from kodosumi_prefect.cli.audited import audited_at
from kodosumi_prefect.cli.output import CommandError, console, require_database
from kodosumi_prefect.database import migrate
from kodosumi_prefect.database.retention import Removed, Retention
from kodosumi_prefect.files.storage import StorageError, storage_of
from kodosumi_prefect.files.upkeep import FileUpkeep
from kodosumi_prefect.panel.audit.recorded_actions import Action
from kodosumi_prefect.settings import Settings, get_settings


def clean(*, dry_run: bool = False) -> None:
    """Delete executions that ended longer ago than retention_days, and stdio events earlier.

    Executions that are not over are never touched. Audit entries go after audit_retention_days,
    prompts and answers after content_retention_days, files after file_retention_days, uploads
    that nobody launched with after upload_hours. Without these settings nothing else is
    deleted. The observer does the same once an hour.

    Parameters
    ----------
    dry_run
        Only print what would be deleted.
    """
    settings = get_settings()
    days, stdio_days = settings.retention_days, settings.retention_stdio_days
    audit_days = settings.audit_retention_days
    file_days = settings.file_retention_days
    content_days = settings.content_retention_days
    if {days, stdio_days, audit_days, file_days, content_days} == {None}:
        raise CommandError(
            "retention is off; set retention_days, retention_stdio_days, content_retention_days, "
            "audit_retention_days or file_retention_days, for example `kodosumi-prefect config set "
            "retention_days 90`"
        )
    url = require_database(settings)
    migrate.require(url, settings.database_schema)
    verb = "would delete" if dry_run else "deleted"
    days_of: dict[str, float | None] = {
        "executions": days,
        "stdio": stdio_days,
        "contents": content_days,
        "audit": audit_days,
        "files": file_days,
    }
    with Retention(url, settings.database_schema, dry_run=dry_run) as retention:
        if days is not None:
            executions, events = _sum(retention.executions(days))
            console.print(
                f"{verb} {executions:,} executions that ended more than {days:g} days ago, with "
                f"{events:,} events",
                soft_wrap=True,
            )
        if stdio_days is not None:
            _, events = _sum(retention.stdio(stdio_days, kept_days=days))
            console.print(
                f"{verb} {events:,} stdio events of executions that ended more than "
                f"{stdio_days:g} days ago",
                soft_wrap=True,
            )
        if content_days is not None:
            executions, events = _sum(retention.contents(content_days))
            of = "up to " if dry_run else ""
            console.print(
                f"{verb} prompts and answers of {of}{events:,} events of {executions:,} executions "
                f"that ended more than {content_days:g} days ago",
                soft_wrap=True,
            )
        if audit_days is not None:
            console.print(
                f"{verb} {sum(retention.audit(audit_days)):,} audit entries older than "
                f"{audit_days:g} days",
                soft_wrap=True,
            )
        if dropped := list(retention.partitions()):
            verb = "would drop" if dry_run else "dropped"
            console.print(f"{verb} {len(dropped)} empty partitions", soft_wrap=True)
        retention.forget(settings.launch_key_hours)
    _clean_files(settings, url, dry_run=dry_run)
    if not dry_run:
        asyncio.run(audited_at(settings, Action.CLEAN, None, days=days_of))


def _clean_files(settings: Settings, url: str, *, dry_run: bool) -> None:
    verb = "would delete" if dry_run else "deleted"
    try:
        storage = storage_of(settings)
        with FileUpkeep(url, settings.database_schema, storage, dry_run=dry_run) as upkeep:
            if not upkeep.is_registered:
                return  # another machine has it, or nothing was ever stored
            if settings.file_retention_days is not None:
                counts = list(upkeep.files(settings.file_retention_days))
                files, size = (
                    (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
                )
                console.print(
                    f"{verb} {files:,} files of executions that ended more than "
                    f"{settings.file_retention_days:g} days ago, {size / 1_000_000:,.1f} MB",
                    soft_wrap=True,
                )
            uploads = sum(upkeep.uploads(settings.upload_hours))
            contents = sum(upkeep.dropped()) + sum(upkeep.broken_off()) + sum(upkeep.orphans())
    except StorageError as exc:
        raise CommandError(str(exc)) from exc
    if contents or uploads:
        console.print(
            f"{verb} {contents:,} contents without a file and {uploads:,} uploads that nobody "
            "launched with",
            soft_wrap=True,
        )


def _sum(removed: Iterable[Removed]) -> tuple[int, int]:
    executions = events = 0
    for part in removed:
        executions += part.executions
        events += part.events
    return executions, events
