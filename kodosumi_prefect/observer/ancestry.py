"""Which root a flow run belongs to, and which subflows a root has."""

from collections import defaultdict

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from kodosumi_prefect.listings import flow_runs
from kodosumi_prefect.observer.api import Api

MOST = 10_000  # flow runs remembered
LEVELS = 50  # of subflows looked through


class Ancestry:
    """Remembers what it learned; asks Prefect for the rest."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._roots: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._below: dict[str, set[str]] = defaultdict(set)
        self.task_names: dict[str, str] = {}

    def learn_task(self, task_run: str, name: str) -> None:
        """Remember the name of a task run, which its log lines do not contain."""
        if len(self.task_names) > MOST:
            self.task_names.clear()
        self.task_names[task_run] = name

    def name(self, flow_run: str) -> str:
        """The name of a subflow's run, as far as known."""
        return self._names.get(flow_run, "")

    def below(self, root: str) -> list[str]:
        """The subflow runs of a root that are known."""
        return sorted(self._below.get(root, ()))

    def forget(self, root: str) -> None:
        """Forget the subflows of a root that is over."""
        for flow_run in self._below.pop(root, ()):
            self._names.pop(flow_run, None)

    def learn_root(self, flow_run: str) -> None:
        """Remember that a flow run is no subflow."""
        self._remember(flow_run, flow_run)

    async def root(self, flow_run: str) -> str | None:
        """The root of a flow run, itself if it is one; None if Prefect no longer has it."""
        way: list[FlowRun] = []
        current = flow_run
        while current not in self._roots:
            run = await self._api.flow_run(current)
            if run is None or len(way) > LEVELS:
                return None
            parent = await self._above(run)
            if parent is None:
                self._remember(current, current)
                break
            way.append(run)
            current = parent
        root = self._roots[current]
        for run in way:
            self._remember(str(run.id), root)
            self._names[str(run.id)] = run.name
            self._below[root].add(str(run.id))
        return root

    async def learn(self, root: str) -> None:
        """Ask Prefect for all subflows of a root."""
        client = await self._api.client()
        level = [root]
        for _ in range(LEVELS):
            chosen = FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=level)  # type: ignore[arg-type]
            )
            runs = (await flow_runs(client, flow_run_filter=chosen)).rows
            level = [str(run.id) for run in runs if str(run.id) not in self._below[root]]
            for run in runs:
                self._remember(str(run.id), root)
                self._names[str(run.id)] = run.name
            self._below[root].update(level)
            if not level:
                return

    async def _above(self, run: FlowRun) -> str | None:
        if run.parent_task_run_id is None:
            return None
        try:
            task_run = await (await self._api.client()).read_task_run(run.parent_task_run_id)
        except ObjectNotFound:
            return None
        return str(task_run.flow_run_id) if task_run.flow_run_id else None

    def _remember(self, flow_run: str, root: str) -> None:
        if len(self._roots) > MOST:
            self._roots.clear()
            self._roots[root] = root
        self._roots[flow_run] = root
