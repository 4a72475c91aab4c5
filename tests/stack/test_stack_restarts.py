"""What `up` does when its services die: it starts them again, for as long as that can help."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from prefect.settings import temporary_settings
from pydantic import SecretStr

from kodosumi_prefect.settings import Settings, read_address
from kodosumi_prefect.stack import Child, StackError, lasting
from kodosumi_prefect.stack import embedded_postgres as embedded
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stack.ports import free_port
from tests.owner import Owner
from tests.services import in_force

pytestmark = pytest.mark.stack

# Says with which start it serves, and waits.
SERVER = "import time; print('serves', flush=True); time.sleep(600)"


@pytest.fixture
def owner(postgres: EmbeddedPostgres, prefect_server: str, tmp_path: Path) -> Iterator[Owner]:
    """A stack that has nothing to start: Postgres, Prefect and Ray are configured."""
    settings = Settings(data_dir=tmp_path, ray_address="auto", database_url=SecretStr(postgres.url))
    with temporary_settings(in_force(prefect_server)):
        owner = Owner(settings, worker=False)
        owner.run(owner.stack.start())
        try:
            yield owner
        finally:
            owner.close()


@pytest.fixture
def with_postgres(prefect_server: str, tmp_path: Path) -> Iterator[Owner]:
    """A stack that has a Postgres of its own."""
    with temporary_settings(in_force(prefect_server)):
        owner = Owner(Settings(data_dir=tmp_path, ray_address="auto"), worker=False)
        try:
            owner.run(owner.stack.start())
            yield owner
        finally:
            owner.close()
    EmbeddedPostgres(tmp_path).destroy()


def server(owner: Owner, name: str, code: str = SERVER) -> Child:
    log = owner.stack.settings.data_dir / "logs" / f"{name}.log"
    return Child(
        name, [sys.executable, "-c", code], ready=lambda: "serves" in log.read_text(), grace=1
    )


def pid_of(owner: Owner, name: str) -> int:
    return owner.stack._children.running[name].popen.pid


def told(owner: Owner, name: str, words: str) -> Callable[[], bool]:
    """Whether `up` has said something of a service."""
    return lambda: any(service == name and words in text for service, text in owner.said)


def kill(owner: Owner, name: str) -> None:
    """Kill a child and see it started again."""
    before = pid_of(owner, name)
    owner.said.clear()
    os.kill(before, signal.SIGKILL)
    owner.until(told(owner, name, "ready after"))
    assert pid_of(owner, name) != before


def addresses_until(owner: Owner, name: str) -> list[dict[str, Any] | None]:
    """Where others find a service, at many moments until it is ready."""
    addresses: list[dict[str, Any] | None] = []
    ready = told(owner, name, "ready after")

    def look() -> bool:
        addresses.append(read_address(owner.stack.settings, name))
        return ready()

    owner.until(look)
    return addresses


def test_a_postgres_killed_three_times_comes_back_each_time(with_postgres: Owner) -> None:
    owner = with_postgres
    url = owner.stack.database_url or ""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")
    for _ in range(3):
        address = read_address(owner.stack.settings, "postgres") or {}
        owner.said.clear()
        os.kill(address["pid"], signal.SIGKILL)
        # Without an address there would seem to be no database.
        assert None not in addresses_until(owner, "postgres")
        assert owner.stack.database_url == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT text FROM note").fetchall() == [("kept",)]
    assert told(owner, "postgres", "ended (3 times within an hour), starting again in 0.5 s")()


def test_a_postgres_whose_port_another_program_took_ends_the_stack_in_one_line(
    with_postgres: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PORT_FREE_SECONDS", 0.2)
    owner = with_postgres
    port = psycopg.conninfo.conninfo_to_dict(owner.stack.database_url or "")["port"]
    postmaster = psutil.Process((read_address(owner.stack.settings, "postgres") or {})["pid"])
    postmaster.kill()
    psutil.wait_procs([postmaster], timeout=20)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(str(port))))
        taken.listen()
        with pytest.raises(StackError, match=f"has taken its port {port}") as caught:
            owner.run(owner.stack.wait())
    assert "\n" not in str(caught.value)


def test_a_child_killed_again_and_again_comes_back_and_says_how_often(owner: Owner) -> None:
    child = server(owner, "mortal")
    owner.run(owner.stack.add(child))
    for _ in range(4):
        kill(owner, "mortal")
    assert told(owner, "mortal", "ended with -9 (4 times within an hour), starting again in 1 s")()


def test_a_start_that_fails_is_tried_again(owner: Owner, tmp_path: Path) -> None:
    # Serves, cannot start, serves.
    code = (
        "import pathlib, sys\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(number))\n"
        "if number == 2: sys.exit('not this time')\n" + SERVER
    )
    owner.run(owner.stack.add(server(owner, "moody", code)))
    kill(owner, "moody")
    assert told(owner, "moody", "did not start: moody ended with 1 before it was ready")()
    assert (tmp_path / "count").read_text() == "3"


def test_a_child_that_dies_while_another_is_started_again_is_started_too(
    owner: Owner, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    slow = server(owner, "slow")
    slow_ready = slow.ready
    assert slow_ready is not None
    slow = Child(**{**vars(slow), "ready": lambda: gate.exists() and slow_ready()})
    owner.run(owner.stack.add(slow))
    owner.run(owner.stack.add(server(owner, "quick")))
    gate.unlink()
    owner.said.clear()
    os.kill(pid_of(owner, "slow"), signal.SIGKILL)
    owner.until(lambda: ("slow", "starting") in owner.said)
    kill(owner, "quick")
    assert not told(owner, "slow", "ready after")()
    gate.touch()
    owner.until(told(owner, "slow", "ready after"))


def test_a_stack_that_is_stopped_in_a_pause_starts_nothing_any_more(owner: Owner) -> None:
    owner.run(owner.stack.add(server(owner, "dying")))
    for _ in range(5):
        kill(owner, "dying")
    owner.said.clear()
    os.kill(pid_of(owner, "dying"), signal.SIGKILL)
    owner.until(told(owner, "dying", "starting again in 4 s"))
    owner.run(owner.stack.stop())
    assert ("dying", "starting") not in owner.said


def test_a_full_disk_ends_the_stack_in_one_line(owner: Owner, tmp_path: Path) -> None:
    once = tmp_path / "once"
    code = (
        "import os, pathlib, time\n"
        f"once = pathlib.Path({str(once)!r})\n"
        "if once.exists(): os.write(os.open('/dev/full', os.O_WRONLY), b'data')\n"
        "once.touch()\n" + SERVER
    )
    owner.run(owner.stack.add(server(owner, "writer", code)))
    os.kill(pid_of(owner, "writer"), signal.SIGKILL)
    with pytest.raises(StackError, match="writer cannot be started again: no space") as caught:
        owner.run(owner.stack.wait())
    assert "\n" not in str(caught.value)


def test_a_port_that_another_program_took_ends_the_stack_in_one_line(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "PORT_FREE_SECONDS", 0.2)
    port = free_port()
    child = Child(**{**vars(server(owner, "listener")), "ports": (port,)})
    owner.run(owner.stack.add(child))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        os.kill(pid_of(owner, "listener"), signal.SIGKILL)
        with pytest.raises(StackError, match=f"has taken its port {port}") as caught:
            owner.run(owner.stack.wait())
    assert "\n" not in str(caught.value)
