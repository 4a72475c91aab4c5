"""What a run was given, asked for by its token; and the files in answers to its questions."""

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from kodosumi_prefect import forms
from kodosumi_prefect.events import serialize
from kodosumi_prefect.files.tokens import token_for
from kodosumi_prefect.run_files.panel_place import PanelPlace
from tests.answering import locks
from tests.panel.panel_runs import Stand


def upload(stand: Stand, name: str, content: bytes, client: Any = None) -> dict[str, Any]:
    """What a form posts for a file that was uploaded."""
    client = client or stand.client
    batch = client.post("/files/init_batch").raise_for_status().json()["batch_id"]
    body = {"filename": name, "total_chunks": 1, "batch_id": batch}
    id_ = client.post("/files/init", json=body).raise_for_status().json()["upload_id"]
    data = {"upload_id": id_, "chunk_number": "0"}
    client.post("/files/chunk", data=data, files={"chunk": ("blob", content)}).raise_for_status()
    return {"batchId": batch, "items": {id_: {"filename": name, "totalChunks": 1}}}


@pytest.fixture
def place(panel: Stand) -> Iterator[Any]:
    """The panel, as processes of runs reach it."""
    made: list[PanelPlace] = []

    def place(fid: str) -> PanelPlace:
        made.append(PanelPlace(fid, panel.url, token_for(fid, panel.settings)))
        return made[-1]

    yield place
    for each in made:
        each.close()


def test_a_run_elsewhere_gets_what_its_schedule_keeps_and_no_more(panel: Stand, place: Any) -> None:
    schedule, other = str(uuid4()), str(uuid4())
    with psycopg.connect(panel.database, autocommit=True) as connection:
        for name, id_ in (("a.txt", schedule), ("b.txt", other)):
            batch = upload(panel, name, name.encode())["batchId"]
            connection.execute(
                "UPDATE kodosumi.upload_batch SET schedule = %s WHERE id = %s", (id_, batch)
            )
    runs = [panel.run(schedule=schedule).begin() for _ in range(2)]
    unscheduled = panel.run().begin()
    for run in runs:
        place(run.fid).bind()
        place(run.fid).bind()
        assert panel.client.get(f"/files/{run.fid}/in/a.txt").content == b"a.txt"
        assert [file["path"] for file in panel.json(f"/files/{run.fid}/in")] == ["in/a.txt"]
    place(unscheduled.fid).bind()
    assert panel.json(f"/files/{unscheduled.fid}/in") == []


def test_a_question_s_files_stand_in_the_run_before_its_answer(panel: Stand) -> None:
    model = forms.Model(
        forms.InputFiles("papers", "Papers", required=True, multiple=True, max_bytes=5)
    )
    run = panel.run().begin(topic="x")
    lid = str(uuid4())
    told = {"name": "more", "lid": lid, "data": None, "expires": time.time() + 60}
    run.say("lock", serialize(told | {"elements": model.get_model()}))
    where = f"/lock/{run.fid}/{lid}"
    foreign = upload(panel, "a.txt", b"1", panel.person("somebody").client)
    for value, wrong in (
        ("", "is required"),
        ("a.txt", "upload them first"),
        (foreign, "are not here"),
        (upload(panel, "a.txt", b"123456"), "5 at most"),
    ):
        answer = panel.client.post(where, json={"papers": value}).json()
        assert wrong in answer["errors"]["papers"][0]
    assert panel.json(f"/files/{run.fid}/in") == []
    sent = upload(panel, "a.txt", b"12345")
    page = f"/waiting/{run.fid}/{lid}"
    assert "data-files" in panel.client.get(page).text
    posted = panel.client.post(page, data={"field.papers": json.dumps(sent)})
    assert posted.status_code == 303, posted.text
    assert panel.client.get(f"/files/{run.fid}/in/a.txt").content == b"12345"
    [lock] = locks(panel.database, run.fid, None)
    assert lock["state"] == "leased"
    kinds = [e["kind"] for e in panel.json(f"/outputs/events/{run.fid}")["items"]]
    assert kinds.index("upload") < kinds.index("lease")
