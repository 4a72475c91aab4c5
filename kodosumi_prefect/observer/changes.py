"""What Prefect's events report about runs, as plain values."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.objects import State as PrefectState
from prefect.events import Event

FLOW_RUN = "prefect.flow-run."
TASK_RUN = "prefect.task-run."


class RunPlace(NamedTuple):
    """Where a flow run belongs, as far as an event names it: what filters choose by."""

    flow: str | None = None
    deployment: str | None = None
    work_pool: str | None = None
    work_pool_type: str | None = None
    tags: frozenset[str] = frozenset()


class RunChange(NamedTuple):
    """A flow run entered a state.

    Attributes:
        parent: the task run that stands for it in the run above, if it is a subflow.
        run_count: Prefect's count of its attempts, from 1.
    """

    id: str
    name: str
    state: PrefectState[Any]
    run_count: int
    parent: str | None
    place: RunPlace


class TaskChange(NamedTuple):
    """A task run entered a state; ``flow_run`` is the run it belongs to, if the event names it."""

    id: str
    name: str
    state: PrefectState[Any]
    flow_run: str | None


Change = RunChange | TaskChange


def change_of(event: Event) -> Change | None:
    """The change of a run's state that an event reports, or None if it reports none."""
    labels = event.resource
    state = _state(event)
    if state is None:
        return None
    name = labels.get("prefect.resource.name") or ""
    related = _related(event)
    if labels.id.startswith(TASK_RUN):
        flow_run = related.get("flow-run", {}).get("prefect.resource.id")
        return TaskChange(
            labels.id.removeprefix(TASK_RUN),
            name,
            state,
            flow_run.removeprefix(FLOW_RUN) if flow_run else None,
        )
    parent = related.get("task-run", {}).get("prefect.resource.id")
    pool = related.get("work-pool", {})
    place = RunPlace(
        related.get("flow", {}).get("prefect.resource.name"),
        related.get("deployment", {}).get("prefect.resource.name"),
        pool.get("prefect.resource.name"),
        pool.get("prefect.work-pool.type"),
        frozenset(_tags(event)),
    )
    return RunChange(
        labels.id.removeprefix(FLOW_RUN),
        name,
        state,
        int(labels.get("prefect.run-count") or 0),
        parent.removeprefix(TASK_RUN) if parent else None,
        place,
    )


def change_to(run: FlowRun, state: PrefectState[Any]) -> RunChange:
    """A state of a flow run that was read from Prefect."""
    parent = str(run.parent_task_run_id) if run.parent_task_run_id else None
    return RunChange(str(run.id), run.name, state, run.run_count, parent, RunPlace())


def _state(event: Event) -> PrefectState[Any] | None:
    """The state that the event reports; its id is the event's own."""
    labels = event.resource
    kind = labels.get("prefect.state-type")
    if kind is None or kind not in StateType.__members__:
        return None
    return PrefectState(
        id=UUID(str(event.id)),
        type=StateType[kind],
        name=labels.get("prefect.state-name") or None,
        message=labels.get("prefect.state-message") or None,
        timestamp=labels.get("prefect.state-timestamp") or event.occurred,  # type: ignore[arg-type]
    )


def _related(event: Event) -> dict[str, dict[str, str]]:
    """Related resources by their role; the first of each."""
    resources: dict[str, dict[str, str]] = {}
    for resource in event.related:
        resources.setdefault(resource.role, dict(resource.root))
    return resources


def _tags(event: Event) -> Iterable[str]:
    for resource in event.related:
        if resource.role == "tag":
            yield resource.id.removeprefix("prefect.tag.")
