"""How `up` sets Prefect's server for many runs that wait for people, unless it is set already."""

from pathlib import Path

import pytest

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.prefect_server import (
    LEASES,
    LEASES_IN_FILES,
    PAUSES,
    plan_server,
    server_child,
)


@pytest.mark.parametrize(
    ("name", "exported", "value"),
    [
        (PAUSES, None, "60"),
        (PAUSES, "7", "7"),
        (LEASES, None, LEASES_IN_FILES),
        (LEASES, "prefect_redis.lease_storage", "prefect_redis.lease_storage"),
    ],
)
def test_prefect_is_set_for_long_waits_or_as_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, exported: str | None, value: str
) -> None:
    """Paused runs are looked at once a minute; slots are not lost with the server."""
    monkeypatch.delenv(name, raising=False)
    if exported is not None:
        monkeypatch.setenv(name, exported)
    settings = Settings(data_dir=tmp_path)
    child = server_child(settings, plan_server(settings, 4200))
    assert child.env[name] == value
