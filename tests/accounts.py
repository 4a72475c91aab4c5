"""Running Python as another user than root, for tests of what must work as both."""

import atexit
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from shutil import copy2, copytree, ignore_patterns, rmtree
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def unprivileged_python() -> tuple[str, dict[str, Any], dict[str, str]]:
    """A Python of our version that ``nobody`` can run, arguments for Popen, and environment."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if "-packages" in entry)])
    environment = {"PYTHONPATH": path, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    for interpreter in (lambda: sys.executable, _copied_interpreter):
        python = interpreter()
        # A copy finds its libpython there.
        environment["LD_LIBRARY_PATH"] = str(Path(python).parents[1] / "lib")
        try:
            done = subprocess.run(
                [python, "-c", "import psycopg, kodosumi_prefect.settings"],
                env={**environment, "HOME": "/tmp"},
                cwd="/",
                capture_output=True,
                **account,
            )
        except PermissionError:
            continue
        if done.returncode == 0:
            return python, account, environment
    pytest.skip("nobody cannot read our packages")


@cache
def _copied_interpreter() -> str:
    """A copy of our interpreter, which may be under /root, where others can run it."""
    target = Path(tempfile.mkdtemp(prefix="kp-python-"))
    atexit.register(rmtree, target, ignore_errors=True)
    target.chmod(0o755)
    source, name = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    copytree(
        source / "lib",
        target / "lib",
        symlinks=True,
        ignore=ignore_patterns("site-packages", "test", "config-*", "*.a"),
    )
    (target / "bin").mkdir()
    copy2(Path(sys.executable).resolve(), target / "bin" / name)
    return str(target / "bin" / name)


@contextmanager
def home_of(account: dict[str, Any]) -> Iterator[Path]:
    """A home folder that belongs to the account, deleted at the end."""
    home = Path(tempfile.mkdtemp(prefix="kp-home-"))
    os.chown(home, account["user"], account["group"])
    try:
        yield home
    finally:
        rmtree(home, ignore_errors=True)
