"""Files in mid-upload when what leaves, records or keeps them is killed or away."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from kodosumi_prefect.files import upkeep as upkeep_module
from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.files.upkeep import FileUpkeep
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stack.embedded_postgres import EmbeddedPostgres
from tests.faults.cluster import RayNodes, kill
from tests.faults.flows_under_fault import left_content
from tests.faults.pool import SAID_BEFORE, Pool, Run
from tests.files.run_storage import register
from tests.files.s3_server import RunningS3, serving_s3
from tests.panel.panel_runs import serving
from tests.services import Place, Recorded
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(600)
STARTED_WITHIN = 240.0  # seconds for four runs at once


class Leaving(NamedTuple):
    """Runs that leave files, and where."""

    settings: Settings
    database: str
    s3: RunningS3 | None
    runs: dict[str, Run]

    def check(self, run: Run, found: Recorded, fault: float | None = None) -> None:
        """What is listed is whole; each event has its file; what is neither is cleaned up.

        Arguments:
            fault: when it was; what was left shortly before it need not be listed.
        """
        storage = storage_of(self.settings)
        with psycopg.connect(self.database, row_factory=dict_row) as connection:
            rows = connection.execute(
                "SELECT path, key, size, sha256 FROM kodosumi.file f JOIN kodosumi.execution e"
                " ON e.id = f.execution_id WHERE e.fid = %s",
                (run.fid,),
            ).fetchall()
        for row in rows:
            who, number = row["path"].rsplit("-", 1)
            expected = b"".join(left_content(who, int(number)))
            digest = hashlib.sha256(b"".join(storage.read(row["key"]))).hexdigest()
            assert digest == row["sha256"] == hashlib.sha256(expected).hexdigest()
            assert row["size"] == len(expected)
        uploads = [json.loads(payload)["Upload"]["stored"] for payload in found.of("upload")]
        keys = [file["key"] for event in uploads for file in event]
        assert sorted(keys) == sorted(row["key"] for row in rows)
        left = [line.split() for line in run.noted("left ")]
        due = {
            f"{who}-{number}"
            for _, who, number, _, when in left
            if fault is None or float(when) < fault - SAID_BEFORE
        }
        assert due and due <= {row["path"] for row in rows}
        with FileUpkeep(self.database, "kodosumi", storage) as upkeep:
            list(upkeep.orphans())
        assert {each.key for each in storage.contents(f"objects/{run.fid}")} == set(keys)


@pytest.fixture(autouse=True)
def cleaned_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left over goes when a run is over, and not after days."""
    monkeypatch.setattr(upkeep_module, "ORPHAN_AGE", -60.0)
    monkeypatch.setattr(upkeep_module, "LATEST_EVENT", -60.0)


@pytest.fixture(scope="module", params=["folder", "bucket"])
def leaving(
    request: pytest.FixtureRequest,
    observed: Place,
    nodes: RayNodes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Leaving]:
    """Four runs that leave files in a storage; Ray functions reach it through a panel."""
    folder = Path(tmp_path_factory.mktemp("leaving"))
    with serving_s3(folder / "s3") as s3:
        options = s3.options if request.param == "bucket" else {}
        url = "s3://files/runs" if options else (folder / "files").as_uri()
        settings = observed.settings.model_copy(
            update={
                "file_storage_url": url,
                "file_storage_options": {k: SecretStr(v) for k, v in options.items()},
            }
        )
        register(settings, observed.database)
        of_panel = settings.model_copy(update={"database_url": SecretStr(observed.database)})
        with serving(of_panel) as panel, Pool(observed, folder) as pool:
            pool.worker(
                file_storage_url=url,
                file_storage_options=json.dumps(options),
                panel_url=panel.url,
            ).until_ready()
            runs = {
                name: pool.run("leaving", {"who": "flow" if name == "long" else name})
                for name in ("flow", "task", "native", "long")
            }
            yield Leaving(settings, observed.database, s3 if options else None, runs)


def in_the_middle(run: Run, who: str) -> None:
    """Wait until a further file is being written."""
    written = len(run.noted(f"writing {who} "))
    run.until_noted(f"writing {who} ", 90, times=written + 1)


@pytest.mark.parametrize("who", ["flow", "task", "native"])
def test_what_a_killed_process_was_writing_is_never_listed(leaving: Leaving, who: str):
    run = leaving.runs[who]
    run.until_noted(f"left {who} 1 ", STARTED_WITHIN)
    in_the_middle(run, who)
    fault = kill(run.pid(who))
    run.until("Failed", "Crashed")
    leaving.check(run, run.ended(), fault)


def test_a_run_leaves_files_whatever_comes_and_goes(leaving: Leaving, postgres: EmbeddedPostgres):
    run = leaving.runs["long"]

    def goes_on() -> None:
        run.until_noted("left ", STARTED_WITHIN, times=len(run.noted("left ")) + 3)

    goes_on()
    in_the_middle(run, "flow")
    with psycopg.connect(leaving.database) as connection:
        query = "SELECT pid FROM kodosumi.service WHERE kind = 'spooler' ORDER BY seen_at DESC"
        spooler = connection.execute(query).fetchone()
    assert spooler is not None
    kill(spooler[0])
    goes_on()
    in_the_middle(run, "flow")
    postgres.stop()
    try:
        goes_on()
    finally:
        postgres.start()
    goes_on()
    assert run.noted("refused ") == []
    if leaving.s3 is not None:
        in_the_middle(run, "flow")
        leaving.s3.kill()
        run.until_noted("refused flow ", 120)
        leaving.s3.start()
        goes_on()
        assert all("storage s3://files/runs" in line for line in run.noted("refused "))
    run.say("stop")
    run.until("Completed", seconds=60)
    leaving.check(run, run.ended(60))


def test_nothing_half_is_left_in_the_storage(leaving: Leaving):
    """After all of the above are over."""
    storage = storage_of(leaving.settings)
    with FileUpkeep(leaving.database, "kodosumi", storage) as upkeep:
        list(upkeep.broken_off())
    wait_for(lambda: not list(storage.contents("partial")))
    assert not list(storage.contents("uploads"))
