"""``spool``: events that could not be delivered yet."""

import cyclopts

from kodosumi_prefect.cli.output import console, require_database
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.spooler import spill
from kodosumi_prefect.spooler.replay import replay_orphans
from kodosumi_prefect.spooler.spooler import Spooler

app = cyclopts.App(name="spool", help="Events that wait in files because Postgres was away.")


@app.command
def replay() -> None:
    """Deliver the spill files that ended processes left; delivering twice stores nothing twice."""
    settings = get_settings()
    spooler = Spooler(require_database(settings), settings.database_schema)
    try:
        done = replay_orphans(settings, spooler)
    finally:
        spooler.close()
    for path, count in done.items():
        console.print(f"{path}: {count} batches delivered", markup=False, soft_wrap=True)
    if not done:
        console.print(f"nothing waits in {spill.folder(settings)}", markup=False, soft_wrap=True)
