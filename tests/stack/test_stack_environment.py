"""What the stack's children are told about its settings."""

from pathlib import Path

import pytest

from kodosumi_prefect.settings import PREFIX, Settings
from kodosumi_prefect.stack import Stack

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
