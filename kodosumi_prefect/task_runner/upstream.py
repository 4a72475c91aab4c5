"""How tasks are given what other tasks made: by Ray's references, not through the driver."""

import concurrent.futures
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import State
from prefect.utilities import annotations
from prefect.utilities.collections import visit_collection

from kodosumi_prefect.task_runner.future import RayFuture
from kodosumi_prefect.task_runner.remote_result import referred, together

if TYPE_CHECKING:
    import ray


# What is in it is not looked into; not every Prefect that we work with has it.
_OPAQUE: Any = getattr(annotations, "opaque", ())


class Upstream:
    """Stands in a task's arguments for a task before it.

    Arguments:
        state: which of the arguments that Ray resolves is its state; or the state itself.
        value: which of them is its value; None if nobody reads it.
    """

    def __init__(self, state: int | State[Any], value: int | None) -> None:
        self.state = state
        self.value = value

    def resolved(self, upstream: Sequence[Any]) -> State[Any]:
        """Its final state, as Prefect's engine takes it."""
        state = self.state if isinstance(self.state, State) else upstream[self.state]
        return together(state, None if self.value is None else upstream[self.value])


class Annotated:
    """Stands for one of Prefect's annotations, which pickling spoils: they come as ``((value,),)``.

    Arguments:
        kind: ``allow_failure``, ``quote``, …
    """

    def __init__(self, kind: type[Any], value: Any) -> None:
        self.kind = kind
        self.value = value


def resolved(given: Any, upstream: Sequence[Any]) -> Any:
    """What a task was given, with the states of the tasks before it where ``Upstreams`` put marks.

    Arguments:
        upstream: what Ray got for ``Upstreams.refs``.
    """
    import ray

    # Prefect tells what it visited by ids, which must not be those of something freed meanwhile.
    visited: list[Any] = []

    def resolve(item: Any) -> Any:
        if isinstance(item, Upstream):
            visited.append(item.resolved(upstream))
        elif isinstance(item, Annotated):
            visited.append(item.kind(item.value))  # what is in it is visited next
        elif isinstance(item, ray.ObjectRef):
            visited.append(ray.get(item))
        else:
            return item
        return visited[-1]

    return visit_collection(given, visit_fn=resolve, return_data=True)


class Upstreams:
    """The tasks that a task depends on.

    Attributes:
        refs: what Ray waits for and fetches.
        futures: done when they are over.
    """

    def __init__(self) -> None:
        self.futures: list[concurrent.futures.Future[Any]] = []
        self.refs: list[ray.ObjectRef[Any]] = []
        self._places: dict[ray.ObjectRef[Any], int] = {}

    def without(self, given: Any, values: bool = True, depth: int = -1) -> Any:
        """``given`` with an ``Upstream`` in place of each future and state of a task.

        Arguments:
            values: whether their values are read, too.
            depth: how deep to look; without end if negative.
        """

        def exchange(item: Any) -> Any:
            if isinstance(item, RayFuture):
                state = self._place(item.wrapped_future)
                self.futures.append(item.state_future)
                return Upstream(state, self._place(item.value_ref) if values else None)
            if isinstance(item, State) and (parts := referred(item)) is not None:
                return Upstream(parts[0], self._place(parts[1]) if values else None)
            if isinstance(item, _OPAQUE):
                return Annotated(type(item), self.without(item.unwrap(), values, depth=0))
            if isinstance(item, annotations.BaseAnnotation):
                return Annotated(type(item), self.without(item.unwrap(), values))
            return item

        return visit_collection(given, visit_fn=exchange, return_data=True, max_depth=depth)

    def _place(self, ref: "ray.ObjectRef[Any]") -> int:
        if ref not in self._places:
            self._places[ref] = len(self.refs)
            self.refs.append(ref)
        return self._places[ref]
