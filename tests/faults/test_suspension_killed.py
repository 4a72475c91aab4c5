"""SIGKILL of worker, Runner and process of a run at steps of its suspension and of going on."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.answering import locks
from tests.faults.cluster import gone, kill
from tests.faults.pool import Pool, Run
from tests.faults.test_suspended import execution, reply, until_suspended
from tests.waiting import wait_for

FLOWS = Path(__file__).with_name("flows_that_wait.py")

pytestmark = pytest.mark.timeout(300)


class Held:
    """A run that waits at a stage of its first leg's end, or of its next leg.

    Arguments:
        stage: as ``flows_that_wait.py`` has them.
    """

    def __init__(self, pool: Pool, folder: Path, stage: str) -> None:
        self._folder = folder
        self._stage = stage
        self.pool = pool
        file = shutil.copy(FLOWS, folder)
        if is_first := stage.startswith("suspend"):
            self._hold.touch()
        notes = pool.new_notes()
        self.run: Run = pool.run_deployment(
            pool.deployment(f"{file}:asks"), {"notes": str(notes)}, notes
        )
        if not is_first:
            question = self.until_suspended()
            self._hold.touch()
            reply(self.run, 1, question)
        self.pid = int(wait_for(self._waits, 60, f"it to wait at {stage}"))

    @property
    def _hold(self) -> Path:
        return self._folder / f"hold-{self._stage}"

    def _waits(self) -> str:
        at = self._folder / f"at-{self._stage}"
        return at.read_text() if at.exists() else ""

    def go_on(self) -> None:
        self._hold.unlink()

    def until_suspended(self) -> dict[str, Any]:
        """Nothing of it is left but rows; its question."""
        question = until_suspended(self.run)
        wait_for(lambda: self.pool.runner(self.run) is None, 60, "its Runner to be put away")
        return question

    def kill_runner(self) -> None:
        found = self.pool.runner(self.run)
        assert found is not None
        kill(found["pid"])
        wait_for(lambda: gone(self.pid), 30, "its process to end with its Runner")

    def ends_once(self) -> None:
        """It ends well; nothing was asked, answered or done twice."""
        self.run.until("Completed", seconds=90)
        found = self.run.ended()
        assert found.final == {"int": 1}
        assert len(found.of("lock")) == len(found.of("lease")) == 1
        assert self.run.noted("answered") == ["answered 1"]
        assert self.run.noted("hook") == []
        assert self.run.prefect["run_count"] == found.row["attempt"] == 1

    def crashes_once(self) -> None:
        """As any run that is killed while it runs; the answer stands in its record."""
        self.run.until("Crashed", seconds=90)
        found = self.run.ended()
        assert found.row["status"] == "error"
        assert len(found.of("lock")) == len(found.of("lease")) == 1
        assert self.run.noted("answered") == []
        self.run.until_noted("hook Crashed")
        assert self.run.noted("hook") == ["hook Crashed"]


def test_a_runner_that_is_killed_before_prefect_knows_is_a_crash(shared_pool: Pool, tmp_path: Path):
    held = Held(shared_pool, tmp_path, "suspending")
    held.kill_runner()
    held.run.until("Crashed", seconds=90)
    assert held.run.ended().row["status"] == "error"
    (question,) = locks(shared_pool.place.database, held.run.fid, None)
    assert question["state"] == "void"
    wait_for(lambda: execution(held.run)["suspended_leg"] is None, 30, "nobody to wait for it")


def test_a_run_whose_runner_is_killed_once_prefect_knows_is_suspended(
    shared_pool: Pool, tmp_path: Path
):
    held = Held(shared_pool, tmp_path, "suspended")
    held.kill_runner()
    question = held.until_suspended()
    held.go_on()
    reply(held.run, 1, question)
    held.ends_once()


@pytest.mark.parametrize("stage", ["suspending", "suspended"])
def test_a_run_is_suspended_though_its_worker_is_killed(pool: Pool, tmp_path: Path, stage: str):
    worker = pool.worker().until_ready()
    held = Held(pool, tmp_path, stage)
    worker.kill()
    held.go_on()
    question = until_suspended(held.run)
    reply(held.run, 1, question)
    worker.start()
    held.ends_once()


def test_a_leg_that_was_not_begun_is_begun_under_the_next_worker(pool: Pool, tmp_path: Path):
    worker = pool.worker().until_ready()
    held = Held(pool, tmp_path, "loading")
    assert held.run.prefect["state"]["type"] == "PENDING"
    worker.kill()
    held.go_on()
    worker.start()
    held.ends_once()


def test_a_leg_whose_runner_is_killed_before_it_began_is_begun_by_another(
    shared_pool: Pool, tmp_path: Path
):
    held = Held(shared_pool, tmp_path, "loading")
    held.kill_runner()
    held.go_on()
    held.ends_once()


def test_a_leg_that_began_goes_on_under_the_next_worker(pool: Pool, tmp_path: Path):
    worker = pool.worker().until_ready()
    held = Held(pool, tmp_path, "beginning")
    assert held.run.prefect["state"]["type"] == "RUNNING"
    worker.kill()
    worker.start()
    wait_for(lambda: "taking over Runner" in worker.log, 60, "the Runner to be found again")
    held.go_on()
    held.ends_once()


@pytest.mark.parametrize("who", ["process", "runner"])
def test_a_leg_that_is_killed_once_it_began_has_crashed(
    shared_pool: Pool, tmp_path: Path, who: str
):
    held = Held(shared_pool, tmp_path, "beginning")
    if who == "process":
        kill(held.pid)
    else:
        held.kill_runner()
    held.crashes_once()
