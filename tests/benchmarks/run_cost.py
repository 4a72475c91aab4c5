"""What a run costs beside Prefect's process worker: 30 trivial ones at once, and one at a time."""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import psutil
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.workers.process import ProcessWorker

from kodosumi_prefect.addresses import recorded_access
from kodosumi_prefect.runner.worker import KodosumiRayWorker
from kodosumi_prefect.settings import PREFIX, Settings, write_address
from kodosumi_prefect.stack.child import Child
from kodosumi_prefect.stack.ray_head import plan_ray, ray_child
from tests.benchmarks.harness import quantile, report, services
from tests.benchmarks.starts import until_warm
from tests.services import served
from tests.waiting import wait_for

AT_ONCE = 30
ONE_BY_ONE = 10
LIMIT = 600.0  # seconds
SETTLED = 8.0  # seconds after which what a run started has ended, and no claim is renewed often
SAMPLE = 0.2  # seconds; what an ended actor took after its last sample is lost
WORKER, NURSERY, RUNNERS = "the worker, and what it started", "nursery and runs", "Runners"
PREFECT, POSTGRES, RAY = "Prefect's server", "Postgres", "Ray"
OURS = (WORKER, NURSERY, RUNNERS)
FLOW = """
from prefect import flow

@flow
def trivial():
    return 1
"""


class Cost(NamedTuple):
    """What one worker's runs took.

    Attributes:
        wall: seconds from the first request to the end of the last run.
        failed: runs that did not end as Completed.
        processor: seconds a run, by whose processes they were.
        runners: how many were started for the runs at once.
        starts: seconds from the request to Running, of runs that came one after the other.
    """

    wall: float
    failed: int
    processor: dict[str, float]
    runners: int
    starts: list[float]


class Processors:
    """Processor seconds by whose processes they were, since it was made.

    Those of ended processes are their parent's, if that has waited for them; Ray's do not, so that
    its actors are sampled.
    """

    def __init__(self, worker: int, server: int, postgres: int, ray: int | None) -> None:
        self._roots = {WORKER: [worker], PREFECT: [server], POSTGRES: [postgres]}
        self._ray = ray
        self._of_ray: dict[tuple[int, float], tuple[bool, float]] = {}
        self._ends = threading.Event()
        self._sample()
        self._before = self._whole()
        self._before_of_ray = {key: taken for key, (_, taken) in self._of_ray.items()}
        self._thread = threading.Thread(target=self._keep_sampling, daemon=True)
        self._thread.start()

    def taken(self) -> dict[str, float]:
        """End, and tell."""
        self._ends.set()
        self._thread.join()
        after = self._whole()
        found = {kind: after[kind] - before for kind, before in self._before.items()}
        found |= {RAY: 0.0, RUNNERS: 0.0}
        for key, (is_runner, taken) in self._of_ray.items():
            more = taken - self._before_of_ray.get(key, 0.0)
            found[RUNNERS if is_runner else RAY] += more
        return found

    @property
    def runners(self) -> int:
        """Runners that were started since."""
        before = self._before_of_ray
        return sum(is_runner for key, (is_runner, _) in self._of_ray.items() if key not in before)

    def _whole(self) -> dict[str, float]:
        roots = {**self._roots, NURSERY: nurseries_of(self._ray)}
        return {kind: sum(map(_with_family, pids)) for kind, pids in roots.items()}

    def _keep_sampling(self) -> None:
        while not self._ends.wait(SAMPLE):
            self._sample()
        self._sample()

    def _sample(self) -> None:
        if self._ray is None:
            return
        root = psutil.Process(self._ray)
        for process in [root, *root.children(recursive=True)]:
            try:
                times = process.cpu_times()
                key = (process.pid, process.create_time())
                is_runner = self._of_ray.get(key, (False, 0.0))[0] or is_runner_of_ray(process)
            except psutil.Error:
                continue
            taken = times.user + times.system
            if is_runner:  # with runs' processes that it started itself
                taken += times.children_user + times.children_system
            self._of_ray[key] = (is_runner, taken)


def _with_family(pid: int) -> float:
    """What a process took with all it waited for, and all that live."""
    taken = 0.0
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            taken += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return taken


def is_runner_of_ray(process: psutil.Process) -> bool:
    return " ".join(process.cmdline()).lower().startswith("ray::runner")  # by class or name


