"""One `kodosumi-prefect up` for all tests of this folder."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.running import FLOWS, Up, running_up
from tests.waiting import wait_for


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A stack with the flows of this folder deployed on it."""
    services = ("--service", "flows.review:app", "--service", "flows.document_digest:app")
    with running_up(tmp_path_factory.mktemp("up"), *services) as running:
        running.command("prefect", "--no-prompt", "deploy", "--all")
        running.command("python", str(FLOWS))
        yield running


@pytest.fixture
def until_running(up: Up):
    """Run a deployment and wait until it has said something."""

    def run(deployment: str, **parameters: Any) -> str:
        fid = up.run(deployment, **parameters)
        wait_for(
            lambda: up.status(fid)["status"] == "running" and up.events(fid, kinds="debug"),
            60,
            f"{deployment} to begin",
        )
        return fid

    return run
