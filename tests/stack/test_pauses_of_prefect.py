"""How often `up` has Prefect look at paused runs, of which waiting for people makes many."""

from pathlib import Path

import pytest

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.prefect_server import PAUSES, plan_server, server_child


@pytest.mark.parametrize(("exported", "seconds"), [(None, "60"), ("7", "7")])
def test_prefect_looks_at_paused_runs_once_a_minute_or_as_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: str | None, seconds: str
) -> None:
    monkeypatch.delenv(PAUSES, raising=False)
    if exported is not None:
        monkeypatch.setenv(PAUSES, exported)
    settings = Settings(data_dir=tmp_path)
    child = server_child(settings, plan_server(settings, 4200))
    assert child.env[PAUSES] == seconds
