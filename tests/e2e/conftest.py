"""Deployments that run on the one stack of this folder."""

from collections.abc import Iterator
from typing import Any

import pytest

from kodosumi_prefect.settings import reset_settings
from tests.e2e.running import Up
from tests.e2e.terminal import Terminal
from tests.waiting import wait_for


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


@pytest.fixture
def terminal(
    up: Up, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Terminal]:
    """For commands of ours, in the environment that `up` prints."""
    yield Terminal(up, monkeypatch, capsys)
    reset_settings()
