"""What plain Prefect offers, used by flows that know nothing of us; run on two kinds of pools.

Each writes a protocol of its own into the file ``notes``: facts, and hooks that were called.
"""

import asyncio
import functools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import allow_failure, flow, get_run_logger, runtime, tags, task, unmapped
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.assets import materialize
from prefect.blocks.system import Secret
from prefect.cache_policies import INPUTS
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency, rate_limit
from prefect.deployments import run_deployment
from prefect.events import emit_event
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.futures import as_completed, wait
from prefect.input import RunInput, receive_input
from prefect.input.run_input import send_input
from prefect.logging import disable_run_logger
from prefect.states import Completed, Failed
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.transactions import transaction
from prefect.utilities.annotations import quote
from prefect.variables import Variable
from pydantic import BaseModel

STEP = 0.05  # seconds
FEATURES: dict[str, Callable[[], Any]] = {}
ASYNC_FEATURES: dict[str, Callable[[], Any]] = {}
AT_IMPORT = runtime.flow_run.id  # known as early as that

own_logger = logging.getLogger("own")


def note(notes: str, line: str) -> None:
    with Path(notes).open("a") as file:
        file.write(f"{line}\n")


def hook(flow: Any, flow_run: Any, state: Any) -> None:
    print(f"hook of {state.name}")
    note(flow_run.parameters["notes"], f"hook {state.type.value} {state.name}")


async def async_hook(flow: Any, flow_run: Any, state: Any) -> None:
    note(flow_run.parameters["notes"], f"async hook {state.type.value} {state.name}")


def feature(called: Callable[[], Any]) -> Callable[[], Any]:
    name = called.__name__
    (ASYNC_FEATURES if asyncio.iscoroutinefunction(called) else FEATURES)[name] = called
    return called


# One feature each: what it returns is compared


@task
def double(number: int) -> int:
    get_run_logger().info("doubling %d", number)
    return 2 * number


@task
def refuse(number: int) -> int:
    raise ValueError(f"not {number}")


@feature
def submitting_and_mapping() -> Any:
    mapped = double.map([1, 2, 3])
    first = double.submit(10, wait_for=mapped)
    done = wait([*mapped, first])
    add = task(lambda left, right: left + right, name="add")
    return {
        "mapped": mapped.result(),
        "of_a_future": double.submit(first).result(),
        "unmapped": add.map([1, 2], unmapped(10)).result(),
        "done": [len(done.done), len(done.not_done)],
        "as_completed": sorted(future.result() for future in as_completed(mapped)),
    }


@feature
def failures_allowed() -> Any:
    failed = refuse.submit(1)
    kind = task(lambda value: type(value).__name__, name="kind")
    state = double.submit(failed, return_state=True)
    return {
        "allowed": kind.submit(allow_failure(failed)).result(),
        "upstream": [state.type.value, state.name],
        "returned": [type(refuse(2, return_state=True).result(raise_on_failure=False)).__name__],
        "quoted": task(lambda value: value, name="quoted")(quote([1, 2])),
    }


@feature
def states_of_subflows() -> Any:
    @flow
    def fails_inside() -> None:
        raise KeyError("inside")

    @flow
    def returns_states() -> Any:
        return [Completed(message="one"), Failed(message="two")]

    @flow(timeout_seconds=1)
    def takes_long() -> None:
        for _ in range(600):
            time.sleep(STEP)

    @flow
    def named() -> Any:
        return Completed(name="Tidied", message="all of it", data=3)

    found = [each(return_state=True) for each in (fails_inside, returns_states, takes_long, named)]
    return [[state.type.value, state.name, (state.message or "").split(";")[0]] for state in found]


@feature
def retries_with_jitter() -> Any:
    tries: list[int] = []

    def again(task: Any, task_run: Any, state: Any) -> bool:
        return len(tries) < 3

    @task(retries=5, retry_delay_seconds=[0.01], retry_jitter_factor=0.5, retry_condition_fn=again)
    def unlucky() -> int:
        tries.append(runtime.task_run.run_count)
        raise ValueError("no luck")

    state = unlucky(return_state=True)
    return {"tries": tries, "state": state.name}


@feature
def caching() -> Any:
    calls: list[int] = []
    run = runtime.flow_run.id

    @task(cache_policy=INPUTS, persist_result=True)
    def of_inputs(number: int, run: str) -> int:
        calls.append(number)
        return number

    @task(cache_key_fn=lambda context, inputs: f"key-{run}", persist_result=True)
    def of_a_key(number: int) -> int:
        calls.append(number)
        return number

    states = [of_inputs(1, run, return_state=True) for _ in range(2)]
    states += [of_a_key(number, return_state=True) for number in (2, 3)]
    states.append(of_inputs.with_options(refresh_cache=True)(1, run, return_state=True))
    return {"calls": calls, "states": [[state.name, state.result()] for state in states]}


