"""Files over HTTP where the storage is a bucket: chunks, URLs of its own, a bucket that is away."""

import hashlib
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from kodosumi_prefect.files import storage
from kodosumi_prefect.settings import Settings
from tests.e2e.test_documented_scripts import CURL, blocks
from tests.e2e.test_documented_scripts import run as run_script
from tests.files.s3_server import S3Server
from tests.panel.panel_runs import Run, Stand, serving
from tests.panel.test_panel_files import Files, uploads

MIB = 1024**2


def in_bucket(settings: Settings, options: dict[str, str]) -> Settings:
    """Settings with a bucket's prefix of their own."""
    secrets = {name: SecretStr(value) for name, value in options.items()}
    url = f"s3://files/{uuid4().hex}"
    return settings.model_copy(update={"file_storage_url": url, "file_storage_options": secrets})


@pytest.fixture
def stand(settings: Settings, s3_server: S3Server) -> Iterator[Stand]:
    with serving(in_bucket(settings, s3_server.options)) as made:
        yield made


@pytest.fixture
def run(stand: Stand) -> Run:
    return stand.run().begin()


@pytest.fixture
def operator(stand: Stand) -> Files:
    return Files(stand.client)


def test_chunks_become_a_file_of_the_bucket(stand: Stand, operator: Files, run: Run) -> None:
    parts = [b"a" * MIB, b"b" * 5 * MIB, b"c"]
    batch = operator.batch()
    items = dict([operator.send(batch, "dir/a.bin", *parts), operator.send(batch, "one", b"1")])
    done = operator.complete(run.fid, batch, items, "out")
    assert done.status_code == 201, done.text
    assert operator.names(run.fid, "out") == ["out/dir/a.bin", "out/one"]
    address = f"/files/{run.fid}/out/dir/a.bin"
    assert operator.client.get(address).content == b"".join(parts)
    part = operator.client.get(address, headers={"Range": f"bytes={MIB - 1}-{MIB}"})
    assert (part.status_code, part.content) == (206, b"ab")


def put(url: str, content: bytes) -> None:
    httpx.put(url, content=content, trust_env=False).raise_for_status()


def test_a_file_goes_to_the_bucket_and_comes_from_it_by_urls(
    stand: Stand, operator: Files, run: Run
) -> None:
    content = b"straight" * 1000
    batch = operator.batch()
    begun = operator.init(
        "a.bin", 0, batch_id=batch, presigned=True, sha256=hashlib.sha256(content).hexdigest()
    )
    assert begun.status_code == 201
    id_, url = begun.json()["upload_id"], begun.json()["url"]
    items = {id_: {"filename": "a.bin", "totalChunks": 0}}
    early = operator.complete(run.fid, batch, items)
    assert (early.status_code, "not yet put" in early.json()["detail"]) == (409, True)
    assert operator.chunk(id_, 0, b"x").status_code == 422
    put(url, content)
    assert operator.complete(run.fid, batch, items).status_code == 201
    put(url, b"something else")  # it is good for an hour
    answer = operator.client.get(f"/files/{run.fid}/in/a.bin", params={"presigned": "true"})
    assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()
    assert httpx.get(answer.json()["url"], trust_env=False).content == content
    [event] = uploads(stand, run.fid)
    assert [file["size"] for file in event["files"]] == [len(content)]


def test_files_go_to_the_bucket_and_back_by_curl_as_documented(
    stand: Stand, run: Run, tmp_path: Path
) -> None:
    begin, _, put, _, get, _ = blocks(CURL)
    for name, value in (("PANEL", stand.url), ("KEY", stand.token), ("FID", run.fid)):
        begin = re.sub(rf"^{name}=\S+.*$", f"{name}={value}", begin, flags=re.M)
    file, content = tmp_path / "report.pdf", os.urandom(1_000_000)
    file.write_bytes(content)
    run_script(begin + put, tmp_path)
    file.unlink()
    run_script(begin + get, tmp_path)
    assert file.read_bytes() == content
    [event] = uploads(stand, run.fid)
    assert [file["path"] for file in event["files"]] == ["in/report.pdf"]


def test_what_was_put_by_a_url_is_not_what_was_announced(operator: Files, run: Run) -> None:
    batch = operator.batch()
    begun = operator.init("a.bin", 0, batch_id=batch, presigned=True, size=5).json()
    put(begun["url"], b"longer than that")
    items = {begun["upload_id"]: {"filename": "a.bin", "totalChunks": 0}}
    for _ in range(2):
        refused = operator.complete(run.fid, batch, items)
        assert (refused.status_code, "announced" in refused.json()["detail"]) == (422, True)
    assert operator.names(run.fid) == []


def test_a_bucket_that_is_away_is_said_to_be(
    settings: Settings, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "RETRY", timedelta(seconds=1))
    away = s3_server.options | {"endpoint": "http://127.0.0.1:9"}
    with serving(in_bucket(settings, away)) as stand:
        sender, run = Files(stand.client), stand.run().begin()
        upload = sender.begin("a.txt")
        refused = sender.chunk(upload, 0, b"x")
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        assert "127.0.0.1:9" in refused.json()["detail"]
        assert sender.client.get(f"/files/upload/{upload}").json()["chunks"] == []
        assert sender.names(run.fid) == []
