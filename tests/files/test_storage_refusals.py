"""What is told when a bucket refuses or ails: one line in plain words, and nothing of a key."""

import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from pydantic import SecretStr

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.cli.doctor.files import check_files, compare
from kodosumi_prefect.cli.doctor.finding import Verdict
from kodosumi_prefect.files import storage as storage_module
from kodosumi_prefect.files import write_ahead, writing
from kodosumi_prefect.files.storage import Storage, StorageError
from kodosumi_prefect.settings import Settings, use_settings
from tests.files.refusing_s3 import AilingS3, RulingS3, document, serving_ruling_s3
from tests.files.run_storage import register
from tests.files.s3_server import KEY, SECRET, S3Server
from tests.panel.panel_runs import serving
from tests.panel.test_panel_files import Files
from tests.services import Place

NOT_TOLD = ("<", "Debug source", "StringToSign", KEY, SECRET, "\n", "object_store")


@pytest.fixture(scope="module")
def ruling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RulingS3]:
    with serving_ruling_s3(tmp_path_factory.mktemp("moto") / "log") as server:
        yield server


@pytest.fixture
def ailing(s3_server: S3Server) -> Iterator[AilingS3]:
    server = AilingS3(s3_server.url)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "RETRY", timedelta(0))
    for module in (writing, write_ahead):
        monkeypatch.setattr(module, "PATIENCE", 0.02)


class Way(NamedTuple):
    """Something that is done with a storage."""

    name: str
    do: Callable[[Storage], Any]


READING = [
    Way("read", lambda storage: list(storage.read("a"))),
    Way("range", lambda storage: list(storage.read("a", 1, 2))),
    Way("contents", lambda storage: list(storage.contents(""))),
    Way("size", lambda storage: storage.size("a")),
]
WRITING = [
    Way("write", lambda storage: storage.write("a", [b"x"])),
    Way("write_whole", lambda storage: storage.write_whole("a", b"x")),
    Way("copy", lambda storage: storage.copy("a", "b")),
    Way("delete", lambda storage: storage.delete(["a"])),
]


def refusal(storage: Storage, way: Way) -> str:
    """What is told; also checks what is not told with it."""
    with pytest.raises(StorageError) as refused:
        way.do(storage)
    told = str(refused.value)
    whole = "".join(traceback.format_exception(refused.value))
    assert told.startswith("storage s3://")
    assert not [each for each in NOT_TOLD if each in told], told
    assert "Debug source" not in whole and "<Error>" not in whole
    return told


def storage_with(options: dict[str, str], bucket: str = "files") -> Storage:
    return Storage(f"s3://{bucket}/{uuid4().hex}", options)


@pytest.mark.parametrize("way", READING + WRITING, ids=lambda way: way.name)
def test_keys_that_are_wrong_and_buckets_that_are_missing_are_named(
    ruling: RulingS3, way: Way
) -> None:
    unknown = storage_with(ruling.options(("AKIAUNKNOWN", "secret")))
    wrong = storage_with(ruling.options((ruling.writer[0], "wrong")))
    missing = storage_with(ruling.options(ruling.writer), "missing")
    if way.name == "size":  # the answer to a HEAD has no document
        assert "refuses the key" in refusal(unknown, way) and "refuses the key" in refusal(
            wrong, way
        )
    else:
        assert "access key; set access_key_id of file_storage_options" in refusal(unknown, way)
        told = refusal(wrong, way)
        assert "the secret key is wrong" in told
        assert "403 SignatureDoesNotMatch" in told and ruling.writer[0] not in told
    assert "there is no such bucket" in refusal(missing, way)


