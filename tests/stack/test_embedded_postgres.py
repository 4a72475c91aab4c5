"""The embedded Postgres: starting, owning, surviving, adopting, and saying why not."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from shutil import copytree, rmtree
from typing import TypeVar

import psutil
import psycopg
import pytest

from kodosumi_prefect.settings import Settings, read_address
from kodosumi_prefect.stack import embedded_postgres as embedded
from kodosumi_prefect.stack import postgres_programs as programs
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stack.log_files import trim_log
from kodosumi_prefect.stack.ports import free_port
from kodosumi_prefect.stack.postgres_cluster import system_home
from kodosumi_prefect.stack.postgres_programs import EmbeddedError
from kodosumi_prefect.stack.postmaster import is_running
from tests.accounts import home_of, unprivileged_python

pytestmark = pytest.mark.postgres

OWNER = """
import sys
from pathlib import Path
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]))
print(postgres.start(), flush=True)
print(postgres.pid, flush=True)
if sys.stdin.readline():
    postgres.stop()
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    EmbeddedPostgres(tmp_path).destroy()


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


T = TypeVar("T")


def processes_of(data_dir: Path) -> list[psutil.Process]:
    pid = read_address(Settings(data_dir=data_dir), "postgres")
    assert pid is not None
    postmaster = psutil.Process(pid["pid"])
    return [postmaster, *postmaster.children(recursive=True)]


def each_of(processes: list[psutil.Process], ask: Callable[[psutil.Process], T]) -> list[T]:
    """What those answer that are still there; the first, the postmaster, has to be."""
    answers = [ask(processes[0])]
    for process in processes[1:]:
        with suppress(psutil.NoSuchProcess):
            answers.append(ask(process))
    return answers


