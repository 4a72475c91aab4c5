"""What is refused is an error of our own domain; which HTTP status it gets is said once."""

import ast
import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request

import kodosumi_prefect
from kodosumi_prefect.core import Launch
from kodosumi_prefect.http.statuses import STATUSES, status_of
from kodosumi_prefect.launch import refusal
from kodosumi_prefect.panel.services import forwarding
from kodosumi_prefect.refusals import RefusedError
from kodosumi_prefect.settings import Settings, use_settings

DETAIL = (
    "the request has no x-kodosumi-signature header; call the service through its panel, or add "
    "the caller's network to trusted_networks"
)
SOURCES = Path(kodosumi_prefect.__file__).parent


def test_every_kind_of_refusal_has_a_status() -> None:
    for kind in RefusedError.__subclasses__():
        if kind not in (refusal.LaunchError, forwarding.ServiceError):  # raised as their kinds only
            assert status_of(kind("no")) == STATUSES[kind]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (refusal.UnsignedLaunchError, 401),
        (refusal.GoneError, 404),
        (refusal.NotAllowedError, 409),
        (refusal.WrongRequestError, 422),
        (refusal.FaultyServiceError, 500),
        (refusal.PrefectError, 502),
        (refusal.UnavailableLaunchError, 503),
        (forwarding.TooManyCallsError, 429),
        (forwarding.BrokenServiceError, 502),
        (forwarding.BusyServicesError, 503),
        (forwarding.LateServiceError, 504),
    ],
)
def test_launches_and_services_are_refused_with_the_statuses_that_clients_know(
    kind: type[RefusedError], status: int
) -> None:
    assert status_of(kind("two\nlines")) == status


def test_a_refused_launch_is_one_line() -> None:
    assert refusal.GoneError("two\n  lines").detail == "two lines"


def test_only_what_reads_requests_raises_errors_of_http() -> None:
    kinds = [
        (path.relative_to(SOURCES).as_posix(), node.name)
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "HTTPException" for base in node.bases)
    ]
    assert kinds == [("http/body.py", "TooLargeError")]


def test_only_what_reads_requests_or_answers_them_knows_errors_of_http() -> None:
    """Routes, pages, services, and a ``Launch``, which other apps return as their answer."""
    at_the_edge = re.compile(
        r"(http|serve|panel/web)/\w+|panel/\w+/(\w+_)?(api|pages)|launch/launch"
    )
    domain = [
        path.relative_to(SOURCES).with_suffix("").as_posix()
        for path in SOURCES.rglob("*.py")
        if re.search(r"import .*\bHTTPException\b", path.read_text())
    ]
    assert [name for name in domain if not at_the_edge.fullmatch(name)] == []


async def test_another_app_answers_a_refused_launch_as_its_own_http_errors(tmp_path: Path) -> None:
    app = FastAPI()

    @app.post("/")
    async def start(request: Request) -> Launch:
        return Launch(request, "nowhere:nothing")

    settings = Settings(data_dir=tmp_path)
    transport = httpx.ASGITransport(app, client=("192.0.2.1", 1))
    with use_settings(settings):
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            answer = await http.post("/")
    assert answer.status_code == 401
    assert answer.json() == {"detail": DETAIL}
