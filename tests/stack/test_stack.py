"""The stack of `up`: what it starts, how it holds it up, and that nothing is left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree

import psutil
import psycopg
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from kodosumi_prefect.settings import Settings, read_address
from kodosumi_prefect.stack import Child, StackError, keeper, ray_client_environment
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from kodosumi_prefect.stack.ports import free_port
from kodosumi_prefect.stack.temporary import temporary_folder
from tests.accounts import home_of, unprivileged_python
from tests.owner import Owner

pytestmark = pytest.mark.stack

OWNER = """
import asyncio, sys
from pathlib import Path
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack import Child, Stack

SLEEPER = "import subprocess, sys, time; " \\
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']," \\
    " start_new_session=True); print('both', flush=True); time.sleep(600)"

async def main():
    stack = Stack(Settings(), on_progress=lambda *_said: None)
    if len(sys.argv) > 1:
        stack = Stack(Settings(ray_address="auto"), worker=False, on_progress=lambda *_said: None)
    await stack.start()
    log = stack.settings.data_dir / "logs" / "sleeper.log"
    sleep = [sys.executable, "-c", SLEEPER]
    await stack.add(Child("sleeper", sleep, ready=lambda: "both" in log.read_text()))
    print("up", flush=True)
    await stack.wait()

asyncio.run(main())
"""
DATA_DIR = "PREFECT_INTEGRATIONS_KODOSUMI_DATA_DIR"


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)


def everything_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def own_children() -> set[psutil.Process]:
    """What this process started itself; what those start comes and goes as it likes."""
    return set(psutil.Process().children())


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    def runs(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return [process for process in processes if runs(process)]


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    """A whole stack, started once."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        settings = Settings(data_dir=tmp_path_factory.mktemp("up"))
        owner = Owner(settings)
        others = own_children()
        owner.run(owner.stack.start())
        own = running([*(own_children() - others)])
        before = [*own, *(below for one in own for below in one.children(recursive=True))]
        yield owner
        owner.close()
        assert len(before) > 10
        assert not running(before)
        assert not any(settings.run_dir.glob("*.json"))
        forget(settings)


def forget(settings: Settings) -> None:
    """Delete what a stack keeps outside of its data dir."""
    EmbeddedPostgres(settings.data_dir).destroy()
    rmtree(temporary_folder(settings, "ray").parent)


@pytest.fixture
def postgres_only(owner: Owner, tmp_path: Path) -> Iterator[Settings]:
    """Settings under which a stack starts Postgres only: Ray and Prefect are configured."""
    assert owner.stack.prefect is not None
    with owner.stack.prefect.in_force():
        yield Settings(data_dir=tmp_path, ray_address="auto")
    EmbeddedPostgres(tmp_path).destroy()


@pytest.fixture
def owner_process(owner: Owner, postgres_only: Settings) -> Iterator["subprocess.Popen[str]"]:
    """Another process that owns Postgres and a child with a child in a session of its own."""
    environment = {DATA_DIR: str(postgres_only.data_dir)}
    assert owner.stack.prefect is not None
    environment |= owner.stack.prefect.environment()
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, "postgres only"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_every_service_serves_and_is_written_down(owner: Owner) -> None:
    stack = owner.stack
    assert stack.database_url is not None
    psycopg.connect(stack.database_url).close()
    with urllib.request.urlopen(f"{stack.prefect_api_url}/health", timeout=5) as answer:
        assert answer.status == 200
    for service, key, value in (
        ("postgres", "url", stack.database_url),
        ("prefect", "url", stack.prefect_api_url),
        ("ray", "address", stack.ray_address),
    ):
        address = read_address(stack.settings, service)
        assert address is not None
        assert address[key] == value
        assert psutil.pid_exists(address["pid"])
        assert (stack.settings.run_dir / f"{service}.json").stat().st_mode & 0o077 == 0


def test_everything_listens_on_loopback_only(owner: Owner) -> None:
    listening = []
    for process in everything_of(os.getpid()):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            found = process.net_connections("inet")
            listening += [one for one in found if one.status == psutil.CONN_LISTEN]
    assert len(listening) > 5
    assert {one.laddr.ip.removeprefix("::ffff:") for one in listening} == {"127.0.0.1"}


