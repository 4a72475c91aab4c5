"""What ``doctor`` says of files."""

from urllib.parse import urlsplit

import psycopg

from kodosumi_prefect.cli.doctor.finding import Finding, Verdict, fail, ok, warn
from kodosumi_prefect.files.storage import StorageError, default_url, storage_of
from kodosumi_prefect.files.upkeep import FileUpkeep
from kodosumi_prefect.settings import DatabaseUrlError, Settings, database_url

CHECK = "files"
REACHED_BY_TESTS = ("file", "s3")
SHOWN = 20  # discrepancies that are named, of each sort


def check_files(settings: Settings) -> Finding:
    """Whether the storage is reached, and is the one that holds the contents."""
    try:
        url = database_url(settings)
    except DatabaseUrlError:
        url = None
    if url is None:
        return ok(CHECK, "not looked at without a database")
    scheme = urlsplit(default_url(settings)).scheme
    try:
        storage = storage_of(settings)
        identity = storage.known_identity()
        if not storage.is_local:
            next(storage.contents("probe"), None)
        with FileUpkeep(url, settings.database_schema, storage) as upkeep:
            registered = upkeep.registered
    except StorageError as exc:
        return fail(CHECK, str(exc), "set file_storage_url and file_storage_options")
    except psycopg.errors.UndefinedTable:
        return ok(CHECK, "the database has no files yet")
    except psycopg.Error as exc:
        return warn(CHECK, " ".join(str(exc).split())[:200], "see what is said of Postgres")
    if registered is None:
        return ok(CHECK, f"none were stored yet; they go to {storage.url}")
    if registered != identity:
        return warn(
            CHECK,
            f"{storage.url} is another storage than the one that holds the contents",
            "set file_storage_url as the panel has it; from here files go through the panel",
        )
    if scheme not in REACHED_BY_TESTS:
        return warn(CHECK, f"{storage.url}: no test of ours reaches {scheme}:// storages", "")
    return ok(CHECK, f"{storage.url} is reached")


def compare(settings: Settings, *, fix: bool) -> list[Finding]:
    """Storage and table compared, one line a discrepancy; the first of each sort by name."""
    url = database_url(settings)
    if url is None:
        return [fail(CHECK, "no database is known here", "set database_url")]
    found: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    fixed: dict[str, int] = {}
    try:
        with FileUpkeep(url, settings.database_schema, storage_of(settings)) as upkeep:
            for each in upkeep.discrepancies(fix=fix):
                found.setdefault(each.sort, []).append(each.what)
                sizes[each.sort] = sizes.get(each.sort, 0) + each.size
                fixed[each.sort] = fixed.get(each.sort, 0) + each.fixed
    except (StorageError, psycopg.Error) as exc:
        return [fail(CHECK, " ".join(str(exc).split())[:300], "try again when it is there")]
    findings = []
    for sort, names in found.items():
        words, remedy = WORDS[sort]
        size = sizes[sort] / 1_000_000
        listed = ", ".join(names[:SHOWN]) + (
            f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        )
        done = f"; {fixed[sort]:,} mended" if fixed[sort] else ""
        text = f"{len(names):,} {words}, {size:,.1f} MB{done}: {listed}"
        verdict = Verdict.FAIL if sort == "lost" else Verdict.WARN
        mended = fixed[sort] == len(names)
        findings.append(ok(CHECK, text) if mended else Finding(verdict, CHECK, text, remedy))
    return findings or [ok(CHECK, "storage and table agree")]


WORDS = {
    "orphan": ("contents without a file", "`kodosumi-prefect doctor --files --fix` deletes them"),
    "lost": ("files without content", "bring their contents back from a backup"),
    "unlisted": (
        "files that an older Spooler did not list",
        "`kodosumi-prefect doctor --files --fix` lists them",
    ),
}
