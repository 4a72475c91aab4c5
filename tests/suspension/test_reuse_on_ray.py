"""What is done is not done again: tasks on Ray."""

from pathlib import Path

import prefect

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.suspension.leg import current_leg
from kodosumi_prefect.suspension.reuse import obstacles, tasks_under_way
from tests.legs import Legs, suspended
from tests.services import Place
from tests.waiting import wait_for


def test_tasks_on_ray_and_those_within_them_are_done_once(ray_place: Place, tmp_path: Path) -> None:
    ran, go = tmp_path / "ran", tmp_path / "go"

    def say(word: str) -> None:
        with ran.open("a") as file:
            file.write(f"{word}\n")

    @prefect.task
    def inner(word: str) -> str:
        say(f"inner {word}")
        return word.upper()

    @prefect.task
    def outer(word: str, tracer: Tracer) -> str:
        say(f"outer {word}")
        return inner(word)

    @prefect.task(persist_result=False)
    def unkept() -> None:
        say("unkept")

    @prefect.task
    def works() -> None:
        wait_for(go.exists)

    def is_over() -> bool:
        return tasks_under_way() == ["the flow"]

    @flow
    def crawl(tracer: Tracer) -> str:
        go.unlink(missing_ok=True)
        working = works.submit()
        kept_waiting = not is_over()
        go.touch()
        working.wait()
        wait_for(is_over)
        assert kept_waiting or current_leg()
        found = outer.map(["a", "b", "a"], tracer=prefect.unmapped(tracer)).result()
        suspended()
        assert not obstacles()
        words = [*found, outer.submit("c", tracer).result()]
        unkept.submit().wait()
        return " ".join([*words, *obstacles()])

    said = Legs(ray_place, crawl).to_its_end().final["str"]
    assert said.startswith("A B A C unkept: it was told not to keep")
    lines = ran.read_text().splitlines()
    assert sorted(lines[:-1]) == sorted(
        f"{what} {w}" for what in ("inner", "outer") for w in "aabc"
    )
