"""The data dir: its folders, and the addresses that running services write down in it."""

import json
import os
from pathlib import Path
from typing import Any

from kodosumi_prefect.settings.fields import Settings


def make_data_dir(folder: Path) -> None:
    """Make a data dir that other users of the machine cannot look into; one that is there stays.

    As root others may pass through it: the embedded Postgres runs as another user.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)


def private_folder(folder: Path) -> Path:
    """A folder of ours in the data dir that this user only can look into, made or shut.

    Raises:
        OSError: it cannot be made.
    """
    make_data_dir(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        folder.chmod(0o700)  # an older version or somebody's umask left it open
    return folder


def read_address(settings: Settings, service: str) -> dict[str, Any] | None:
    """What the running service of this data dir wrote down about itself, or None.

    Arguments:
        service: ``postgres``, ``ray``, ``prefect`` or ``panel``.

    Raises:
        ValueError: the file is there and is not JSON.
    """
    path = settings.run_dir / f"{service}.json"
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        address: dict[str, Any] = json.loads(text)
    except ValueError as exc:
        raise ValueError(f"{path} is not JSON; delete it and start `up` again") from exc
    return address


def write_address(settings: Settings, service: str, address: dict[str, Any] | None) -> None:
    """Write down (atomically, readable by this user only) or, with None, forget an address."""
    path = settings.run_dir / f"{service}.json"
    if address is None:
        path.unlink(missing_ok=True)
        return
    private_folder(settings.run_dir)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(address))
    draft.replace(path)
