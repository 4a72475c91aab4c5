"""All that tasks in Ray workers say is recorded once, as theirs, and stays in Ray's files."""

import re
from collections import Counter
from pathlib import Path
from threading import Thread

import psycopg

from tests.samples import says_all
from tests.services import Place, Recorded
from tests.waiting import wait_for

SPOKEN = ("stdout", "stderr", "debug")
WAYS = ("print", "write", "c", "subprocess", "kept-stream", "root-logger", "run-logger", "loguru")


def words(text: str, beginning: str) -> Counter[str]:
    return Counter(re.findall(rf"\b{beginning}-[a-z-]*[a-z]\b", text))


def spoken(recorded: Recorded) -> str:
    return "\n".join(recorded.of(*SPOKEN))


def test_each_task_owns_what_it_says_in_any_way(ray_place: Place) -> None:
    recorded = ray_place.run(says_all.says_in_tasks)
    for word in ("first", "second"):
        expected = Counter(f"{word}-{way}" for way in WAYS)
        assert words(spoken(recorded), word) == expected
        of_tasks = {
            event.source["task_run"]["name"].split("-")[0]
            for event in recorded.events
            if event.kind in SPOKEN and words(event.payload, word)
        }
        assert of_tasks == {"says_in_task"}
    runs = {
        (words(event.payload, "first") and "first") or "second": event.source["task_run"]["id"]
        for event in recorded.events
        if event.kind in SPOKEN and re.search("first-|second-", event.payload)
    }
    assert len(set(runs.values())) == 2
    assert "task_name" not in spoken(recorded)


def test_children_of_tasks_are_recorded_once(ray_place: Place) -> None:
    recorded = ray_place.run(says_all.says_in_children_of_tasks)
    once = [f"family-{m}-{w}" for m in ("spawn", "forkserver", "fork") for w in ("print", "write")]
    expected = Counter(once) + Counter({"family-mixed-print": 200, "family-mixed-write": 200})
    assert words(spoken(recorded), "family") == expected


def test_what_c_code_says_is_there_while_its_task_runs(ray_place: Place, tmp_path: Path) -> None:
    notes = tmp_path / "enough"
    arrived: list[bool] = []

    def watch() -> None:
        try:
            with psycopg.connect(ray_place.database, autocommit=True) as connection:
                query = "SELECT 1 FROM kodosumi.event WHERE payload = 'slow-c'"
                wait_for(lambda: connection.execute(query).fetchone(), 60, "the words of C code")
            arrived.append(True)
        finally:
            notes.touch()

    watching = Thread(target=watch)
    watching.start()
    ray_place.run(says_all.says_slowly_in_a_task, str(notes))
    watching.join()
    assert arrived
