"""What is done is not done again: tasks and subflows in the legs of a run."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import prefect
import psycopg
import pytest
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.futures import as_completed
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.suspension.leg import current_leg
from kodosumi_prefect.suspension.reuse import obstacles
from tests.legs import Legs, suspended
from tests.services import Place

THREADS: Any = ThreadPoolTaskRunner(max_workers=4)


class Ran(list[Any]):
    """What ran, in all legs and threads."""


def test_equal_calls_are_two_and_none_runs_again(place: Place) -> None:
    ran = Ran()

    @prefect.task
    def research(word: str) -> str:
        ran.append(word)
        return f"{word}{len(ran)}"

    @flow
    def report() -> str:
        found = [research("a"), research("a"), research("b")]
        suspended()
        return " ".join([*found, research("a")])

    legs = Legs(place, report)
    recorded = legs.to_its_end()
    assert ran == ["a", "a", "b", "a"]
    assert recorded.final == {"str": "a1 a2 b3 a4"}
    assert recorded.row["attempt"] == 1
    with psycopg.connect(place.database) as connection:  # nothing of it is kept for longer
        kept = connection.execute(
            "SELECT count(*) FROM kodosumi.kept_result WHERE execution_id = %s",
            (recorded.row["id"],),
        ).fetchone()
    assert kept == (0,)


def test_async_tasks_subflows_and_nested_tasks_are_done_once(place: Place) -> None:
    ran = Ran()

    @prefect.task
    async def inner(word: str) -> str:
        ran.append(f"inner {word}")
        return word.upper()

    @prefect.task
    async def outer(word: str) -> str:
        ran.append(f"outer {word}")
        upper = await inner(word)
        if word == "c":
            suspended()  # in a task: it begins anew, what it finished does not
        return upper

    @flow
    async def chapter(word: str) -> str:
        ran.append(f"chapter {word}")
        return await outer(word)

    @prefect.flow
    def appendix(word: str) -> str:
        ran.append(f"appendix {word}")
        return word.upper()

    @flow
    async def book() -> str:
        return " ".join([await chapter("a"), appendix("b"), appendix("b"), await outer("c")])

    assert Legs(place, book).to_its_end().final == {"str": "A B B C"}
    assert ran == [
        "chapter a",
        "outer a",
        "inner a",
        "appendix b",
        "appendix b",
        "outer c",
        "inner c",
        "outer c",
    ]


def test_a_subflow_that_waits_goes_on_with_what_it_has(place: Place) -> None:
    ran = Ran()

    @prefect.task
    def step(word: str) -> str:
        ran.append(word)
        return word

    @flow
    def part(word: str) -> str:
        done = step(f"{word} first")
        if word == "b":
            suspended()
        return f"{done}, {step(f'{word} second')}"

    @flow
    def whole() -> str:
        return "; ".join([part("a"), part("b"), part("c")])

    legs = Legs(place, whole)
    final = legs.to_its_end().final
    assert final == {"str": "; ".join(f"{w} first, {w} second" for w in "abc")}
    assert ran == [f"{word} {which}" for word in "abc" for which in ("first", "second")]
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id={"any_": [legs.id]})
        )
    assert [run.state_name for run in runs] == ["Completed"] * 3


def test_mapped_tasks_and_what_follows_in_the_order_in_which_they_end(place: Place) -> None:
    ran = Ran()
    gates = [[threading.Event() for _ in range(3)] for _ in range(2)]

    @prefect.task
    def fetch(number: int, order: list[int]) -> dict[str, int]:
        if ran.count(f"fetch {number}") == 0 and number == 2:
            gates[0][1].wait(20)
        ran.append(f"fetch {number}")
        gates[0][number].set()
        if number == 0:
            gates[0][2].wait(20)
        return {"number": number}

    @prefect.task
    def handle(fetched: dict[str, int], tracer: Tracer, client: httpx.Client) -> int:
        assert not client.is_closed
        ran.append(f"handle {fetched['number']}")
        return fetched["number"] * 10

    @flow(task_runner=THREADS)
    def crawl(tracer: Tracer) -> str:
        handled = {}
        with httpx.Client() as client:
            futures = fetch.map([0, 1, 2], order=prefect.unmapped([1, 2, 0]))
            ended = list(as_completed(list(futures)))
            if current_leg():
                ended.sort(key=lambda future: futures.index(future))  # another order
            for future in ended:
                fetched = future.result()
                handled[fetched["number"]] = handle(fetched, tracer, client)
                if len(handled) == 2 and not current_leg():
                    suspended()
        return " ".join(str(handled[number]) for number in range(3))

    assert Legs(place, crawl).to_its_end().final == {"str": "0 10 20"}
    assert sorted(ran) == sorted({f"{what} {n}" for what in ("fetch", "handle") for n in range(3)})


@pytest.mark.parametrize("within", ["flow", "task", "subflow"])
def test_branches_of_asyncio_keep_their_own_results(place: Place, within: str) -> None:
    ran = Ran()

    @prefect.task
    async def fetch(word: str) -> str:
        ran.append(f"fetch {word}")
        return word

    @prefect.task
    async def parse(tracer: Tracer, unlike: object) -> str:
        ran.append("parse")
        return f"parsed {unlike.word}"  # type: ignore[attr-defined]

    class Unlike:
        def __init__(self, word: str) -> None:
            self.word = word

    async def branch(word: str, turns: dict[str, int], tracer: Tracer) -> str:
        for _ in range(turns[word]):
            await asyncio.sleep(0)
        return await parse(tracer, Unlike(await fetch(word)))

    async def gathered(tracer: Tracer) -> str:
        turns = {"a": 0, "b": 200} if not current_leg() else {"a": 200, "b": 0}
        found = await asyncio.gather(*(branch(word, turns, tracer) for word in "ab"))
        suspended()
        return ", ".join(found)

    @flow(task_runner=THREADS)
    async def both(tracer: Tracer) -> str:
        if within == "flow":
            return await gathered(tracer)
        if within == "subflow":
            return str(await flow(gathered)())
        return str(await asyncio.to_thread(prefect.task(gathered).submit(tracer).result))

    assert Legs(place, both).to_its_end().final == {"str": "parsed a, parsed b"}
    assert sorted(ran) == ["fetch a", "fetch b", "parse", "parse"]


def test_a_failure_that_the_flow_handled_is_raised_again(place: Place) -> None:
    ran = Ran()

    @prefect.task(retries=1)
    def flaky(word: str) -> str:
        ran.append(word)
        if word == "good" and ran.count("good") < 2:
            raise RuntimeError("once")
        if word == "bad":
            raise ValueError("for good")
        return word

    @prefect.flow
    def failing() -> None:
        ran.append("subflow")
        raise KeyError("of the subflow")

    @flow
    def careful() -> str:
        said = [flaky("good")]
        try:
            flaky("bad")
        except ValueError as exc:
            said.append(str(exc))
        try:
            failing()
        except KeyError as exc:
            said.append(exc.args[0])
        suspended()
        return ", ".join(said)

    final = Legs(place, careful).to_its_end(2).final
    assert final == {"str": "good, for good, of the subflow"}
    assert ran == ["good", "good", "bad", "bad", "subflow"]


def test_arguments_of_code_between_do_not_have_a_task_run_again(place: Place) -> None:
    ran = Ran()

    @prefect.task
    def charge(key: str, amount: int) -> str:
        ran.append(key)
        return f"charged {amount}"

    @flow
    def shop() -> str:
        charged = charge(str(uuid4()), 5)
        suspended()
        return charged

    assert Legs(place, shop).to_its_end().final == {"str": "charged 5"}
    assert len(ran) == 1


def test_hooks_states_and_the_users_own_cache_stay(place: Place, tmp_path: Path) -> None:
    ran, called = Ran(), Ran()
    policy = INPUTS.configure(key_storage=tmp_path / "keys")

    def done(task: Any, run: Any, state: Any) -> None:
        called.append(task.name)

    @prefect.task(cache_policy=policy, on_completion=[done], on_running=[done])
    def cached(word: str) -> str:
        ran.append(word)
        return word

    @prefect.task
    def skipped() -> Any:
        ran.append("skipped")
        return Completed(message="nothing to do")

    @flow
    def cautious() -> str:
        first, second = cached("a"), cached("a")
        state = skipped(return_state=True)
        suspended()
        return f"{first} {second} {state.message}"

    assert Legs(place, cautious).to_its_end().final == {"str": "a a nothing to do"}
    assert ran == ["a", "skipped"]  # equal calls are one by the user's policy
    assert called == ["cached"] * 4  # each of the two began and ended once


def test_tasks_for_task_workers_are_handed_over_once(place: Place) -> None:
    @prefect.task
    def later(word: str) -> str:
        return word

    @flow
    def hand_over() -> str:
        future = later.delay("a")
        said = Ran([str(future.task_run_id)])
        ids.append(said[0])
        suspended()
        return said[0]

    ids = Ran()
    recorded = Legs(place, hand_over).to_its_end()
    assert ids[0] == ids[1] == recorded.final["str"]


def test_three_legs_and_what_each_has_done(place: Place) -> None:
    ran = Ran()

    @prefect.task
    def step(number: int) -> int:
        ran.append(number)
        return number

    @flow(task_runner=THREADS)
    def long() -> int:
        done = sum(step.map([1, 2]).result())
        suspended(0)
        done += step.submit(3).result()
        suspended(1)
        return done + step(4)

    assert Legs(place, long).to_its_end(3).final == {"int": 10}
    assert sorted(ran) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"cache_policy": NO_CACHE}, "told not to keep"),
        ({"persist_result": False}, "told not to keep"),
        ({}, "does not pickle"),
    ],
)
def test_what_cannot_be_kept_is_an_obstacle_in_words(
    place: Place, how: dict[str, Any], why: str
) -> None:
    @prefect.task(**how)
    def opaque() -> Any:
        return threading.Lock() if not how else "plain"

    @prefect.task
    def fine() -> str:
        return "fine"

    @flow
    def stays() -> str:
        fine()
        opaque()
        opaque()
        return "\n".join(obstacles())

    state = Legs(place, stays)
    assert state.leg().is_completed()
    (line,) = place.recorded(str(state.id)).final["str"].splitlines()
    assert line.startswith("opaque (2 calls): it")
    assert why in line


def test_generators_threads_and_errors_that_do_not_pickle_are_obstacles(place: Place) -> None:
    class Odd(Exception):
        def __init__(self, first: str, second: str) -> None:
            super().__init__(first)

    @prefect.task
    def raising() -> None:
        raise Odd("a", "b")

    @prefect.task
    def items() -> Any:
        yield 1

    @prefect.task
    def step(number: int) -> int:
        return number

    @flow
    def stays() -> str:
        assert list(items()) == [1]
        with pytest.raises(Odd):
            raising()
        both = threading.Barrier(2)
        contexts = [copy_context() for _ in range(2)]

        def work(number: int) -> int:
            both.wait(20)
            return step(number)

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda n: contexts[n].run(work, n), range(2)))
        return "\n".join(obstacles())

    legs = Legs(place, stays)
    assert legs.leg().is_completed()
    said = place.recorded(str(legs.id)).final["str"]
    assert "items: it is a generator" in said
    assert "raising: the Odd that it raised does not pickle" in said
    assert "step: it was called from several threads" in said


def test_a_run_without_a_deployment_keeps_nothing_and_says_so(place: Place) -> None:
    @prefect.task
    def step() -> int:
        return 1

    @flow
    def by_hand() -> str:
        step()
        return "\n".join(obstacles())

    recorded = place.run(by_hand)
    assert recorded.final["str"].startswith("the run has no deployment")
