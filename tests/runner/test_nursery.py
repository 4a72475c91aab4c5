"""The nursery: when it is another, what it survives, and what it leaves in its folder."""

import os
import pickle
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from kodosumi_prefect.process.channel import Channel
from kodosumi_prefect.process.environment import own_environment
from kodosumi_prefect.process.nursery import NoNurseryError, Nursery, WarmChild
from kodosumi_prefect.process.order import Outcome
from kodosumi_prefect.process.supervision import Supervision
from tests.faults.cluster import gone, kill
from tests.runner.orders import NOWHERE, ordered
from tests.runner.test_run_processes import noted
from tests.services import Place
from tests.waiting import wait_for


@pytest.fixture
def folder() -> Iterator[Path]:
    """The nurseries' folder, in a temporary directory of the test's own."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as short:
        patch.setattr(tempfile, "tempdir", short)
        yield Path(short) / f"kodosumi-nursery-{os.getuid()}"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def reached(place: str, stack: ExitStack, environment: dict[str, str] | None = None) -> Nursery:
    nursery = Nursery.reach(environment or own_environment(), place)
    stack.callback(nursery.close)
    return nursery


def born(nursery: Nursery, environment: dict[str, str] | None = None) -> tuple[WarmChild, Channel]:
    """A process that waits for its order, and what ends it."""
    ours, theirs = Channel.pair()
    try:
        environment = environment or own_environment()
        return nursery.bear(environment, Path.cwd(), theirs, NOWHERE), ours
    finally:
        theirs.close()


def test_changed_code_is_served_by_another_nursery(tmp_path: Path, folder: Path) -> None:
    code = tmp_path / "sitecustomize.py"  # Python imports it as it starts
    code.write_text("")
    environment = own_environment() | {"PYTHONPATH": str(tmp_path)}
    place = f"tests-{uuid4()}"
    with ExitStack() as stack:
        first = reached(place, stack, environment)
        same = reached(place, stack, environment)
        assert first.pid == same.pid
        before = code.stat()
        code.write_text("# changed\n")
        # As an installer does that gives files the times they have in a package.
        os.utime(code, ns=(before.st_atime_ns, before.st_mtime_ns))
        second = reached(place, stack, environment)
        assert second.pid != first.pid
        with pytest.raises(NoNurseryError, match="changed"):
            born(first, environment)
        assert first.lost
        child, ours = born(second, environment)
        ours.close()
        assert child.wait() is not None
        code.unlink()
        assert reached(place, stack, environment).pid != second.pid


def test_a_run_goes_on_without_its_nursery(place: Place, notes: Path, folder: Path) -> None:
    order = ordered(place, "waits_for_word", {"notes": str(notes)})
    name = f"tests-{uuid4()}"
    with ExitStack() as stack:
        nursery = reached(name, stack)
        outcomes: list[Outcome] = []
        supervision = Supervision(order, nursery)
        running = threading.Thread(target=lambda: outcomes.append(supervision.run()))
        running.start()
        wait_for(lambda: noted(notes, "pid"), 120, "the flow's code")
        kill(nursery.pid)
        with notes.open("a") as file:
            file.write("go on\n")
        running.join(120)
        assert outcomes == [Outcome(0)]
        assert nursery.lost, "the next run is not to be asked of it"
        child, ours = born(reached(name, stack))
        ours.close()
        assert child.wait() is not None


def test_what_nobody_waits_for_any_more_does_not_begin(folder: Path) -> None:
    with ExitStack() as stack:
        nursery = reached(f"tests-{uuid4()}", stack)
        pid = nursery.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("kodosumi_prefect.process.nursery.ANSWER", 0.1)
                ours, theirs = Channel.pair()
                with pytest.raises(NoNurseryError, match="gone"):
                    nursery.bear(own_environment(), Path.cwd(), theirs, NOWHERE)
        finally:
            os.kill(pid, signal.SIGCONT)
        theirs.close()
        ours.send("an order")
        with pytest.raises(EOFError):
            ours.receive()


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff" * 8, pickle.dumps(("no environment", 7, 9)), pickle.dumps(({}, "/"))],
    ids=["nothing", "half", "another release", "no descriptors"],
)
def test_a_request_that_cannot_be_read_ends_nobody_elses(body: bytes, folder: Path) -> None:
    with ExitStack() as stack:
        nursery = reached(f"tests-{uuid4()}", stack)
        child, ours = born(nursery)
        before = descriptors(nursery)
        (path,) = folder.glob("*.socket")
        line = socket.socket(socket.AF_UNIX)
        line.connect(str(path))
        Channel(line).receive()
        with Path(os.devnull).open() as nothing:
            socket.send_fds(line, [b"f"], [nothing.fileno()] if body else [])
        line.sendall(len(body).to_bytes(8, "big") + body if len(body) != 8 else body)
        line.shutdown(socket.SHUT_WR)
        assert line.recv(1) == b""
        line.close()
        assert not gone(child.pid)
        assert descriptors(nursery) == before
        ours.close()
        assert child.wait() is not None
        other, ours = born(nursery)
        ours.close()
        assert other.wait() is not None


def descriptors(nursery: Nursery) -> int:
    return len([*Path(f"/proc/{nursery.pid}/fd").iterdir()])


def test_the_folder_is_empty_when_nobody_needs_one(folder: Path) -> None:
    name = f"tests-{uuid4()}"
    with ExitStack() as stack:
        killed = reached(f"{name}-killed", stack)
        assert [path.suffix for path in folder.iterdir()] == [".socket"]
        (folder / "left.lock").touch()
        kill(killed.pid)
        nurseries: list[Nursery] = []
        reaching = [
            threading.Thread(target=lambda: nurseries.append(reached(name, stack)))
            for _ in range(8)
        ]
        for thread in reaching:
            thread.start()
        for thread in reaching:
            thread.join(120)
        assert len(nurseries) == 8
        (pid,) = {nursery.pid for nursery in nurseries}
        assert [path.suffix for path in folder.iterdir()] == [".socket"]
    wait_for(lambda: gone(pid), 40, "the end of the nursery")
    assert [*folder.iterdir()] == []
