"""What a second user of the machine tries on ports, sockets and files; a program of its own.

Reads from standard input, and writes to standard output, JSON: see ``main``. It is given no secret,
and of its environment only what finds the packages.
"""

import http.client
import importlib
import json
import os
import pkgutil
import socket
import sys
from collections.abc import Iterator
from typing import Any

TIMEOUT = 10.0  # seconds for one answer
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
# Of Ray's dashboard, its agents and its runtime_env agent, of Prefect and of our panel.
HTTP_PATHS = (
    ("GET", "/"),
    ("GET", "/metrics"),
    ("GET", "/health"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/api/version"),
    ("GET", "/api/local_raylet_healthz"),
    ("GET", "/api/gcs_healthz"),
    ("GET", "/api/jobs/"),
    ("POST", "/api/jobs/"),
    ("GET", "/api/job_agent/jobs/"),
    ("POST", "/api/job_agent/jobs/"),
    ("GET", "/api/v0/logs"),
    ("GET", "/api/v0/actors"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/logs"),
    ("GET", "/worker/traceback"),
    ("POST", "/get_or_create_runtime_env"),
    ("POST", "/delete_runtime_env_if_possible"),
    ("POST", "/get_runtime_envs_info"),
    ("GET", "/outputs/list"),
    ("GET", "/timeline/list"),
    ("GET", "/executions"),
    ("GET", "/system"),
    ("GET", "/users"),
    ("GET", "/keys"),
    ("GET", "/register"),
    ("POST", "/register"),
)


def main() -> None:
    """Try ``{"ports": [...], "sockets": [...], "files": [...], "postgres": [...]}``.

    The answer has for each port the language it speaks and what it answered, and lists of the
    sockets that could be connected to, the files that could be read, and the databases that let
    one in.
    """
    targets = json.load(sys.stdin)
    json.dump(
        {
            "uid": os.getuid(),
            "ports": {port: port_answers(port) for port in targets["ports"]},
            "sockets": [path for path in targets["sockets"] if connects(path)],
            "files": [path for path in targets["files"] if os.access(path, os.R_OK)],
            "postgres": [port for port in targets["postgres"] if opens(port)],
        },
        sys.stdout,
    )


def port_answers(port: int) -> dict[str, Any]:
    """What a port answered.

    ``grpc``: methods by status; ``http``: addresses by status; each None if not spoken.
    ``bodies``: what came with status 200, by address, at most 100,000 characters of each.
    """
    bodies: dict[str, str] = {}
    http = http_answers(port, bodies)
    grpc = grpc_answers(port) if speaks_grpc(port) else None
    return {"grpc": grpc, "http": http, "bodies": bodies}


def speaks_grpc(port: int) -> bool:
    """Whether a port answers the beginning of HTTP/2 with a frame of settings."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
            connection.sendall(HTTP2_PREFACE)
            connection.settimeout(TIMEOUT / 5)
            while len(answer) < 9 and (part := connection.recv(9 - len(answer))):
                answer += part
    except OSError:
        return False
    return len(answer) == 9 and answer[3] == 4


def methods() -> Iterator[str]:
    """Every method of every service that Ray's packages know."""
    import ray.core.generated

    for module in pkgutil.iter_modules(ray.core.generated.__path__):
        if module.name.endswith("_pb2"):
            found = importlib.import_module(f"ray.core.generated.{module.name}")
            for service in found.DESCRIPTOR.services_by_name.values():
                yield from (f"/{service.full_name}/{method.name}" for method in service.methods)
    # Between raylets only; Python has no code for it.
    yield from (f"/ray.rpc.ObjectManagerService/{name}" for name in ("Push", "Pull", "FreeObjects"))


def grpc_answers(port: int) -> dict[str, list[str]]:
    """Call every method without a token and with a wrong one."""
    import grpc

    answers: dict[str, list[str]] = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in methods():
            call = channel.unary_unary(method)
            for metadata in ((), (("authorization", "Bearer guess"),)):
                try:
                    call(b"", timeout=TIMEOUT, metadata=metadata)
                    status = "OK"
                except grpc.RpcError as exc:
                    status = exc.code().name
                answers.setdefault(status, []).append(method)
    return answers


def http_answers(port: int, bodies: dict[str, str]) -> dict[str, list[str]] | None:
    """Ask for addresses of each of our services; by status, ``none`` if there was no answer."""
    answers: dict[str, list[str]] = {}
    for method, path in HTTP_PATHS:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        try:
            connection.request(method, path, body=b"{}" if method == "POST" else None)
            answer = connection.getresponse()
            status = str(answer.status)
            if answer.status == 200:
                bodies[f"{method} {path}"] = answer.read(100_000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            if not answers:
                return None
            status = "none"
        finally:
            connection.close()
        answers.setdefault(status, []).append(f"{method} {path}")
    return answers


def connects(path: str) -> bool:
    """Whether a Unix socket lets us in; a path that begins with @ is an abstract one."""
    address = f"\0{path[1:]}" if path.startswith("@") else path
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as connection:
            try:
                connection.connect(address)
            except OSError:
                continue
            return True
    return False


def opens(port: int) -> bool:
    """Whether Postgres lets one in with no password or one that can be guessed."""
    import psycopg

    for user in ("kodosumi", "postgres"):
        for password in (None, "", "kodosumi", "postgres"):
            for database in ("kodosumi", "postgres", "template1"):
                try:
                    psycopg.connect(
                        host="127.0.0.1",
                        port=port,
                        user=user,
                        password=password,
                        dbname=database,
                        connect_timeout=int(TIMEOUT),
                    ).close()
                except psycopg.OperationalError:
                    continue
                return True
    return False


if __name__ == "__main__":
    main()
