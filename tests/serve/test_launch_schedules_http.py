"""`/schedules` of the panel: one's own, all for operators."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from pydantic import SecretStr

from kodosumi_prefect.launch.launch import Launch
from kodosumi_prefect.settings import write_address
from tests.panel.panel_runs import Stand, serving
from tests.serve.launches import Launcher, request
from tests.services import record_prefect


@pytest.fixture
def stand(launcher: Launcher) -> Iterator[Stand]:
    url = SecretStr(launcher.place.database)
    settings = launcher.place.settings.model_copy(update={"database_url": url})
    record_prefect(settings, launcher.place.api_url)
    try:
        with serving(settings) as made:
            yield made
    finally:
        write_address(settings, "prefect", None)


def test_one_sees_and_changes_ones_own_schedules(stand: Stand, launcher: Launcher) -> None:
    mine = stand.person(f"mira-{uuid4().hex[:6]}")
    other = stand.person(f"noor-{uuid4().hex[:6]}")
    launch = Launch(request(user=mine.id), "tests.samples.entrypoints:nothing")
    id_ = launcher.do(launch.schedule, launcher.endpoint("over http"), {"interval": 90})

    (row,) = mine.client.get("/schedules").json()["items"]
    assert (row["id"], row["interval"], row["active"]) == (id_, 90.0, True)
    assert row["username"].startswith("mira-")
    assert other.client.get("/schedules").json() == {"items": []}
    assert id_ in [each["id"] for each in stand.json("/schedules")["items"]]

    for path in (f"/schedules/{id_}/pause", f"/schedules/{id_}/resume"):
        answer = other.client.post(path)
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"there is no schedule {id_}"
    assert other.client.delete(f"/schedules/{id_}").status_code == 404

    assert mine.client.post(f"/schedules/{id_}/pause").json()["active"] is False
    assert mine.client.post(f"/schedules/{id_}/resume").json()["active"] is True
    assert mine.client.delete(f"/schedules/{id_}").status_code == 204
    assert mine.client.get("/schedules").json() == {"items": []}
    assert mine.client.post(f"/schedules/{id_}/pause").status_code == 404
    assert mine.client.post("/schedules/none/pause").status_code == 404
