"""What the stack's children are told about its settings."""

from pathlib import Path

import pytest

from kodosumi_prefect.settings import PREFIX, Settings
from kodosumi_prefect.stack import Stack
from kodosumi_prefect.stack.ray_head import plan_ray, ray_child

pytestmark = pytest.mark.stack


def test_lists_and_prices_reach_the_children_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    names = ["flows.review:app", "with, comma:app"]
    prices = {"my-model": {"input": 0.5, "output": 2.0}}
    settings = Settings(data_dir=tmp_path, services=names, port=0, model_prices=prices)
    for name, value in Stack(settings, on_progress=lambda *_: None).environment().items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    told = Settings()
    assert (told.services, told.data_dir, told.port) == (names, tmp_path, 0)
    assert told.model_prices == settings.model_prices


@pytest.mark.parametrize("said", [None, "15"])
def test_runs_are_not_so_nice_that_they_hear_of_answers_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None
):
    monkeypatch.delenv("RAY_worker_niceness", raising=False)
    if said is not None:
        monkeypatch.setenv("RAY_worker_niceness", said)
    child = ray_child(plan_ray(Settings(data_dir=tmp_path)), {})
    assert child.env["RAY_worker_niceness"] == (said or "5")
