"""What a run leaves, among its artifacts in Prefect."""

import threading
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
)
from prefect.settings import PREFECT_API_URL, temporary_settings

from kodosumi_prefect import Tracer, artifacts, flow
from kodosumi_prefect.artifacts import key_of
from kodosumi_prefect.response import Markdown
from kodosumi_prefect.settings import Settings, get_settings, use_settings
from tests.files.run_storage import register
from tests.services import Place


def artifacts_of(fid: str) -> dict[str, Any]:
    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(fid)]))
    with get_client(sync_client=True) as client:
        return {each.key: each.data for each in client.read_artifacts(artifact_filter=chosen)}


@flow
def leaves(tracer: Tracer) -> Markdown:
    tracer.file_sync("deep/Report [1].md", "# text")
    with tracer.fs_sync() as fs:
        for number in range(30):
            fs.put(f"{number}.txt", "x")
    return Markdown("# Done")


def test_files_and_a_markdown_result_are_among_the_artifacts(place: Place) -> None:
    register(place.settings, place.database)
    recorded = place.run(leaves)
    assert recorded.row["status"] == "finished"
    assert recorded.row["files"] == 31
    artifacts.settle(20)
    found = artifacts_of(recorded.fid)
    assert found["leaves-result"] == "# Done"
    link = found["deep-report-1-md"]
    assert link.startswith("[deep/Report \\[1\\].md](http")
    assert link.endswith(f"/files/{recorded.fid}/out/deep/Report%20%5B1%5D.md)")
    assert len(found) == artifacts.MOST_LINKS + 1


def test_what_waits_of_one_run_is_made_by_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, str]] = []
    clients: list[Any] = []
    all_wait = threading.Event()

    class Client:
        def __enter__(self) -> "Client":
            clients.append(self)
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def create_artifact(self, artifact: ArtifactCreate) -> None:
            assert all_wait.wait(10)
            if artifact.key == "refused":
                raise ValueError("no artifact")
            made.append((len(clients), str(artifact.key)))

    monkeypatch.setattr(artifacts, "get_client", lambda sync_client: Client())
    maker = artifacts._Maker()
    one, other = (str(uuid4()) for _ in range(2))
    for fid, key in ((one, "a"), (one, "b"), (other, "c"), (one, "refused"), (one, "d")):
        maker.add(fid, key, "text", "description")
    all_wait.set()
    maker.settle(10)
    assert made == [(1, "a"), (1, "b"), (2, "c"), (4, "d")]


def test_turned_off_there_are_none(place: Place) -> None:
    register(place.settings, place.database)
    with use_settings(get_settings().model_copy(update={"run_artifacts": False})):
        recorded = place.run(leaves)
    artifacts.settle(20)
    assert artifacts_of(recorded.fid) == {}


def test_a_prefect_that_is_away_costs_no_more_than_the_wait() -> None:
    fid = "0192d6bb-6b6e-7aaa-8bbb-0123456789ab"
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        artifacts.of_result(fid, "some", Markdown("x"), Settings())
        began = time.monotonic()
        artifacts.settle(0.2)
        assert time.monotonic() - began < 10
    artifacts.of_result(fid, "some", "no markdown", Settings())
    artifacts.of_file(fid, "in/x", Settings())


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Report.pdf", "report-pdf"),
        ("ä", "file"),
        ("a/b c.txt", "a-b-c-txt"),
        ("x" * 300, "x" * 200),
    ],
)
def test_keys_are_what_prefect_takes(name: str, key: str) -> None:
    assert key_of(name) == key