@feature
def transactions() -> Any:
    called: list[str] = []

    @task
    def writes(name: str) -> str:
        return name

    @writes.on_rollback
    def undo(transaction: Any) -> None:
        called.append(f"rolled back, {transaction.get('word')}")

    @writes.on_commit
    def keep(transaction: Any) -> None:
        called.append("committed")

    with transaction() as open_transaction:
        open_transaction.set("word", "kept")
        writes("one")
    try:
        with transaction() as open_transaction:
            open_transaction.set("word", "lost")
            writes("two")
            raise RuntimeError("back")
    except RuntimeError:
        called.append("raised")
    return called


@feature
def variables_and_blocks() -> Any:
    name = f"of_{UUID(runtime.flow_run.id).hex}"
    Variable.set(name, {"a": [1, 2]})
    Secret(value="hidden").save(name.replace("_", "-"))
    secret = Secret.load(name.replace("_", "-"))
    return [Variable.get(name), Variable.get("no_such_variable", default=5), secret.get()]


@feature
def variables_of_the_environment() -> Any:
    names = ("FROM_VARIABLE", "FROM_BLOCK", "LITERAL", "TZ")
    return {name: os.environ.get(name) for name in names} | {"zone": time.tzname[0]}


@feature
def limits() -> Any:
    held, decaying = (f"{word}-{runtime.flow_run.id}" for word in ("held", "decaying"))
    with get_client(sync_client=True) as client:
        for name, decay in ((held, 0.0), (decaying, 100.0)):
            body = {"name": name, "limit": 1, "slot_decay_per_second": decay}
            client.request("POST", "/v2/concurrency_limits/", json=body)
    with concurrency(held, occupy=1, timeout_seconds=60):  # for a server that is busy
        rate_limit(decaying, occupy=1)
        rate_limit(decaying, occupy=1)
        try:
            with concurrency(held, occupy=1, timeout_seconds=0.1):
                return "let in twice"
        except TimeoutError:
            pass
    try:
        with concurrency(f"no-{held}", strict=True):
            return "let in without a limit"
    except ConcurrencySlotAcquisitionError:
        return "held back"


@feature
def artifacts() -> Any:
    create_markdown_artifact("# Found", key="found", description="in words")
    create_table_artifact([{"a": 1}], key="rows")
    create_link_artifact("https://example.org", link_text="more", key="more")
    update_progress_artifact(create_progress_artifact(1.0), 70.0)

    @task
    def of_a_task() -> None:
        create_markdown_artifact("of a task", key="of-a-task")

    of_a_task()
    return "made"


@feature
def assets() -> Any:
    @materialize("test://tables/one")
    def makes() -> int:
        return 1

    @materialize("test://tables/two", asset_deps=["test://tables/zero"])
    def follows(number: int) -> int:
        return number + 1

    return follows(makes())


@feature
def events() -> Any:
    emitted = emit_event(
        "own.happened", resource={"prefect.resource.id": f"own.{runtime.flow_run.id}"}
    )
    return emitted.event if emitted is not None else None


@feature
def what_the_runtime_knows() -> Any:
    @task(name="asked", task_run_name="asked-{word}", tags=["of-the-task"])
    def asked(word: str) -> Any:
        return [runtime.task_run.name, runtime.task_run.parameters, runtime.task_run.tags]

    with tags("of-the-context"):
        in_task = asked("once")
    return {
        "at_import": runtime.flow_run.id == AT_IMPORT,
        "name": runtime.flow_run.name,
        "flow": [runtime.flow_run.flow_name, runtime.flow_run.flow_version],
        "tags": sorted(runtime.flow_run.tags),
        "parameters": sorted(runtime.flow_run.parameters),
        "run_count": runtime.flow_run.run_count,
        "parent": runtime.flow_run.parent_flow_run_id,
        "deployment": [bool(runtime.deployment.id), runtime.deployment.version],
        "task": [in_task[0], in_task[1], sorted(in_task[2])],
    }


