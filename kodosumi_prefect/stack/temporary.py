"""A short private temporary folder for a data dir."""

import hashlib
import os
from pathlib import Path

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.child import StackError


def temporary_folder(settings: Settings, name: str) -> Path:
    """``/tmp/kp-HASH/name``, made if absent, for this user and data dir only.

    Paths of Unix sockets may have 107 bytes, and Ray appends some 65: ``data_dir`` is often too
    long for them.

    Raises:
        StackError: the folder belongs to somebody else.
    """
    key = f"{os.geteuid()}:{settings.data_dir.resolve()}"
    folder = Path("/tmp") / f"kp-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.lstat().st_uid != os.geteuid():
        raise StackError(f"{folder} belongs to somebody else; delete it or use another data_dir")
    folder.chmod(0o700)
    (folder / name).mkdir(exist_ok=True)
    return folder / name