def test_a_key_that_may_only_read_is_told_so(ruling: RulingS3) -> None:
    storage = storage_with(ruling.options(ruling.reader))
    for way in READING:
        if way.name in ("read", "range"):
            with pytest.raises(FileNotFoundError) as absent:
                way.do(storage)
            assert str(absent.value) == f"storage {storage.url} has no such content"
        else:
            assert not way.do(storage)
    for way in WRITING[:2]:
        assert "its key may not do that in this bucket (403 AccessDenied" in refusal(storage, way)


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (503, "SlowDown", "it is overloaded; try again later (503 SlowDown, request 4442587FB"),
        (500, "InternalError", "its server failed; try again (500 InternalError"),
        (502, "Unheard", "its server failed; try again (502 Unheard"),
        (507, "XMinioStorageFull", "it is full (507 XMinioStorageFull"),
        (400, "ExpiredToken", "the session token has expired"),
        (301, "PermanentRedirect", "the bucket is in another region; set region"),
        (418, "Unheard", "it refuses the request (418 Unheard"),
    ],
)
def test_a_server_that_ails_is_told_in_words(
    ailing: AilingS3, s3_server: S3Server, status: int, code: str, told: str
) -> None:
    storage = s3_server.storage(uuid4().hex, endpoint=ailing.url)
    ailing.ail(status, code)
    for way in READING[:1] + WRITING[:2]:
        assert told in refusal(storage, way)


def test_a_page_of_something_in_between_is_not_told(ailing: AilingS3, s3_server: S3Server) -> None:
    storage = s3_server.storage(uuid4().hex, endpoint=ailing.url)
    ailing.answer = (502, b"<html><h1>proxy of the house</h1></html>")
    assert refusal(storage, READING[0]).endswith("its server failed; try again (502)")


def test_what_passes_is_tried_again(
    ailing: AilingS3, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "RETRY", timedelta(seconds=30))
    storage = s3_server.storage(uuid4().hex, endpoint=ailing.url)
    ailing.ail(503, "SlowDown", times=1)
    storage.write_whole("a", b"x")
    assert (ailing.left, b"".join(storage.read("a"))) == (0, b"x")


