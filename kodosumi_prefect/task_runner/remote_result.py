"""The results of tasks that lie on Ray until somebody asks for them."""

import copy
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import State
from prefect.exceptions import MissingResult
from pydantic import PrivateAttr, SerializerFunctionWrapHandler, model_serializer

from kodosumi_prefect._compat.prefect import ResultRecord
from kodosumi_prefect.task_runner.waiting import fetch

if TYPE_CHECKING:
    import ray


class Absent:
    """Stands, itself and not an instance, for a value that is not in this process."""


class RemoteResult(ResultRecord[Any]):
    """A result record that fetches its value from Ray when ``result`` is read.

    Who only needs the state, copies it or prints it fetches nothing. Pickled or dumped it is a
    plain record with its value: what it refers to ends with the flow's connection to Ray.
    """

    _ref: Any = PrivateAttr(default=None)

    def __getattribute__(self, name: str) -> Any:
        if name == "result" and super().__getattribute__("__dict__").get("result") is Absent:
            self.fetch()
        return super().__getattribute__(name)

    @property
    def ref(self) -> "ray.ObjectRef[Any] | None":
        """Where the value lies; None if no reference came along."""
        ref: ray.ObjectRef[Any] | None = self._ref
        return ref

    def refer_to(self, ref: "ray.ObjectRef[Any]") -> None:
        """Say where the value lies."""
        self._ref = ref

    def fetch(self, timeout: float | None = None) -> None:
        """Have the value in this process.

        Raises:
            MissingResult: no reference came along.
            TimeoutError: it is not here within ``timeout`` seconds.
        """
        if self.__dict__["result"] is not Absent:
            return
        if self._ref is None:
            raise MissingResult(
                "the task's value lies on Ray; ask the task's future for it, not Ray's reference"
            )
        self.__dict__["result"] = fetch(self._ref, timeout)

    def plain(self) -> ResultRecord[Any]:
        """A record that holds the value."""
        return _record(self, self.result)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._ref is None:
            return super().__reduce_ex__(protocol)
        return _itself, (self.plain(),)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Any:
        return copy.deepcopy(self.plain(), memo)

    def __repr_args__(self) -> Any:
        value = self.__dict__["result"]
        yield "metadata", self.metadata
        yield "result", "not fetched" if value is Absent else value

    @model_serializer(mode="wrap")
    def _with_value(self, handler: SerializerFunctionWrapHandler) -> Any:
        if self._ref is not None:
            self.fetch()
        return handler(self)


def _itself(record: ResultRecord[Any]) -> ResultRecord[Any]:
    return record


def apart(state: State[Any]) -> tuple[State[Any], Any]:
    """A task's final state without its value, and the value.

    What a task that did not complete raised stays with its state.
    """
    record = state.data
    if not state.is_completed() or not isinstance(record, ResultRecord):
        return state, None
    return _without_value(state, record), record.result


def referred(state: State[Any]) -> "tuple[State[Any], ray.ObjectRef[Any]] | None":
    """As ``apart``, with the reference to the value; None if there is none."""
    record = state.data
    if not isinstance(record, RemoteResult) or record.ref is None:
        return None
    return _without_value(state, record), record.ref


def together(state: State[Any], value: Any) -> State[Any]:
    """A state that came without its value, with it."""
    if not isinstance(state.data, RemoteResult):
        return state
    return state.model_copy(update={"data": _record(state.data, value)})


def _without_value(state: State[Any], record: ResultRecord[Any]) -> State[Any]:
    return state.model_copy(update={"data": _record(record, Absent, RemoteResult)})


def _record(
    record: ResultRecord[Any], value: Any, kind: type[ResultRecord[Any]] = ResultRecord
) -> ResultRecord[Any]:
    made = kind.model_construct(metadata=record.metadata, result=value)
    if record.is_persisted:
        made.mark_persisted()
    return made