def nurseries_of(ray: int | None) -> list[int]:
    """What runs' processes are forked from, by the raylet that ends it."""
    if ray is None:
        return []
    raylets = {
        str(one.pid)
        for one in psutil.Process(ray).children(recursive=True)
        if one.name() == "raylet"
    }
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any("nursery_program" in word for word in words) and words[-1] in raylets:
            found.append(process)
    pids = {one.pid for one in found}
    return [one.pid for one in found if one.ppid() not in pids]  # what was forked looks the same


@contextmanager
def worker(settings: Settings, pool: str, type_: str, **more: str) -> Iterator[int]:
    """A worker with the settings it has by default; its process."""
    access = recorded_access(settings)
    assert access is not None
    environment = {
        **access.environment(),
        "PREFECT_HOME": str(settings.data_dir / f"home-{type_}"),
        f"{PREFIX}DATA_DIR": str(settings.data_dir),
        **more,
    }
    argv = [sys.executable, "-m", "prefect", "worker", "start", "--type", type_, "--pool", pool]
    argv += ["--install-policy", "never"]
    log = settings.data_dir / "logs" / f"worker-{type_}.log"
    child = Child(
        f"worker-{type_}", argv, environment, ready=lambda: " started!" in log.read_text()
    )
    with served(child, log.parent) as running:
        yield running.popen.pid


@contextmanager
def ray(settings: Settings) -> Iterator[int]:
    """A Ray of this machine; the process that runs all of it."""
    access = recorded_access(settings)
    assert access is not None
    head = plan_ray(settings)
    environment = {f"{PREFIX}DATA_DIR": str(settings.data_dir), **access.environment()}
    with served(ray_child(head, environment), settings.data_dir / "logs") as running:
        write_address(settings, "ray", head.recorded(running.popen.pid))
        try:
            yield running.popen.pid
        finally:
            write_address(settings, "ray", None)


