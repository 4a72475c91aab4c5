"""Launching endpoints against the session's Prefect and Postgres, and executing the runs here."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import UUID, uuid4

import anyio.from_thread
import psycopg
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Pending
from psycopg.rows import dict_row
from starlette.requests import Request

from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.database.rows.services import RegisteredEndpoint
from kodosumi_prefect.launch.endpoint import Endpoint
from kodosumi_prefect.launch.launch import Launch
from kodosumi_prefect.runner import execute
from kodosumi_prefect.runner.worker import KodosumiRayWorker
from kodosumi_prefect.settings import Settings, use_settings
from tests.prefect_http import AUTH_STRING, ask_prefect
from tests.services import Place, Recorded

T = TypeVar("T")
USER = "5a0c6e5e-0000-4000-8000-000000000001"


def registered(deployment_id: str, summary: str) -> RegisteredEndpoint:
    """A Prefect deployment as the panel has it in its list of services."""
    return RegisteredEndpoint(
        uid=uuid4().hex,
        method="POST",
        url=f"/-/prefect/{deployment_id}",
        target=None,
        base_url="",
        deployment_id=deployment_id,
        source="prefect",
        kind="prefect",
        summary=summary,
        description=None,
        deprecated=False,
        author=None,
        organization=None,
        version=None,
        tags=[],
        reachable=True,
        trouble=None,
        reached_at=None,
        gone=False,
    )


def request(headers: dict[str, str] | None = None, user: str = USER, **scope: Any) -> Request:
    """As the panel calls a service in its own process."""
    given = {"x-kodosumi_user": user, "x-kodosumi_username": "ada", **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in given.items() if value]
    return Request(
        {
            "type": "http",
            "method": "POST",
            "scheme": "http",
            "server": ("service", 80),
            "path": "/",
            "root_path": "",
            "query_string": b"",
            "headers": raw,
            "kodosumi.inprocess": True,
            **scope,
        }
    )


class Launcher:
    """A service's process, in a thread with an event loop of its own."""

    def __init__(self, place: Place, portal: "anyio.from_thread.BlockingPortal") -> None:
        self.place = place
        self.portal = portal

    def do(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run something in the service's event loop."""
        with temporary_settings(
            {PREFECT_API_URL: self.place.api_url, PREFECT_API_AUTH_STRING: AUTH_STRING}
        ):
            return self.portal.call(work, *args)

    def launch(self, entry_point: Any, inputs: Any = None, **more: Any) -> str:
        """Launch from an endpoint; its fid. ``endpoint`` may be given, and Launch's options."""
        endpoint = more.pop("endpoint", None) or self.endpoint()
        made = Launch(more.pop("request", None) or request(), entry_point, inputs, **more)
        return self.do(made.go, endpoint)

    def endpoint(self, name: str = "tests", **more: Any) -> Endpoint:
        return Endpoint(app_name=name, path="/", **{"summary": "An endpoint", **more})

    def run(self, entry_point: Any, inputs: Any = None, **more: Any) -> Recorded:
        """Launch, execute as a Runner does, and return what was recorded."""
        return self.execute(self.launch(entry_point, inputs, **more))

    def execute(self, fid: str) -> Recorded:
        """Do what worker and Runner do with a scheduled run, in this process."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(fid), Pending(), force=True)
        with suppress(Exception):  # what the entrypoint raised; the record tells
            nothing: Any = SimpleNamespace(requested=False, loaded=lambda function: None)
            execute._drive(UUID(fid), job=nothing, interruption=nothing, output=nothing)
        return self.place.until_ended(fid)

    def flow_run(self, fid: str) -> FlowRun:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(UUID(fid))

    def prefect(self, method: str, path: str, **body: Any) -> Any:
        """Ask Prefect as its UI does."""
        answer = ask_prefect(method, f"{self.place.api_url}/{path}", json=body or None)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.place.database, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()

    def pool(self, name: str | None = None) -> str:
        """The work pool that launches run in, or another one."""
        name = name or self.place.settings.launch_work_pool
        answer = ask_prefect("GET", f"{self.place.api_url}/work_pools/{name}")
        if answer.status_code == 404:
            template = KodosumiRayWorker.get_default_base_job_template()
            self.prefect(
                "POST", "work_pools/", name=name, type="kodosumi-ray", base_job_template=template
            )
        return name


@contextmanager
def changed(launcher: "Launcher", **values: Any) -> Iterator[Settings]:
    """Other settings in force."""
    made = launcher.place.settings.model_copy(update=values)
    settings_module.reset_settings(made)
    try:
        with use_settings(made):
            yield made
    finally:
        settings_module.reset_settings(launcher.place.settings)