@feature
def flows_within() -> Any:
    @flow(flow_run_name="inner-{number}")
    def inner(number: int) -> Any:
        return [runtime.flow_run.name, double(number)]

    @flow
    def yields() -> Generator[int, None, None]:
        yield from (1, 2, 3)

    @flow
    async def awaits() -> int:
        await asyncio.sleep(0)
        return 7

    @task
    def gives() -> Generator[int, None, None]:
        yield from (4, 5)

    return {
        "inner": inner(4),
        "generator": list(yields()),
        "task_generator": list(gives()),
        "async": asyncio.run(awaits()),
    }


@feature
def task_runners() -> Any:
    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def in_threads() -> list[int]:
        return double.map([1, 2]).result()

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def in_processes() -> Any:
        return double.submit(3, return_state=True).name

    return [in_threads(), in_processes()]


@task(persist_result=True)
def done_elsewhere(number: int) -> int:
    return number + 1


@feature
def work_in_the_background() -> Any:
    """Done by a task worker, a process of its own."""
    return done_elsewhere.delay(1).result(timeout=60)


def square(number: int) -> int:
    return number * number


@feature
def pools_of_python() -> Any:
    with ThreadPoolExecutor(2) as threads:
        in_threads = list(threads.map(square, [1, 2]))
    with ProcessPoolExecutor(1) as processes:
        in_processes = list(processes.map(square, [3]))
    return [in_threads, in_processes]


@feature
def programs() -> Any:
    said = subprocess.run(["echo", "a program"], capture_output=True, text=True, check=True)
    loud = subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    return [said.stdout, loud.returncode]