async def deployed(client: PrefectClient, pool: str, type_: str, folder: Path) -> UUID:
    """The trivial flow on a pool of a type."""
    workers = {"process": ProcessWorker, "kodosumi-ray": KodosumiRayWorker}
    template = workers[type_].get_default_base_job_template()
    await client.create_work_pool(WorkPoolCreate(name=pool, type=type_, base_job_template=template))
    step = {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
    return await client.create_deployment(
        flow_id=await client.create_flow_from_name("trivial"),
        name=pool,
        work_pool_name=pool,
        entrypoint="trivial.py:trivial",
        pull_steps=[step],
    )


async def created(client: PrefectClient, deployment: UUID) -> UUID:
    """A run; Prefect's SQLite is locked at times, and has stored nothing then."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                return (await client.create_flow_run_from_deployment(deployment)).id
            except PrefectHTTPStatusError as exc:
                if exc.response.status_code != 503:
                    raise


class Ended(NamedTuple):
    """When the last run was over, and how many of them went wrong."""

    at: float
    failed: int


async def ended(client: PrefectClient, deployment: UUID, count: int) -> Ended:
    """Wait until so many runs are over."""
    filters = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    final = FlowRunFilterState(
        type=FlowRunFilterStateType(
            any_=[StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
        )
    )
    over = filters.model_copy(update={"state": final})
    async with asyncio.timeout(LIMIT):
        while True:
            if await client.count_flow_runs(flow_run_filter=over) >= count:
                break
            await asyncio.sleep(0.5)
    runs = await client.read_flow_runs(flow_run_filter=over, limit=200)
    return Ended(
        max(run.end_time.timestamp() for run in runs if run.end_time is not None),
        sum(run.state_name != "Completed" for run in runs),
    )


async def measure(
    settings: Settings, url: str, type_: str, pool: str, pids: dict[str, int | None]
) -> Cost:
    async with get_client() as client:
        deployment = (await client.read_deployment_by_name(f"trivial/{pool}")).id
        count, starts = 0, []
        for number in range(ONE_BY_ONE + 1):
            if type_ == "kodosumi-ray":
                await asyncio.to_thread(until_warm, url, pool)
            began = time.time()
            fid = await created(client, deployment)
            count += 1
            await ended(client, deployment, count)
            start = (await client.read_flow_run(fid)).start_time
            assert start is not None
            if number:  # the first one warms all of it up
                starts.append(start.timestamp() - began)
        await asyncio.sleep(SETTLED)
        processors = Processors(pids["worker"], pids["server"], pids["postgres"], pids["ray"])  # type: ignore[arg-type]
        began = time.time()
        for _ in range(AT_ONCE):  # Prefect's SQLite refuses more, for seconds
            await created(client, deployment)
        last = await ended(client, deployment, count + AT_ONCE)
        await asyncio.sleep(SETTLED)
        taken = processors.taken()
    processor = {kind: seconds / AT_ONCE for kind, seconds in taken.items()}
    return Cost(last.at - began, last.failed, processor, processors.runners, starts)


class Memory(NamedTuple):
    """MB of what waits for runs; ``own`` is shared with nobody, ``share`` is divided by sharers."""

    own: float
    share: float


def memory(pid: int) -> Memory:
    info = psutil.Process(pid).memory_full_info()
    return Memory(info.uss / 1e6, info.pss / 1e6)


def waiting_runner(ray: int) -> int:
    """The Runner that waits, when no other does."""
    (found,) = [
        one.pid for one in psutil.Process(ray).children(recursive=True) if is_runner_of_ray(one)
    ]
    return found


def recorded_pid(settings: Settings, name: str) -> int:
    found = json.loads((settings.data_dir / "run" / f"{name}.json").read_text())
    return int(found["pid"])


def run(alone: bool = False) -> None:
    """Measure; ``alone`` without Prefect's process worker."""
    with services() as (with_ray_set, url):
        settings = Settings(data_dir=with_ray_set.data_dir)
        folder = settings.data_dir / "flow"
        folder.mkdir()
        (folder / "trivial.py").write_text(FLOW)
        pids: dict[str, int | None] = {
            "server": recorded_pid(settings, "prefect"),
            "postgres": recorded_pid(settings, "postgres"),
            "ray": None,
        }
        pools = {type_: f"{type_}-{uuid4().hex[:6]}" for type_ in ("process", "kodosumi-ray")}

        async def deploy() -> None:
            async with get_client() as client:
                for type_, pool in pools.items():
                    await deployed(client, pool, type_, folder)

        def measured(type_: str) -> Cost:
            with worker(settings, pools[type_], type_) as pids["worker"]:
                return asyncio.run(measure(settings, url, type_, pools[type_], pids))

        asyncio.run(deploy())
        theirs = (
            measured("process")
            if not os.environ.get("OURS")
            else Cost(1, 0, dict.fromkeys((OURS, PREFECT, POSTGRES, RAY), 1.0), [1.0])
        )
        with ray(settings) as pids["ray"]:
            ours = measured("kodosumi-ray")
            with worker(settings, pools["kodosumi-ray"], "kodosumi-ray"):
                until_warm(url, pools["kodosumi-ray"])
                runner = waiting_runner(pids["ray"])
                nursery = wait_for(lambda: nurseries_of(pids["ray"]), 120, "a nursery")
                memories = memory(runner), memory(nursery[0])
    tell(theirs, ours, *memories)


def tell(theirs: Cost | None, ours: Cost, place: Memory, nursery: Memory) -> None:
    def both(figure: Callable[[Cost], float], unit: str) -> str:
        mine = figure(ours)
        if theirs is None:
            return f"{mine:7.2f} {unit}"
        other = figure(theirs)
        share = f"   {mine / other:.2f} of it" if other else ""
        return f"{mine:7.2f} {unit}   ({other:.2f} {unit}){share}"

    def of(*kinds: str) -> Callable[[Cost], float]:
        return lambda cost: sum(cost.processor[kind] for kind in kinds)

    figures = {
        f"{AT_ONCE} at once, until the last is over": both(lambda cost: cost.wall, "s"),
        "  of them not Completed": both(lambda cost: cost.failed, " "),
        "  Runners started": f"{ours.runners:4}",
        "runs a minute (at least 60 on two cores)": both(
            lambda cost: 60 * AT_ONCE / cost.wall, " "
        ),
        "request to Running, one at a time, p50 (at most 0.35 s)": both(
            lambda cost: quantile(cost.starts, 0.5), "s"
        ),
        "  longest": both(lambda cost: max(cost.starts), "s"),
        "processor a run, worker and runs (at most 1.0 s)": both(of(*OURS), "s"),
    }
    figures |= {f"  of it {kind}": both(of(kind), "s") for kind in OURS}
    figures |= {
        f"processor a run, {kind}": both(of(kind), "s") for kind in (PREFECT, POSTGRES, RAY)
    }
    figures["a Runner that waits, its own memory (at most 100 MB)"] = (
        f"{place.own:7.0f} MB   (its share with what it shares: {place.share:.0f} MB)"
    )
    figures["a node's nursery, its own memory"] = (
        f"{nursery.own:7.0f} MB   (its share with what it shares: {nursery.share:.0f} MB)"
    )
    report("runs of a trivial flow on this worker (Prefect's process worker)", figures)


if __name__ == "__main__":
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "ERROR")
    run(alone="alone" in sys.argv)
