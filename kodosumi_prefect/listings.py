"""Reading Prefect's lists even if one of their rows cannot be read.

Prefect's server answers a whole list with an error if it cannot serialize one of its rows: a flow
run with an integer beyond 64 bits among its parameters, or with text that is none. Whoever reads
its lists by this module gets the other rows, and one log line about the one at fault.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from kodosumi_prefect._compat.prefect import RUN_HISTORY

PAGE = 200  # rows Prefect returns at most
MOST_FAULTS = 20  # rows of one page; more of them, and it is the server that is at fault
REMEMBERED = 10_000  # rows that were reported
OF_FILTERS = {  # arguments of PrefectClient.read_flow_runs, as the server calls them
    "flow_filter": "flows",
    "flow_run_filter": "flow_runs",
    "task_run_filter": "task_runs",
    "deployment_filter": "deployments",
    "work_pool_filter": "work_pools",
}

logger = logging.getLogger(__name__)

T = TypeVar("T")
Read = Callable[[int, int], Awaitable[list[T]]]

_reported: set[tuple[str, str]] = set()


class ListingPage(NamedTuple, Generic[T]):
    """What can be read of a page of a list.

    Attributes:
        rows: in the list's order.
        last: whether no page comes behind it.
        unreadable: ids of the rows that are missing, as far as they are known.
    """

    rows: list[T]
    last: bool
    unreadable: frozenset[UUID] = frozenset()


class RowsById(NamedTuple, Generic[T]):
    """What can be read of some rows that were asked for by their ids."""

    rows: dict[UUID, T]
    unreadable: frozenset[UUID]


async def narrowed(
    read: Read[T], what: str, *, limit: int = PAGE, offset: int = 0
) -> ListingPage[T]:
    """A page of any list without the rows for which it cannot be read whole.

    Arguments:
        read: reads a part of the list, by its limit and offset.
        what: is listed, for the log; such as ``"deployment"``.

    Raises:
        httpx.HTTPError: Prefect is away, or fails at whatever it is asked.
    """
    at_fault: list[int] = []

    async def part(limit: int, offset: int) -> list[T]:
        try:
            return await read(limit, offset)
        except Exception as exc:
            if not is_fault(exc):
                raise
            if limit == 1:
                at_fault.append(offset)
                if len(at_fault) > MOST_FAULTS:
                    raise
                _report(what, f"number {offset + 1} of its list", exc)
                return []
        half = limit // 2
        return await part(half, offset) + await part(limit - half, offset + half)

    rows = await part(limit, offset)
    return ListingPage(rows, len(rows) + len(at_fault) < limit)


async def flow_runs(
    client: PrefectClient,
    *,
    limit: int = PAGE,
    offset: int = 0,
    sort: FlowRunSort = FlowRunSort.ID_DESC,
    **filters: Any,
) -> ListingPage[FlowRun]:
    """A page of flow runs; those that lists fail at are read one by one, if they can be.

    Arguments:
        filters: as ``PrefectClient.read_flow_runs`` takes them.

    Raises:
        httpx.HTTPError: Prefect is away, or fails at whatever it is asked.
    """

    async def read(limit: int, offset: int) -> list[FlowRun]:
        return await client.read_flow_runs(sort=sort, limit=limit, offset=offset, **filters)

    try:
        rows = await read(limit, offset)
    except Exception as exc:
        if not is_fault(exc):
            raise
    else:
        return ListingPage(rows, len(rows) < limit)
    ids = await _ids(client, limit, offset, sort, filters)
    if ids is None:
        return await narrowed(read, "flow run", limit=limit, offset=offset)
    flow_runs = await flow_runs_by_id(client, ids)
    rows = [flow_runs.rows[id_] for id_ in ids if id_ in flow_runs.rows]
    return ListingPage(rows, len(ids) < limit, flow_runs.unreadable)


async def flow_runs_by_id(client: PrefectClient, ids: Sequence[UUID]) -> RowsById[FlowRun]:
    """Flow runs by their ids; those that Prefect does not know are in neither part.

    Raises:
        httpx.HTTPError: Prefect is away, or fails at whatever it is asked.
    """

    async def several(some: Sequence[UUID]) -> list[FlowRun]:
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=list(some)))
        return await client.read_flow_runs(flow_run_filter=chosen, limit=PAGE)

    return await _by_id(ids, several, client.read_flow_run, "flow run")


async def deployments_by_id(
    client: PrefectClient, ids: Sequence[UUID]
) -> RowsById[DeploymentResponse]:
    """Deployments by their ids, as ``flow_runs_by_id``."""

    async def several(some: Sequence[UUID]) -> list[DeploymentResponse]:
        chosen = DeploymentFilter(id=DeploymentFilterId(any_=list(some)))
        return await client.read_deployments(deployment_filter=chosen, limit=PAGE)

    return await _by_id(ids, several, client.read_deployment, "deployment")


async def flow_run(client: PrefectClient, fid: UUID) -> FlowRun | None:
    """A flow run; None, and a log line, for one that Prefect has but cannot serialize.

    Raises:
        ObjectNotFound: it was deleted.
        httpx.HTTPError: Prefect is away, or fails at whatever it is asked.
    """
    try:
        return await client.read_flow_run(fid)
    except Exception as exc:
        # Its states, which are short, can be read whatever its parameters are.
        if not is_fault(exc) or not await client.read_flow_run_states(fid):
            raise
        _report("flow run", str(fid), exc)
        return None


def is_fault(exc: BaseException) -> bool:
    """Whether an error may be due to one row of what was asked for, rather than to an outage."""
    if isinstance(exc, httpx.HTTPStatusError):
        return exc.response.status_code == httpx.codes.INTERNAL_SERVER_ERROR
    return isinstance(exc, ValueError | RecursionError)  # the client cannot read the answer


async def _by_id(
    ids: Sequence[UUID],
    several: Callable[[Sequence[UUID]], Awaitable[list[T]]],
    one: Callable[[UUID], Awaitable[T]],
    what: str,
) -> RowsById[T]:
    rows: dict[UUID, T] = {}
    unreadable: set[UUID] = set()

    async def part(some: Sequence[UUID]) -> None:
        try:
            if len(some) == 1 and (what, str(some[0])) in _reported:
                rows[some[0]] = await one(some[0])
            else:
                rows.update({row.id: row for row in await several(some)})  # type: ignore[attr-defined]
            return
        except ObjectNotFound:
            return
        except Exception as exc:
            if not is_fault(exc):
                raise
            if len(some) == 1:
                await alone(some[0], exc)
                return
        half = len(some) // 2
        await part(some[:half])
        await part(some[half:])

    async def alone(id_: UUID, why: Exception) -> None:
        try:
            rows[id_] = await one(id_)
        except ObjectNotFound:
            return
        except Exception as exc:
            if not is_fault(exc) or len(unreadable) >= MOST_FAULTS:
                raise
            unreadable.add(id_)
        _report(what, str(id_), why)

    # Those that failed before are asked for by themselves, not to spoil the others' answer.
    healthy = [id_ for id_ in ids if (what, str(id_)) not in _reported]
    for start in range(0, len(healthy), PAGE):
        await part(healthy[start : start + PAGE])
    for id_ in ids:
        if (what, str(id_)) in _reported and id_ not in rows and id_ not in unreadable:
            await part([id_])
    return RowsById(rows, frozenset(unreadable))


async def _ids(
    client: PrefectClient, limit: int, offset: int, sort: FlowRunSort, filters: dict[str, Any]
) -> list[UUID] | None:
    """The ids of a page of flow runs, by a list that holds little else; None without such a list.

    Raises:
        httpx.HTTPError: Prefect is away.
    """
    if filters.keys() - OF_FILTERS.keys():
        return None
    body: dict[str, Any] = {"sort": sort.value, "limit": limit, "offset": offset}
    for name, chosen in filters.items():
        if chosen is not None:
            body[OF_FILTERS[name]] = chosen.model_dump(mode="json")
    try:
        answer = await client.request("POST", RUN_HISTORY, json=body)
        return [UUID(row["id"]) for row in answer.json()]
    except httpx.HTTPStatusError as exc:
        if exc.response.status_code in (404, 405, 422, 500):  # a server of another release
            return None
        raise


def _report(what: str, which: str, exc: BaseException) -> None:
    """One log line about a row, however often it is met."""
    if (what, which) in _reported:
        return
    if len(_reported) >= REMEMBERED:
        _reported.clear()
    _reported.add((what, which))
    reason = " ".join(str(exc).split())[:200]
    logger.warning(
        "Prefect cannot list %s %s, probably because of its parameters: it is read "
        "alone or left out, all others are listed; delete it in Prefect (%s)",
        what,
        which,
        reason,
    )
