"""A second user of the machine finds nothing open in what `up` runs.

Every port and socket is looked up, not known beforehand: one that a later version opens fails here
until somebody has decided about it.
"""

import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from kodosumi_prefect.settings import Settings, private_folder, read_address
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.accounts import unprivileged_python
from tests.e2e.running import PASSWORD, Up

pytestmark = pytest.mark.stack

STRANGER = Path(__file__).with_name("stranger.py")

# What listens, by the command line of its process; the first that fits.
ROLES = {
    "panel": r"kodosumi-prefect up",
    "postgres": r"/bin/postgres -D",
    "prefect": r"stack\.prefect_process server",
    "worker": r"prefect worker start",
    "gcs": r"/gcs/gcs_server ",
    "raylet": r"/raylet/raylet ",
    "ray agent": r"^ray::DashboardAgent|dashboard/agent\.py",
    "runtime_env agent": r"^ray::RuntimeEnvAgent|runtime_env/agent/main\.py",
    "ray dashboard": r"dashboard/dashboard\.py",
    "ray monitor": r"autoscaler/.*monitor\.py",
    "ray client": r"ray\.util\.client\.server",
    "ray process": r"^ray::|workers/default_worker\.py",
}
# Addresses of http that answer strangers, and why.
OPEN = {
    "panel": {
        "GET /livez",  # that the process lives
        "GET /readyz",  # that Postgres answers
        "GET /health",  # to this machine: versions, and which parts answer
        "GET /metrics",  # to this machine: numbers, never a name
    },
    # The pages of its UI, which hold nothing, and its version; its API has tests of its own.
    "prefect": {"GET /", "GET /api/version"},
    "ray agent": {"GET /api/local_raylet_healthz"},  # that the raylet lives
}
# Those answer all addresses with numbers for Prometheus about the machine and Ray itself, which
# have these labels and no other.
NUMBERS = {"ray dashboard", "ray monitor"}
LABELS = {
    "Component",
    "NodeType",
    "SessionName",
    "Version",
    "endpoint",
    "generation",
    "http_status",
    "implementation",
    "ip",
    "le",
    "major",
    "method",
    "minor",
    "patchlevel",
    "pid",
    "resource",
    "version",
}
HTTP_REFUSALS = {"401", "403", "404", "405", "none"}
# To somebody without the token, and for a method that a port does not have.
GRPC_REFUSALS = {"UNAUTHENTICATED", "UNIMPLEMENTED"}


@dataclass
class Tried:
    """What a stranger tried on a stack.

    Attributes:
        uid: of the stranger; ours if we cannot become somebody else.
        ports: by port, its role and what it answered.
    """

    uid: int
    ports: dict[int, tuple[str, dict[str, Any]]]
    sockets: list[str]
    opened_sockets: list[str]
    files: list[Path]
    read_files: list[str]
    opened_postgres: list[int]


