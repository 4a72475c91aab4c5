"""Files over HTTP into a form and into the questions of its run, through a real Runner."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.running import Up
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(300)


def upload(up: Up, **files: bytes) -> str:
    """What a form posts for files that were uploaded; ``_`` of their names is a dot."""
    batch = up.client.post("/files/init_batch").json()["batch_id"]
    items = {}
    for name, content in files.items():
        name, half = name.replace("_", "."), len(content) // 2
        body = {"filename": name, "total_chunks": 2, "batch_id": batch}
        id_ = up.client.post("/files/init", json=body).json()["upload_id"]
        for number, chunk in ((1, content[half:]), (0, content[:half])):
            data = {"upload_id": id_, "chunk_number": str(number)}
            answer = up.client.post("/files/chunk", data=data, files={"chunk": ("blob", chunk)})
            assert answer.status_code == 201, answer.text
        items[id_] = {"filename": name, "totalChunks": 2}
    return json.dumps({"batchId": batch, "items": items})


def service(up: Up) -> dict[str, Any]:
    items = up.client.get("/flow", params={"pp": 100}).json()["items"]
    return next(item for item in items if item["summary"] == "Join files")


def content(up: Up, fid: str, path: str) -> str:
    return up.client.get(f"/files/{fid}/{path}").raise_for_status().text


def question(up: Up, fid: str, name: str) -> str:
    def asked() -> str | None:
        locks = up.client.get("/locks").json()["items"]
        found = [each["lid"] for each in locks if each["fid"] == fid and each["name"] == name]
        return found[0] if found else None

    return str(wait_for(asked, 90, f"question {name} of {fid}"))


def test_files_go_into_a_run_and_its_questions_and_come_out(up: Up) -> None:
    url = service(up)["url"]
    value = upload(up, a_txt=b"first ", b_txt=b"second ")
    key = {"Idempotency-Key": uuid4().hex}
    posted = {"papers": value, "ask": "on"}
    answer = up.client.post(url, data=posted, headers=key)
    fid = answer.json()["result"]
    # They are there when the launch is answered, and asked again it is the same launch.
    assert [file["path"] for file in up.client.get(f"/files/{fid}/in").json()] == [
        "in/a.txt",
        "in/b.txt",
    ]
    assert up.client.post(url, data=posted, headers=key).json()["result"] == fid
    refused = up.client.post(url, data=posted).json()["errors"]["papers"]
    assert "launched with before" in refused[0]
    for name, field, text in (("extra", "extra", b"third "), ("more", "more", b"fourth")):
        lid = question(up, fid, name)
        unknown = {"batchId": str(uuid4()), "items": {str(uuid4()): {"filename": "x"}}}
        wrong = up.client.post(f"/lock/{fid}/{lid}", json={field: unknown}).json()
        assert "are not here" in wrong["errors"][field][0]
        if name == "extra":
            sent = upload(up, **{f"{field}_txt": text})
            answered = up.client.post(f"/lock/{fid}/{lid}", json={field: sent}).json()
            assert answered["result"] == {field: [f"{field}.txt"]}
            continue
        # As a browser without scripts does.
        with_form = {f"file.{field}": (f"{field}.txt", text)}
        page = f"/waiting/{fid}/{lid}"
        answer = up.client.post(page, data={f"field.{field}": ""}, files=with_form)
        assert answer.status_code == 303, answer.text
    up.until(fid, "finished", 90)
    assert content(up, fid, "out/joined.txt") == "first second third fourth"
    final = json.loads(up.status(fid)["final"])["dict"]
    assert final["names"] == ["a.txt", "b.txt"]
    assert final["answers"] == {"extra": ["extra.txt"], "more": ["more.txt"]}
    kinds = [event["kind"] for event in up.events(fid)]
    assert kinds.count("upload") == 4  # the form's, two answers', and what it left
    assert len(kinds) - 1 - kinds[::-1].index("lease") > kinds.index("upload")


def test_a_run_again_by_its_form_takes_chosen_files_along(up: Up) -> None:
    registered = service(up)
    value = upload(up, a_txt=b"kept ", b_txt=b"left out ")
    first = up.client.post(registered["url"], data={"papers": value}).json()["result"]
    up.until(first, "finished", 90)
    page = up.client.get(f"/services/{registered['uid']}", params={"from": first})
    assert "a.txt" in page.text and "b.txt" in page.text
    again = {"batchId": None, "items": {}, "again": {"fid": first, "names": ["a.txt"]}}
    posted = {"field.papers": json.dumps(again), "kodosumi.key": uuid4().hex}
    sent = up.client.post(f"/services/{registered['uid']}", data=posted)
    assert sent.status_code == 303, sent.text
    second = sent.headers["location"].rpartition("/")[2]
    up.until(second, "finished", 90)
    assert content(up, second, "out/joined.txt") == "kept "
    gone = {"again": {"fid": first, "names": ["c.txt"]}}
    refused = up.client.post(
        f"/services/{registered['uid']}", data={"field.papers": json.dumps(gone)}
    )
    assert refused.status_code == 422 and "no longer has all of its files" in refused.text


def test_without_scripts_files_are_launched_with_by_the_form_itself(up: Up) -> None:
    page = f"/services/{service(up)['uid']}"
    files = [("files.papers", (f"{name}.txt", name.encode())) for name in "ab"]
    fields = {"field.papers": "", "kodosumi.key": uuid4().hex}
    addresses = {
        up.client.post(page, data=fields, files=files).headers["location"] for _ in range(2)
    }
    [address] = addresses  # sent twice, it is one launch
    fid = address.rpartition("/")[2]
    up.until(fid, "finished", 90)
    assert content(up, fid, "out/joined.txt") == "ab"