def owner_process(data_dir: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def keep_a_note(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")


def note(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT text FROM note").fetchone()
    assert row is not None
    return row[0]


def test_data_password_and_port_are_the_same_after_a_restart(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    first = postgres.start()
    keep_a_note(first)
    postgres.stop()
    assert postgres.start() == first
    assert note(first) == "kept"
    postgres.stop()


def test_stop_ends_every_process_and_forgets_the_address(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        address = read_address(Settings(data_dir=data_dir), "postgres")
        assert address is not None
        assert address["url"] == postgres.url
        processes = processes_of(data_dir)
        assert len(processes) > 3
    assert not any(is_running(process) for process in processes)
    assert read_address(Settings(data_dir=data_dir), "postgres") is None
    postgres.stop()


def test_a_second_owner_is_refused_with_the_first_ones_pid(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir), pytest.raises(EmbeddedError) as caught:
        EmbeddedPostgres(data_dir).start()
    assert str(data_dir) in str(caught.value)
    assert str(os.getpid()) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_outlived_a_killed_owner_is_adopted(data_dir: Path) -> None:
    owner = owner_process(data_dir)
    assert owner.stdout is not None
    url, pid = owner.stdout.readline().strip(), int(owner.stdout.readline())
    keep_a_note(url)
    owner.kill()
    owner.communicate()
    with EmbeddedPostgres(data_dir) as postgres:
        assert (postgres.url, postgres.pid) == (url, pid)
        assert postgres.alive
        assert note(url) == "kept"
        processes = processes_of(data_dir)
    assert not any(is_running(process) for process in processes)


def test_data_survives_a_kill_of_owner_and_server_alike(data_dir: Path) -> None:
    owner = owner_process(data_dir)
    assert owner.stdout is not None
    url, pid = owner.stdout.readline().strip(), int(owner.stdout.readline())
    keep_a_note(url)
    owner.kill()
    os.kill(pid, signal.SIGKILL)
    owner.communicate()
    with EmbeddedPostgres(data_dir) as postgres:
        assert postgres.pid != pid
        assert note(postgres.url) == "kept"


def test_a_pid_file_that_names_somebody_else_is_no_obstacle(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        keep_a_note(postgres.url)
        with psycopg.connect(postgres.url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        pid_file = Path(row[0]) / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with EmbeddedPostgres(data_dir) as postgres:
        assert note(postgres.url) == "kept"


def test_a_server_that_died_is_started_again_by_its_owner(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        url, pid = postgres.url, postgres.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not postgres.alive)
        assert postgres.start() == url
        assert postgres.pid != pid


def test_another_port_is_used_when_the_recorded_one_is_taken(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    first = postgres.start()
    port = int(first.rpartition(":")[2].partition("/")[0])
    postgres.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with postgres:
            assert f":{port}/" not in postgres.url


def test_a_port_taken_between_look_and_bind_is_changed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(embedded, "free_port", lambda: next(ports))
        with EmbeddedPostgres(data_dir) as postgres:
            psycopg.connect(postgres.url).close()


def test_no_port_is_given_twice() -> None:
    given = [free_port() for _ in range(500)]
    assert len(set(given)) == len(given)


def test_only_the_password_opens_it(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        address = data_dir / "run" / "postgres.json"
        assert address.stat().st_mode & 0o077 == 0
        without = postgres.url.replace(postgres.url.split(":")[2].partition("@")[0], "guess")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(without)
        secret = postgres.url.split(":")[2].partition("@")[0]
        lines = each_of(processes_of(data_dir), lambda process: " ".join(process.cmdline()))
        assert not any(secret in line for line in lines)


def test_a_missing_wheel_names_the_extra(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda _name: None)
    with pytest.raises(EmbeddedError, match=r"kodosumi-prefect\[embedded\]"):
        EmbeddedPostgres(data_dir).start()


def test_a_full_disk_is_one_line_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(disk)],
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("needs to mount a small disk")
    tmp_path.chmod(0o755)
    try:
        # Reachable for the server's account, else the files would go to another disk.
        data_dir = Path(tempfile.mkdtemp(prefix="kp-full-"))
        data_dir.chmod(0o755)
        (data_dir / "postgres").mkdir()
        subprocess.run(["mount", "--bind", str(disk), str(data_dir / "postgres")], check=True)
        try:
            with pytest.raises(EmbeddedError, match="No space left") as caught:
                EmbeddedPostgres(data_dir).start()
            assert "\n" not in str(caught.value)
            assert not (data_dir / "postgres" / "data.new").exists()
        finally:
            subprocess.run(["umount", str(data_dir / "postgres")], check=True)
            rmtree(data_dir)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_log_is_cut_to_its_newest_lines(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_text("".join(f"line {number}\n" for number in range(2000)))
    with log.open("ab") as writer:
        trim_log(log, limit=1000)
        writer.write(b"after\n")
    lines = log.read_text().splitlines()
    assert len(lines) < 20
    assert lines[-2:] == ["line 1999", "after"]


def test_programs_that_the_servers_account_cannot_reach_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root runs the server as somebody else")
    wheel = programs.installation()
    private = tmp_path / "site-packages"
    copytree(wheel / "pginstall18", private / wheel.name / "pginstall18")
    copytree(wheel.with_name(f"{wheel.name}.libs"), private / f"{wheel.name}.libs")
    tmp_path.chmod(0o700)
    shared = Path(tempfile.mkdtemp(prefix="kp-programs-"))
    monkeypatch.setattr(programs, "SYSTEM_HOME", shared)
    try:
        account = programs.account_for(tmp_path / "absent")
        found = programs.programs(private / wheel.name, 18, account)
        assert shared in found.parents
        assert "18" in programs.run_program([str(found / "postgres"), "--version"], account)
    finally:
        rmtree(shared)


def test_it_works_for_a_user_who_is_not_root() -> None:
    python, account, environment = unprivileged_python()
    with home_of(account) as home:
        data_dir = home / "data"
        owner = subprocess.Popen(
            [python, "-c", OWNER, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=home,
            env={**environment, "HOME": str(home)},
            **account,
        )
        assert owner.stdout is not None
        url = owner.stdout.readline().strip()
        keep_a_note(url)
        processes = processes_of(data_dir)
        users = each_of(processes, lambda process: process.uids().effective)
        assert set(users) == {account["user"]}
        owner.communicate("stop\n")
        assert not any(is_running(process) for process in processes)
        assert (data_dir / "postgres" / "data" / "PG_VERSION").exists()


def test_a_data_dir_of_somebody_else_is_named_in_one_line(tmp_path: Path) -> None:
    python, account, environment = unprivileged_python()
    with home_of(account) as home:
        home.chmod(0o555)
        failed = subprocess.run(
            [python, "-c", OWNER, str(home / "data")],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            env={**environment, "HOME": str(home)},
            **account,
        )
    assert failed.returncode == 1
    last = failed.stderr.splitlines()[-1]
    assert "EmbeddedError" in last
    assert f"{home / 'data'} is not writable for uid {account['user']}" in last


def slow_recovery(data_dir: Path, seconds: float) -> None:
    """Have the next start recover, and say every so often that it does.

    What Postgres asks for an archive, it asks for several times.
    """
    cluster = _cluster(data_dir)
    slow = f"restore_command = 'echo asks for %f >&2; sleep {seconds:g}; false'\n"
    with (cluster / "postgresql.auto.conf").open("a") as file:
        file.write(slow)
    (cluster / "recovery.signal").touch()
    if os.geteuid() == 0:
        owner = cluster.stat()
        os.chown(cluster / "recovery.signal", owner.st_uid, owner.st_gid)


def _cluster(data_dir: Path) -> Path:
    homes = (data_dir / "postgres", system_home(data_dir))
    return next(home / "data" for home in homes if (home / "data").exists())


def test_a_recovery_that_goes_on_is_waited_for_beyond_the_timeout(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = EmbeddedPostgres(data_dir)
    keep_a_note(postgres.start())
    postgres.stop()
    slow_recovery(data_dir, 4.0)
    monkeypatch.setattr(embedded, "START_TIMEOUT", 6.0)
    launched: list[int] = []
    monkeypatch.setattr(postgres, "_on_launch", launched.append)
    began = time.monotonic()
    with postgres:
        assert time.monotonic() - began > 6.0  # it asks twice
        assert note(postgres.url) == "kept"
        assert len(launched) == 1


def test_a_start_in_the_middle_of_recovery_can_be_given_up(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir):
        pass
    slow_recovery(data_dir, 600.0)
    launched: list[int] = []
    postgres = EmbeddedPostgres(data_dir, launched.append)
    with ThreadPoolExecutor(1) as threads:
        start = threads.submit(postgres.start)
        wait_until(lambda: "asks for" in postgres.log_path.read_text())
        postgres.give_up()
        with pytest.raises(EmbeddedError, match="was stopped"):
            start.result()
    assert not psutil.pid_exists(launched[0])