@feature
def the_process() -> Any:
    """What it has from its start, and a script may rely on."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return {
        "file": Path(__file__).name,
        "beside": Path(__file__).with_name("plain_flow.py").exists(),
        "arguments": sys.argv[1:],
        "folder": Path.cwd().name,
        "main_thread": threading.current_thread() is threading.main_thread(),
        "blocked": sorted(map(int, blocked)),
        "interrupt": getattr(signal.getsignal(signal.SIGINT), "__name__", None),
        "pipe": str(signal.getsignal(signal.SIGPIPE)),
        "terminal": sys.stdout.isatty(),
        "encoding": [sys.stdout.encoding, sys.getfilesystemencoding()],
        "policy": type(asyncio.get_event_loop_policy()).__module__.split(".")[0],
        "recursion": sys.getrecursionlimit(),
        "umask": (os.umask(0o22), os.umask(0o22))[0],
        "of_prefect": os.environ["PREFECT__FLOW_RUN_ID"] == runtime.flow_run.id,
        "importable": "on_both_pools" not in sys.modules,
        "excepthook": sys.excepthook is sys.__excepthook__,
        "modules": sorted(name for name in ("ray", "pandas", "numpy") if name in sys.modules),
    }


@feature
def what_is_logged() -> Any:
    get_run_logger().warning("a warning of %s", "the run")
    get_run_logger().debug("not shown")
    own_logger.error("an error of its own logger")
    with disable_run_logger():
        print("to nobody")

    @task(log_prints=True)
    def prints() -> None:
        print("printed by a task")

    prints()
    try:
        raise LookupError("caught")
    except LookupError:
        get_run_logger().exception("with a traceback")
    return "logged"


@feature
def filters_of_states() -> Any:
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                id=FlowRunFilterId(any_=[UUID(runtime.flow_run.id)]),
                state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Running"])),
            )
        )
    return len(found)


def told(called: Callable[[], Any]) -> Any:
    try:
        return called()
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"[:200]


@flow(log_prints=True, flow_run_name="features-of-{word}", version="7", persist_result=True)
def features(notes: str, word: str) -> int:
    for name, called in FEATURES.items():
        note(notes, f"fact {json.dumps([name, told(called)], default=repr)}")
    print("printed by the flow", word)
    return len(FEATURES)


# Asynchronous


@task
async def later(number: int) -> int:
    await asyncio.sleep(0)
    return number + 1


@feature
async def groups_of_tasks() -> Any:
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(later(number)) for number in range(3)]
    return [one.result() for one in made] + await asyncio.gather(later(5), later(6))


@feature
async def threads_of_asyncio() -> Any:
    return await asyncio.to_thread(double, 4)


@feature
async def async_subflows() -> Any:
    @flow
    async def inner(number: int) -> int:
        return await later(number)

    @flow
    async def yields() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number

    states = [await inner(2, return_state=True), double(1, return_state=True)]
    return [await asyncio.gather(inner(1), inner(2)), [n async for n in yields()]] + [
        state.name for state in states
    ]


@feature
async def submitting_from_async_code() -> Any:
    future = later.submit(7)
    mapped = double.map([1, 2])
    return [future.result(), mapped.result()]


@feature
async def a_task_that_takes_too_long() -> Any:
    @task(timeout_seconds=0.1)
    async def sleeps() -> None:
        await asyncio.sleep(30)

    return (await sleeps(return_state=True)).name


@feature
async def the_loop() -> Any:
    loop = asyncio.get_running_loop()
    return [type(loop).__module__.split(".")[0], threading.current_thread().name, loop.get_debug()]


@flow(log_prints=True, on_completion=[hook, async_hook])
async def async_features(notes: str) -> dict[str, int]:
    for name, called in ASYNC_FEATURES.items():
        try:
            found = await called()
        except Exception as exc:
            found = f"{type(exc).__name__}: {exc}"[:200]
        note(notes, f"fact {json.dumps([name, found], default=repr)}")
    return {"features": len(ASYNC_FEATURES)}


# How runs begin and end


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    name: str
    day: date


@dataclass
class Data:
    count: int


def functools_hook(word: str, flow: Any, flow_run: Any, state: Any) -> None:
    note(flow_run.parameters["notes"], f"{word} {state.name}")


@flow(
    on_running=[hook],
    on_completion=[hook, functools.partial(functools_hook, "partial")],
    on_failure=[hook],
    persist_result=True,
)
def tidy(notes: str, model: Model, data: Data, colour: Colour, days: list[date]) -> Any:
    """Gets what was given as JSON as its types, and ends in a state of its own."""
    own_logger.warning("logged, not printed")
    print("printed, not logged")
    note(notes, f"got {model!r} {data!r} {colour!r} {days!r}")
    return Completed(name="Tidied", message="all of it", data={"day": model.day})


@flow(
    retries=1,
    retry_delay_seconds=0,
    log_prints=True,
    on_running=[hook],
    on_completion=[hook],
    on_failure=[hook, async_hook],
)
def fails(notes: str) -> None:
    print("trying", runtime.flow_run.run_count)
    double(1)
    raise ValueError("no luck\nat all")


@flow
def untidy(notes: str) -> Any:
    return Failed(name="Untidy", message="left as it is")


@flow(timeout_seconds=1, on_failure=[hook])
def takes_long(notes: str) -> None:
    for _ in range(600):
        time.sleep(STEP)


@flow(log_prints=True, on_crashed=[hook], on_failure=[hook])
def exits(notes: str) -> None:
    print("last words")
    os._exit(7)


@flow(on_crashed=[hook], on_failure=[hook])
def leaves(notes: str) -> None:
    sys.exit(3)


@flow(log_prints=True, on_cancellation=[hook], on_crashed=[hook])
def stopped(notes: str) -> None:
    note(notes, "began")
    try:
        while True:
            time.sleep(STEP)
    finally:
        print("cleaned up")


class Answer(RunInput):
    word: str
    count: int = 1


@flow(log_prints=True, persist_result=True, on_completion=[hook])
def suspends(notes: str) -> str:
    answer = suspend_flow_run(wait_for_input=Answer.with_initial_data(word="none"), timeout=300)
    note(notes, f"answer {answer.word} {answer.count}")
    return answer.word


@flow(log_prints=True)
def pauses(notes: str) -> str:
    """Paused for a form, then told something by another run."""
    answer = pause_flow_run(wait_for_input=Answer, timeout=300, poll_interval=1)
    note(notes, f"answer {answer.word} {answer.count}")
    for word in receive_input(str, timeout=60, poll_interval=0.5):
        note(notes, f"received {word}")
        return word
    return "nothing"


@flow
def sends(notes: str, to: UUID, words: str) -> None:
    send_input(words, flow_run_id=to)


@flow(persist_result=True)
def unpicklable(notes: str) -> Any:
    return threading.Lock()


@flow(log_prints=True)
def calls(notes: str, deployment: str, parameters: dict[str, Any]) -> str:
    run = run_deployment(deployment, "called", parameters=parameters, poll_interval=1)
    note(notes, f"called {run.state.name}")
    return run.state.name


@flow
def holds(notes: str) -> None:
    """Takes its deployment's only slot until the test has seen what comes of the others."""
    note(notes, "holding")
    while "said go\n" not in Path(notes).read_text():
        time.sleep(STEP)


@flow
def counts(notes: str, number: int) -> int:
    own_logger.warning("counted %d", number)
    note(notes, f"counted {number} {os.environ.get('LITERAL')}")
    return number


if __name__ == "__main__":
    features.serve(name="never")