def test_no_secret_is_on_a_command_line(owner: Owner) -> None:
    token = Path(ray_client_environment(owner.stack.settings)["RAY_AUTH_TOKEN_PATH"])
    assert token.stat().st_mode & 0o077 == 0
    password = (owner.stack.database_url or "").split(":")[2].partition("@")[0]
    lines = []
    for process in everything_of(os.getpid()):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            lines.append(" ".join(process.cmdline()))
    assert len(lines) > 5
    shown = "\n".join(lines)
    assert token.read_text() not in shown
    assert password not in shown


def test_a_process_that_imported_ray_before_can_still_join(owner: Owner) -> None:
    joined = subprocess.run(
        [
            sys.executable,
            "-c",
            "import ray, sys\n"
            "from kodosumi_prefect.settings import Settings, read_address\n"
            "from kodosumi_prefect.runner.ray_client import prepare_ray_client\n"
            "settings = Settings()\n"
            "prepare_ray_client(settings)\n"
            "ray.init(read_address(settings, 'ray')['address'], log_to_driver=False)\n"
            "print(ray.get(ray.remote(lambda: 6 * 7).remote()))",
        ],
        env={**os.environ, DATA_DIR: str(owner.stack.settings.data_dir)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert joined.stdout.strip() == "42", joined.stderr


def test_a_client_without_the_token_is_turned_away(owner: Owner) -> None:
    environment = ray_client_environment(owner.stack.settings)
    environment |= {"RAY_AUTH_TOKEN": "guess", "RAY_gcs_rpc_server_connect_timeout_s": "1"}
    refused = subprocess.run(
        [
            sys.executable,
            "-c",
            "from ray._raylet import GcsClient\n"
            f"print(GcsClient(address={owner.stack.ray_address!r}).cluster_id.hex())",
        ],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode != 0
    assert "InvalidAuthToken" in refused.stderr


def test_a_flow_run_by_the_worker_finds_prefect_ray_and_the_data_dir(
    owner: Owner, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(
        textwrap.dedent(f"""
        import json, os, ray
        from pathlib import Path
        from prefect import flow
        from prefect.settings import PREFECT_API_URL
        from kodosumi_prefect.settings import Settings

        @flow
        def look():
            settings = Settings()
            task = ray.remote(lambda: os.environ["PREFECT_API_URL"]).remote()
            found = [str(settings.data_dir), PREFECT_API_URL.value(), ray.get(task)]
            Path({str(tmp_path)!r}, "found.new").write_text(json.dumps(found))
            Path({str(tmp_path)!r}, "found.new").rename(Path({str(tmp_path)!r}, "found"))
        """)
    )
    deploy = (
        "from prefect import flow\n"
        "from prefect.deployments import run_deployment\n"
        f"look = flow.from_source({str(tmp_path)!r}, 'flows.py:look')\n"
        "look.deploy('d', work_pool_name='kodosumi', print_next_steps=False)\n"
        "run_deployment('look/d', timeout=0)\n"
    )
    subprocess.run(
        [sys.executable, "-c", deploy],
        env={**os.environ, **owner.stack.environment()},
        capture_output=True,
        check=True,
    )
    found = tmp_path / "found"
    owner.until(found.exists)
    api = owner.stack.prefect_api_url
    assert json.loads(found.read_text()) == [str(owner.stack.settings.data_dir), api, api]


def test_a_child_that_is_to_be_asked_last_outlives_what_it_started(
    postgres_only: Settings,
) -> None:
    told = postgres_only.data_dir / "told"
    noting = (
        "import signal, sys, time\n"
        "def note(*_):\n"
        f"    open({str(told)!r}, 'a').write(sys.argv[1] + ' ')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, note)\n"
        "print(sys.argv[1], flush=True)\n"
    )
    inner = noting + "time.sleep(600)\n"
    outer = (
        noting + "import subprocess\n"
        f"subprocess.run([sys.executable, '-c', {inner!r}, 'inner'], start_new_session=True)\n"
        "time.sleep(600)\n"
    )
    log = postgres_only.data_dir / "logs" / "worker-like.log"
    child = Child(
        "worker-like",
        [sys.executable, "-c", outer, "outer"],
        ready=lambda: log.read_text().split() == ["outer", "inner"],
        ask_all=True,
    )
    owner = Owner(postgres_only, worker=False)
    try:
        owner.run(owner.stack.start())
        owner.run(owner.stack.add(child))
    finally:
        owner.close()
    assert told.read_text().split() == ["inner", "outer"]


def test_a_worker_that_died_is_started_again(owner: Owner) -> None:
    before = owner.stack._children.running["worker"].popen.pid
    owner.said.clear()
    os.kill(before, signal.SIGKILL)
    owner.until(lambda: any(text.startswith("ready") for _service, text in owner.said))
    assert owner.stack._children.running["worker"].popen.pid != before


def test_a_killed_prefect_and_ray_come_back_where_they_were(owner: Owner) -> None:
    settings = owner.stack.settings
    before = {name: read_address(settings, name) or {} for name in ("prefect", "ray")}
    owner.said.clear()
    for address in before.values():
        os.kill(address["pid"], signal.SIGKILL)

    def are_back() -> bool:
        ready = [service for service, text in owner.said if text.startswith("ready")]
        return set(ready) >= set(before)

    owner.until(are_back, 150)
    for name, address in before.items():
        now = read_address(settings, name) or {}
        assert now["pid"] != address["pid"]
        assert {**now, "pid": 0} == {**address, "pid": 0}
    with urllib.request.urlopen(f"{owner.stack.prefect_api_url}/health", timeout=5) as answer:
        assert answer.status == 200
    test_a_process_that_imported_ray_before_can_still_join(owner)


def test_a_second_stack_is_refused_with_the_first_ones_pid(owner: Owner) -> None:
    second = Owner(owner.stack.settings)
    with pytest.raises(StackError) as caught:
        second.run(second.stack.start())
    second.close()
    assert str(os.getpid()) in str(caught.value)
    assert str(owner.stack.settings.data_dir) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert read_address(owner.stack.settings, "prefect") is not None


def test_a_child_that_is_not_ready_is_shown_with_its_last_words(postgres_only: Settings) -> None:
    owner = Owner(postgres_only, worker=False)
    try:
        owner.run(owner.stack.start())
        broken = Child("broken", [sys.executable, "-c", "raise SystemExit('no luck')"])
        late = Child(
            "late",
            [
                sys.executable,
                "-c",
                "import time; print('thinking', flush=True); time.sleep(600)",
            ],
            ready=lambda: False,
            timeout=1,
            grace=1,
        )
        with pytest.raises(StackError, match=r"(?s)broken ended with 1 .*no luck"):
            owner.run(owner.stack.add(Child(**{**vars(broken), "ready": lambda: False})))
        with pytest.raises(StackError, match=r"(?s)late was not ready within 1 s.*"):
            owner.run(owner.stack.add(late))
        with pytest.raises(StackError, match="absent cannot be started"):
            owner.run(owner.stack.add(Child("absent", ["/does/not/exist"])))
    finally:
        owner.close()


def test_stop_ends_a_child_that_ignores_it_and_what_it_started(postgres_only: Settings) -> None:
    stubborn = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],\n"
        "    start_new_session=True)\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )
    log = postgres_only.data_dir / "logs" / "stubborn.log"
    child = Child(
        "stubborn",
        [sys.executable, "-c", stubborn],
        ready=lambda: "started" in log.read_text(),
        grace=0.3,
    )
    owner = Owner(postgres_only, worker=False)
    try:
        owner.run(owner.stack.start())
        owner.run(owner.stack.add(child))
        family = everything_of(owner.stack._children.running["stubborn"].popen.pid)
        assert len(family) == 1
    finally:
        owner.close()
    assert not running(family)
    assert ("stubborn", "ended") in owner.said


def test_a_failed_start_leaves_nothing_running(tmp_path: Path) -> None:
    with socket.socket() as taken, temporary_settings(restore_defaults={PREFECT_API_URL}):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        before = own_children()
        owner = Owner(Settings(data_dir=tmp_path), prefect_port=port)
        with pytest.raises(StackError, match=f"port {port} for Prefect is taken"):
            owner.run(owner.stack.start())
        owner.close()
    assert not running([*(own_children() - before)])
    assert not any((tmp_path / "run").glob("*.json"))


def test_a_configured_prefect_that_does_not_answer_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: url}):
        settings = Settings(data_dir=tmp_path, ray_address="auto")
        owner = Owner(settings, worker=False)
        with pytest.raises(StackError, match="does not answer") as caught:
            owner.run(owner.stack.start())
        owner.close()
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)
    EmbeddedPostgres(tmp_path).destroy()


