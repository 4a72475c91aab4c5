"""Joining a cluster behind Ray Client, whose server for us may die as it is forked."""

from typing import Any

import pytest
import ray

from kodosumi_prefect.runner import ray_connection
from kodosumi_prefect.runner.ray_connection import TRIES, NoRayError, connect_ray
from kodosumi_prefect.settings import Settings

SAID = "Initialization failure from server:\n"
STILLBORN = f"{SAID}RuntimeError: Starting Ray client server failed."
ZOMBIE = f"{SAID}psutil.ZombieProcess: PID still exists but it's a zombie (pid=7)"


class Joining:
    """Takes the place of ``ray.init``: fails with each of ``errors`` in turn, then joins."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, **options: Any) -> None:
        self.asked.append(options)
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def joining(monkeypatch: pytest.MonkeyPatch):
    def fail_with(*errors: Exception) -> Joining:
        made = Joining(*errors)
        monkeypatch.setattr(ray, "init", made)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray_connection, "_check_door", lambda address: None)
        return made

    return fail_with


@pytest.fixture
def outside(settings: Settings) -> Settings:
    return settings.model_copy(update={"ray_address": "ray://head:10001"})


def test_a_server_that_died_as_it_started_is_asked_for_again(
    joining: Any, outside: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    asked = joining(ConnectionAbortedError(STILLBORN), ConnectionAbortedError(ZOMBIE)).asked
    connect_ray(outside)
    assert [options["address"] for options in asked] == ["ray://head:10001"] * TRIES
    assert "behind ray://head:10001 ended at once; asking for another (3 of 3)" in caplog.text


def test_one_that_never_lives_is_an_error_in_one_line(joining: Any, outside: Settings) -> None:
    made = joining(*[ConnectionAbortedError(STILLBORN)] * (TRIES + 1))
    with pytest.raises(NoRayError) as refused:
        connect_ray(outside)
    assert len(made.asked) == TRIES
    assert str(refused.value).startswith("ray_address ray://head:10001 refused the connection: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("ray client connection timeout"),
        ConnectionAbortedError(f"{SAID}Failed to create runtime_env"),
        RuntimeError("Version mismatch"),
    ],
)
def test_what_would_fail_again_is_not_tried_again(
    joining: Any, outside: Settings, error: Exception
) -> None:
    made = joining(error)
    with pytest.raises(NoRayError):
        connect_ray(outside)
    assert len(made.asked) == 1
