"""Uploads over HTTP while the panel is killed, Postgres goes away, or the bucket fails."""

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from kodosumi_prefect.files import storage as storage_module
from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.files.tokens import token_for
from kodosumi_prefect.files.upkeep import FileUpkeep
from kodosumi_prefect.keys import make_secret
from kodosumi_prefect.panel.accounts.local_sign_in import local_token
from kodosumi_prefect.run_files.panel_place import PanelPlace
from kodosumi_prefect.run_files.places import FilesAwayError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.files.faulty_bucket import SILENT, FaultyBucket, faulty, of
from tests.files.s3_server import S3Server
from tests.files.test_file_projection import files
from tests.files.test_files_in_a_bucket import in_bucket
from tests.panel.panel_process import free_port, panel_process
from tests.panel.panel_runs import Run, serving
from tests.panel.test_panel_files import Files
from tests.spooler.recording import line_to, stored
from tests.waiting import wait_for

MIB = 1024**2
PARTS = [os.urandom(MIB) for _ in range(24)]
SHA256 = hashlib.sha256(b"".join(PARTS)).hexdigest()


def persistent(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """As a client that goes on after whatever is no answer; what is refused it does not repeat."""
    until = time.monotonic() + 200
    while True:
        try:
            answer = ask()
        except httpx.TransportError:
            pass
        else:
            if answer.status_code not in (502, 503):
                return answer
        assert time.monotonic() < until, "the panel does not come back"
        time.sleep(0.05)


class Upload:
    """Somebody who sends a file to an execution, and gives up never."""

    def __init__(self, settings: Settings, client: httpx.Client, database: str) -> None:
        self.sender = Files(client)
        self.settings = settings
        self.database = database
        self.run = Run(database).begin()
        self.batch = str(persistent(lambda: client.post("/files/init_batch")).json()["batch_id"])
        body = {"filename": "a.bin", "total_chunks": len(PARTS), "batch_id": self.batch}
        begun = persistent(lambda: client.post("/files/init", json=body))
        self.id = str(begun.json()["upload_id"])
        self.received = 0  # parts, at the last look

    def send(self) -> None:
        """Send all parts, several at once, and some twice."""
        numbers = [*range(len(PARTS)), *range(0, len(PARTS), 5)]
        with ThreadPoolExecutor(4) as threads:
            answers = list(
                threads.map(
                    lambda number: persistent(
                        lambda: self.sender.chunk(self.id, number, PARTS[number])
                    ),
                    numbers,
                )
            )
        assert {answer.status_code for answer in answers} == {201}, answers

    def went_on(self) -> bool:
        """Whether a part was stored since the last look."""
        with psycopg.connect(self.database) as connection:
            query = "SELECT count(*) FROM kodosumi.upload_chunk WHERE upload = %s"
            [[received]] = connection.execute(query, (self.id,)).fetchall()
        before, self.received = self.received, int(received)
        return self.received > before

    def complete(self) -> None:
        items = {self.id: {"filename": "a.bin", "totalChunks": len(PARTS)}}
        done = persistent(lambda: self.sender.complete(self.run.fid, self.batch, items))
        assert done.status_code == 201, done.text

    @property
    def listed(self) -> dict[str, Any]:
        return files(self.database, self.run.fid)

    def check(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is listed once, whole, and nothing else is in the storage after the clean-up."""
        self.run.close()
        storage = storage_of(self.settings)
        [file] = self.listed.values()
        content = b"".join(storage.read(file["key"]))
        assert hashlib.sha256(content).hexdigest() == SHA256
        assert [e["kind"] for e in stored(self.database, self.run.fid)].count("upload") == 1
        monkeypatch.setattr("kodosumi_prefect.files.upkeep.ORPHAN_AGE", -60.0)
        with FileUpkeep(self.database, "kodosumi", storage) as upkeep:
            found = [each for each in upkeep.discrepancies(fix=True) if each.sort != "orphan"]
            assert found == []
            list(upkeep.uploads(-1.0))
        assert {each.key for each in storage.contents("")} - {"storage.id"} == {file["key"]}


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(20)


@pytest.mark.timeout(240)
def test_a_panel_that_is_killed_in_an_upload_costs_nothing_of_it(
    settings: Settings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_secret(settings)
    port = free_port()

    with panel_process(settings, port) as panel:
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={API_KEY_HEADER: local_token(settings)},
            timeout=30,
            trust_env=False,
        )
        upload = Upload(settings, client, database)
        sending = threading.Thread(target=upload.send)
        sending.start()
        place = PanelPlace(
            upload.run.fid, f"http://127.0.0.1:{port}", token_for(upload.run.fid, settings)
        )

        def killing() -> Iterator[bytes]:
            yield from PARTS
            wait_for(upload.went_on, every=0.001)
            kill(panel)
            yield from PARTS

        with pytest.raises(FilesAwayError, match="is not reached"):
            place.write(killing())
        place.close()
        assert upload.listed == {}
    with panel_process(settings, port) as panel:
        sending.join()
        completing = threading.Thread(target=upload.complete)
        completing.start()
        uploaded = storage_of(settings)
        # As it copies what it has put together to where the execution's files are.
        wait_for(lambda: list(uploaded.contents("objects")), every=0.001)
        kill(panel)
    with panel_process(settings, port):
        completing.join()
        upload.complete()
    client.close()
    upload.check(monkeypatch)


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyBucket]:
    monkeypatch.setattr(storage_module, "RETRY", timedelta(seconds=0.5))
    monkeypatch.setattr(storage_module, "ANSWER", "1s")
    with faulty(s3_server) as made:
        yield made


def test_an_answer_of_postgres_that_was_lost_costs_nothing(
    settings: Settings, database: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed as the connection broke is tried once more by the panel."""
    own = in_bucket(settings, s3_server.options)
    with serving(own) as stand:
        reader = stand.app.state.panel.reader
        fetch = reader._fetch

        async def fetch_twice(row_factory: Any, name: str, parameters: Any) -> Any:
            if name.startswith("add_"):
                await fetch(row_factory, name, parameters)
            return await fetch(row_factory, name, parameters)

        monkeypatch.setattr(reader, "_fetch", fetch_twice)
        upload = Upload(own, stand.client, database)
        by_url = upload.sender.init("b.bin", 0, batch_id=upload.batch, presigned=True)
        assert by_url.status_code == 201, by_url.text
        upload.send()
        upload.complete()
    upload.check(monkeypatch)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_postgres_and_bucket_that_come_and_go_cost_nothing_of_an_upload(
    settings: Settings,
    database: str,
    bucket: FaultyBucket,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = settings if kind == "folder" else in_bucket(settings, bucket.options)
    over = threading.Event()
    with line_to(database) as line:
        behind = own.model_copy(update={"database_url": SecretStr(line.url)})
        with serving(behind) as stand:
            upload = Upload(own, stand.client, database)

            def break_it() -> None:
                for status in (503, 507, SILENT, 503, 507):
                    line.cut()
                    time.sleep(0.05)
                    line.restore()
                    with bucket.fault(of("PUT", status=status)):
                        time.sleep(0.2)
                    wait_for(lambda: upload.went_on() or over.is_set())

            breaking = threading.Thread(target=break_it)
            breaking.start()
            try:
                upload.send()
                upload.complete()
            finally:
                over.set()
                breaking.join()
            upload.complete()
    upload.check(monkeypatch)