def test_a_killed_owner_takes_its_children_along_and_the_next_one_waits_for_that(
    owner_process: "subprocess.Popen[str]", postgres_only: Settings
) -> None:
    children = everything_of(owner_process.pid)
    assert len(children) > 5
    owner_process.kill()
    owner_process.wait()
    following = Owner(postgres_only, worker=False)
    try:
        following.run(following.stack.start())
        assert not running(children)
    finally:
        following.close()


def test_what_survived_owner_and_keeper_is_ended_by_the_next_stack(
    owner_process: "subprocess.Popen[str]", postgres_only: Settings
) -> None:
    children = everything_of(owner_process.pid)
    url = (read_address(postgres_only, "postgres") or {})["url"]
    [the_keeper] = [one for one in children if "keeper.py" in " ".join(one.cmdline())]
    sleepers = [one for one in children if "time.sleep" in " ".join(one.cmdline())]
    assert len(sleepers) == 2
    owner_process.send_signal(signal.SIGSTOP)
    the_keeper.kill()
    owner_process.kill()
    owner_process.wait()
    assert running(sleepers) == sleepers
    following = Owner(postgres_only, worker=False)
    try:
        following.run(following.stack.start())
        assert not running(sleepers)
        assert following.stack.database_url == url
    finally:
        following.close()