def test_servers_that_are_not_there_are_told(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(endpoint: str) -> str:
        return refusal(s3_server.storage("x", endpoint=endpoint), READING[0])

    assert "127.0.0.1:9 refused the connection; start it, or set endpoint" in told(
        "http://127.0.0.1:9"
    )
    assert "there is no machine called nowhere.invalid" in told("http://nowhere.invalid")
    tls = s3_server.url.replace("http:", "https:")
    assert "speaks no TLS" in told(tls)
    monkeypatch.setattr(storage_module, "ANSWER", "100ms")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert f"{address} did not answer in time" in told(f"http://{address}")


def test_an_answer_that_breaks_off_is_told(s3_server: S3Server) -> None:
    head = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 1000\r\n'
    head += b"Last-Modified: Mon, 30 Nov 2026 06:00:00 GMT\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head + b"abc")

        thread = threading.Thread(target=answer)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        told = refusal(s3_server.storage("x", endpoint=endpoint), READING[0])
        thread.join()
    assert "broke off; try again" in told


@pytest.mark.parametrize("endpoint", ["nowhere", "http://a b", "http://a:99999", "http://k:s@a"])
def test_an_endpoint_that_is_no_address_is_refused(s3_server: S3Server, endpoint: str) -> None:
    with pytest.raises(StorageError, match="endpoint of file_storage_options must be") as refused:
        s3_server.storage("x", endpoint=endpoint)
    assert endpoint not in str(refused.value)


def in_bucket(settings: Settings, options: dict[str, str], bucket: str = "files") -> Settings:
    secrets = {name: SecretStr(value) for name, value in options.items()}
    url = f"s3://{bucket}/{uuid4().hex}"
    return settings.model_copy(update={"file_storage_url": url, "file_storage_options": secrets})


def test_over_http_a_bucket_that_ails_is_told_in_one_line(
    settings: Settings, ailing: AilingS3, s3_server: S3Server
) -> None:
    options = s3_server.options | {"endpoint": ailing.url}
    with serving(in_bucket(settings, options)) as stand:
        sender, run = Files(stand.client), stand.run().begin()
        sender.put(run.fid, "out/a.txt", b"content")
        upload = sender.begin("b.txt")
        ailing.ail(503, "SlowDown")
        asked = [
            sender.chunk(upload, 0, b"x"),
            stand.client.get(f"/files/{run.fid}/out/a.txt"),
            stand.client.get(f"/executions/{run.fid}/files.zip"),
            stand.client.get(f"/executions/{run.fid}/files/out/a.txt"),
        ]
        for answer in asked:
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
            assert "it is overloaded; try again later (503 SlowDown" in answer.text
            assert not [each for each in (*NOT_TOLD[1:5], "<Error>") if each in answer.text]
        ailing.ail(404, "NoSuchBucket")
        gone = stand.client.get(f"/files/{run.fid}/out/a.txt")
        assert (gone.status_code, "there is no such bucket" in gone.text) == (503, True)
        ailing.heal()
        assert sender.chunk(upload, 0, b"x").status_code == 201
        assert stand.client.get(f"/files/{run.fid}/out/a.txt").content == b"content"


def test_a_run_ends_with_one_line_that_says_what_the_bucket_said(
    place: Place, ailing: AilingS3, s3_server: S3Server
) -> None:
    bucket = in_bucket(place.settings, s3_server.options | {"endpoint": ailing.url})

    @flow
    def leaves(tracer: Tracer) -> None:
        tracer.file_sync("report.txt", "text")

    settings_module.reset_settings(bucket)
    with use_settings(bucket):
        register(bucket, place.database)
        ailing.ail(403, "AccessDenied")
        recorded = place.run(leaves)
    error = recorded.row["error"]
    assert "its key may not do that in this bucket (403 AccessDenied" in error
    assert "\n" not in error
    everything = "\n".join(str(event.payload) for event in recorded.events)
    assert not [each for each in ("<Error>", *NOT_TOLD[1:5]) if each in everything]


def test_doctor_names_what_the_bucket_refuses(
    settings: Settings, database: str, ruling: RulingS3, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def told(options: dict[str, str], bucket: str = "files") -> str:
        wrong = in_bucket(settings, options, bucket)
        register(wrong, database)
        found = [check_files(wrong), *compare(wrong, fix=False)]
        assert [each.verdict for each in found] == [Verdict.FAIL] * 2
        assert len({each.text.partition(", request")[0] for each in found}) == 1
        assert not [each for each in NOT_TOLD if each in found[0].text]
        return found[0].text

    assert "there is no such bucket" in told(ruling.options(ruling.writer), "missing")
    assert "the secret key is wrong" in told(ruling.options((ruling.writer[0], "wrong")))
    assert "does not know the access key" in told(ruling.options(("AKIAUNKNOWN", "secret")))
    good = in_bucket(settings, ruling.options(ruling.writer))
    register(good, database)
    assert [check_files(good).verdict, compare(good, fix=False)[0].verdict] == [Verdict.OK] * 2


def test_the_document_of_a_test_has_what_must_not_be_told() -> None:
    assert all(each in document("X").decode() for each in ("<Error>", "StringToSign", KEY))


def test_a_run_is_told_which_files_content_is_gone(
    place: Place, s3_server: S3Server, tmp_path: Path
) -> None:
    bucket = in_bucket(place.settings, s3_server.options)
    storage = Storage(str(bucket.file_storage_url), s3_server.options)

    @flow
    def reads(tracer: Tracer) -> str:
        path = tracer.file_sync("report.txt", "text")
        storage.delete(each.key for each in storage.contents(""))
        with tracer.fs_sync() as fs:
            return fs.open(path).read_all().decode()

    settings_module.reset_settings(bucket)
    with use_settings(bucket):
        register(bucket, place.database)
        recorded = place.run(reads)
    assert recorded.row["error"].endswith("the content of out/report.txt is no longer there")
