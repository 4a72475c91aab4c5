"""A Prefect database with all its tables, so that servers of tests need not migrate one each.

Migrating takes four seconds of processor time. The first server that starts leaves a copy in
pytest's cache; tests of a first start give their own data dir and use none.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".pytest_cache" / "d" / f"prefect-{version('prefect')}.db"


def put_into(data_dir: Path) -> None:
    """Give the Prefect server of a data dir that has none yet its database."""
    home = data_dir / "prefect"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if CACHE.exists() and not (home / "prefect.db").exists():
        shutil.copyfile(CACHE, home / "prefect.db")


def take_from(data_dir: Path) -> None:
    """Remember the database of a server that just started, with nothing in it yet."""
    if CACHE.exists():
        return
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    draft = CACHE.with_suffix(f".{os.getpid()}")
    source = sqlite3.connect(data_dir / "prefect" / "prefect.db")
    with closing(source), closing(sqlite3.connect(draft)) as copy:
        source.backup(copy)
    draft.replace(CACHE)


def rename_run(data_dir: Path, old: str, new: str) -> None:
    """Give a flow run of a running server another id, as if the server had known that one."""
    with closing(sqlite3.connect(data_dir / "prefect" / "prefect.db", timeout=20)) as database:
        database.execute(
            "UPDATE flow_run_state SET flow_run_id = ? WHERE flow_run_id = ?", [new, old]
        )
        renamed = database.execute("UPDATE flow_run SET id = ? WHERE id = ?", [new, old])
        assert renamed.rowcount == 1
        database.commit()