def test_a_killed_keeper_is_replaced(postgres_only: Settings) -> None:
    owner = Owner(postgres_only, worker=False)
    try:
        owner.run(owner.stack.start())
        children = owner.stack._children
        assert children.keeper is not None
        first = children.keeper.pid
        os.kill(first, signal.SIGKILL)
        owner.until(lambda: children.keeper is not None and children.keeper.pid != first)
    finally:
        owner.close()


def test_it_works_for_a_user_who_is_not_root_and_a_kill_leaves_nothing() -> None:
    python, account, environment = unprivileged_python()
    with home_of(account) as home:
        data_dir = home / "data"
        process = subprocess.Popen(
            [python, "-c", OWNER],
            cwd=home,
            env={**environment, "HOME": str(home), DATA_DIR: str(data_dir)},
            stdout=subprocess.PIPE,
            text=True,
            **account,
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "up\n"
            children = everything_of(process.pid)
            assert len(children) > 15
            folder = Path(
                (read_address(Settings(data_dir=data_dir), "ray") or {})["temp_dir"]
            ).parent
            owners = set()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):  # Ray's helpers come and go
                    owners.add(child.uids().effective)
            assert owners == {account["user"]}
        finally:
            process.kill()
            process.communicate()
        wait_until(lambda: not running(children))
        rmtree(folder)


def test_the_process_table_is_the_same_without_proc() -> None:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        here, by_ps = keeper.processes(), keeper._processes_by_ps()
        for table in (here, by_ps):
            assert table[child.pid].parent == os.getpid()
            assert table[child.pid].session == child.pid
        record = keeper.Record(
            "child", child.pid, by_ps[child.pid].started, signal.SIGTERM, 1, False, 0
        )
        _record, members = keeper.family(record, by_ps)
        assert [member.pid for member in members] == [child.pid]
        stranger = record._replace(started="another time")
        assert keeper.family(stranger, by_ps)[1] == []
    finally:
        child.kill()
        child.wait()
