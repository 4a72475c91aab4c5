"""One owner of a data dir's embedded Postgres."""

import fcntl
import os
from pathlib import Path
from typing import IO

from kodosumi_prefect.settings import make_data_dir
from kodosumi_prefect.stack.postgres_programs import EmbeddedError


def take_postgres_lock(data_dir: Path) -> IO[str]:
    """Make this process the owner, until the file is closed.

    Raises:
        EmbeddedError: another process is.
        OSError: the folder is not writable.
    """
    make_data_dir(data_dir)
    path = data_dir / "postgres.lock"
    # Whoever can open it can hold it, and keep this from starting.
    path.touch(mode=0o600)
    path.chmod(0o600)
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "?"
        lock.close()
        raise EmbeddedError(
            f"the embedded Postgres of {data_dir} belongs to process {owner}; "
            "stop that one or use another data_dir"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
