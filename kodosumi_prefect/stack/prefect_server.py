"""The Prefect of a data dir: its server on SQLite, and a worker for its Ray pool."""

import hashlib
import os
import re
import secrets
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

from kodosumi_prefect._compat.prefect import LEASES_IN_FILES
from kodosumi_prefect.addresses import PrefectAccess
from kodosumi_prefect.settings import Settings, private_folder
from kodosumi_prefect.stack.child import Child, StackError
from kodosumi_prefect.stack.ports import free_port, port_is_free
from kodosumi_prefect.stack.temporary import temporary_folder
from kodosumi_prefect.vocabulary import POOL_TYPE

SERVER_TIMEOUT = 120.0  # seconds; the first start migrates an empty database
WORKER_TIMEOUT = 90.0  # seconds
HEALTH_TIMEOUT = 5.0  # seconds for an answer
WORKER_GRACE = 15.0  # seconds for a worker to deregister
PAUSES = "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS"
PAUSES_SECONDS = "60"
LEASES = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"


async def check_configured(url: str) -> None:
    """Check that the configured Prefect answers.

    Raises:
        StackError: it does not answer, or not to us.
    """
    import httpx
    from prefect.client.base import ServerType
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        problem = await client.api_healthcheck()
        # The health route answers everybody.
        if problem is None and client.server_type != ServerType.CLOUD:
            try:
                await client.api_version()
            except httpx.HTTPStatusError as exc:
                if exc.response.status_code in (401, 403):
                    raise StackError(
                        f"PREFECT_API_URL is {url}, which answers {exc.response.status_code}; set "
                        "PREFECT_API_AUTH_STRING, or unset both to use the server that `up` runs"
                    ) from exc
    if problem is not None:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise StackError(
            f"PREFECT_API_URL is {url}, which does not answer ({reason}); "
            "start that server or unset PREFECT_API_URL to use the one that `up` runs"
        )


def choose_port(settings: Settings, requested: int | None) -> int:
    """The port given, else the one of the last start if it is free, else a free one.

    Raises:
        StackError: the port given is taken.
    """
    recorded = settings.data_dir / "prefect" / "port"
    if requested:
        if not port_is_free(requested):
            raise StackError(
                f"port {requested} for Prefect is taken; free it or choose another one"
            )
        return requested
    if recorded.exists() and (text := recorded.read_text().strip()).isdigit():
        last = int(text)
        if port_is_free(last):
            return last
    port = free_port()
    private_folder(recorded.parent)
    recorded.write_text(str(port))
    return port


def plan_server(settings: Settings, port: int) -> PrefectAccess:
    """Where the server of a data dir is or will be, and its auth string, made once.

    Raises:
        OSError: it cannot be written in the data dir.
    """
    path = private_folder(settings.data_dir / "prefect") / "auth"
    if not path.exists() or not path.read_text().strip():
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(f"admin:{secrets.token_urlsafe(32)}")
        draft.replace(path)
    return PrefectAccess(f"http://127.0.0.1:{port}/api", path.read_text().strip(), path)


def server_child(settings: Settings, access: PrefectAccess) -> Child:
    """``prefect server start`` on loopback, with its files in the data dir.

    Arguments:
        access: as ``plan_server`` gives it.
    """
    home = settings.data_dir / "prefect"
    origin = access.url.removesuffix("/api")
    port = origin.rpartition(":")[2]
    argv = [sys.executable, "-m", "kodosumi_prefect.stack.prefect_process", "server", "start"]
    argv += ["--host", "127.0.0.1", "--port", port, "--analytics-off"]
    database = f"sqlite+aiosqlite:///{home / 'prefect.db'}"
    return Child(
        "prefect",
        argv,
        {
            "PREFECT_HOME": str(home),
            "PREFECT_PROFILE": None,  # names a profile of the user's own PREFECT_HOME
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_API_AUTH_STRING": access.auth_string,
            "PREFECT_API_AUTH_STRING": None,
            "PREFECT_API_KEY": None,
            # Its own pages, which people may have opened by either name.
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"{origin},http://localhost:{port}",
            "PREFECT_SERVER_UI_API_URL": access.url,
            # It reads all paused runs; ours, which wait for people, have deadlines of their own.
            PAUSES: os.environ.get(PAUSES, PAUSES_SECONDS),
            # In memory they end with the server, and runs that have a slot are cancelled then.
            LEASES: os.environ.get(LEASES, LEASES_IN_FILES),
            "DO_NOT_TRACK": "1",
        },
        ready=lambda: is_healthy(access),
        timeout=SERVER_TIMEOUT,
        order=1,
        cwd=home,  # no prefect.toml or .env of the caller's folder
        ports=(int(port),),
        remains="end",
    )


def worker_child(settings: Settings, pool: str, env: dict[str, str], log_path: Path) -> Child:
    """A Prefect worker that runs flows on the Ray cluster.

    Arguments:
        pool: its work pool, made if absent.
        env: what it and its flows find in their environment beside this process's.
        log_path: where its output goes.
    """
    # The same name each time, so that Prefect does not list a dead worker for every start.
    key = hashlib.sha256(bytes(settings.data_dir)).hexdigest()[:6]
    name = f"kodosumi-{re.sub(r'[^A-Za-z0-9.-]', '-', socket.gethostname())}-{key}"
    argv = [sys.executable, "-m", "prefect", "worker", "start", "--type", POOL_TYPE]
    argv += ["--pool", pool, "--name", name, "--install-policy", "never"]
    # A worker works in TMPDIR/runner_storage, which is the first user's if all share /tmp.
    folder = str(temporary_folder(settings, "worker"))
    ours: dict[str, str | None] = {**env, "TMPDIR": folder}
    if settings.log_json:
        ours["PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER"] = "json"
    return Child(
        "worker",
        argv,
        ours,
        ready=lambda: " started!" in log_path.read_text(errors="replace"),
        timeout=WORKER_TIMEOUT,
        grace=WORKER_GRACE,
        order=3,
    )


def is_healthy(access: PrefectAccess) -> bool:
    """Whether a Prefect server answers there and accepts the auth string."""
    # Without proxies: HTTP_PROXY is for the outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    # Not /health, which a server answers whoever asks.
    request = urllib.request.Request(f"{access.url}/admin/version", headers=access.headers)
    try:
        with opener.open(request, timeout=HEALTH_TIMEOUT) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