@pytest.fixture(scope="module")
def tried(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """Everything tried at once, on a stack that has run a flow."""
    up.until(up.run("ticking/test", ticks=1), "finished")
    ports, sockets = listening(up)
    folders = [up.data_dir, Path((address(up, "ray"))["temp_dir"]).parent]
    files = [entry for folder in folders for entry in (folder, *folder.rglob("*"))]
    targets = {
        "ports": list(ports),
        "sockets": sockets,
        "files": [str(path) for path in files],
        "postgres": [port for port, role in ports.items() if role == "postgres"],
    }
    answers = as_stranger(targets, tmp_path_factory.mktemp("home"))
    there, _ = listening(up)  # a process that has ended meanwhile answered nothing
    return Tried(
        answers["uid"],
        {p: (ports[p], answers["ports"][str(p)]) for p in ports if there.get(p) == ports[p]},
        sockets,
        answers["sockets"],
        files,
        answers["files"],
        answers["postgres"],
    )


def address(up: Up, service: str) -> dict[str, Any]:
    return read_address(Settings(data_dir=up.data_dir), service) or {}


def listening(up: Up) -> tuple[dict[int, str], list[str]]:
    """TCP ports with their roles, and Unix sockets, of all processes of a stack."""
    ports: dict[int, str] = {}
    sockets: set[str] = set()
    up_itself = psutil.Process(up.process.pid)
    for process in (up_itself, *up_itself.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            words = " ".join(process.cmdline())
            role = next((name for name, fits in ROLES.items() if re.search(fits, words)), words)
            for one in process.net_connections("inet"):
                if one.status == psutil.CONN_LISTEN:
                    ports[one.laddr.port] = role
            sockets |= {str(one.laddr) for one in process.net_connections("unix") if one.laddr}
    return ports, sorted(sockets)


def as_stranger(targets: dict[str, Any], home: Path) -> dict[str, Any]:
    """Run the attacks as another user, or as this one without anything of ours."""
    try:
        python, account, environment = unprivileged_python()
    except pytest.skip.Exception:
        path = os.pathsep.join(entry for entry in sys.path if "-packages" in entry)
        python, account = sys.executable, {}
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
    done = subprocess.run(
        [python, "-c", STRANGER.read_text()],
        input=json.dumps(targets),
        env=environment | {"HOME": str(home)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=300,
        **account,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_every_port_is_of_a_service_that_somebody_has_decided_about(tried: Tried) -> None:
    roles = {role for role, _ in tried.ports.values()}
    assert roles <= set(ROLES)
    assert {"panel", "postgres", "prefect", "gcs", "raylet", "ray process"} <= roles
    for port, (role, answers) in tried.ports.items():
        speaks = answers["grpc"] is not None or answers["http"] is not None
        assert speaks or role == "postgres", (port, role)


def test_no_method_of_ray_is_called_without_its_token(tried: Tried) -> None:
    grpc = {p: (role, a["grpc"]) for p, (role, a) in tried.ports.items() if a["grpc"] is not None}
    assert len(grpc) > 5
    for port, (role, answers) in grpc.items():
        open_ = {s: sorted(set(m))[:5] for s, m in answers.items() if s not in GRPC_REFUSALS}
        assert not open_, (port, role)
        assert "UNAUTHENTICATED" in answers, (port, role)


def test_no_address_of_http_answers_but_those_meant_to(tried: Tried) -> None:
    http = {p: (role, a["http"]) for p, (role, a) in tried.ports.items() if a["http"] is not None}
    assert len(http) > 4
    for port, (role, answers) in http.items():
        if role in NUMBERS:
            continue
        open_ = {a for s, paths in answers.items() if s not in HTTP_REFUSALS for a in paths}
        assert open_ <= OPEN.get(role, set()), (port, role)


def test_open_numbers_have_no_names_of_users_or_their_code(tried: Tried, up: Up) -> None:
    secret = (address(up, "postgres"))["url"].split(":")[2].partition("@")[0]
    texts = 0
    for port, (role, answers) in tried.ports.items():
        for where, text in answers["bodies"].items():
            texts += 1
            assert "ticking" not in text, (port, role, where)
            assert secret not in text, (port, role, where)
            assert PASSWORD not in text, (port, role, where)
        if role in NUMBERS:
            labels = re.findall(r'(\w+)="', answers["bodies"]["GET /metrics"])
            assert set(labels) <= LABELS, (port, role)
    assert texts


def test_postgres_lets_in_who_has_the_password_only(tried: Tried, up: Up) -> None:
    assert tried.opened_postgres == []
    with psycopg.connect(address(up, "postgres")["url"]) as connection:
        rules = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        assert rules == [("scram-sha-256",)]
        where = connection.execute("SHOW unix_socket_directories").fetchone()
        assert where == ("",)


def test_no_socket_is_reached_by_others(tried: Tried) -> None:
    assert tried.sockets
    for path in tried.sockets:
        assert any(not parent.stat().st_mode & 0o001 for parent in Path(path).parents), path
    if tried.uid != os.getuid():
        assert tried.opened_sockets == []


def test_no_file_is_read_by_others(tried: Tried, up: Up) -> None:
    assert len(tried.files) > 50
    if tried.uid != os.getuid():
        assert tried.read_files == []
    for entry in up.data_dir.iterdir():
        # "client" is this test's own; what Postgres keeps as root has to be passed through.
        if entry.name not in ("client", "postgres"):
            assert not entry.stat().st_mode & 0o077, entry


def test_what_an_older_version_left_open_is_shut(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        logs = tmp_path / "data" / "logs"
        logs.mkdir(parents=True, mode=0o777)
        private_folder(logs)
        assert stat.S_IMODE(logs.stat().st_mode) == 0o700
        new = private_folder(tmp_path / "new" / "run")
        assert stat.S_IMODE(new.stat().st_mode) == 0o700
        assert not new.parent.stat().st_mode & 0o066
    finally:
        os.umask(umask)


def test_a_program_that_took_the_port_of_postgres_is_not_told_the_password(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    try:
        url = postgres.start()
    finally:
        postgres.destroy()
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def ask_for_the_password() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(1000))
                connection.sendall(b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big"))
                heard.append(connection.recv(1000))

        thread = threading.Thread(target=ask_for_the_password, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(
                url, port=port, sslmode="disable", gssencmode="disable", connect_timeout=10
            )
        thread.join(10)
    password = url.split(":")[2].partition("@")[0].encode()
    assert heard
    assert not any(password in packet for packet in heard)
