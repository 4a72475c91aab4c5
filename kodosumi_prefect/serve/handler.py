"""Functions that authors write, called with the arguments that they ask for."""

import inspect
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool


class Handler:
    """A function that takes any of some arguments by their names, in any order.

    Arguments:
        function: sync, which is called in a thread, or async.
        names: the arguments it may have.
    """

    def __init__(self, function: Callable[..., Any], names: tuple[str, ...]) -> None:
        self.function = function
        parameters = _signature(function).parameters.values()
        everything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
        names_taken = {each.name for each in parameters}
        self.takes = [name for name in names if everything or name in names_taken]
        self.others = [
            each
            for each in parameters
            if each.name not in names
            and each.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        ]

    @property
    def name(self) -> str:
        """The function's own name."""
        name = getattr(self.function, "__name__", None)
        return name or type(self.function).__name__

    async def __call__(self, /, **available: Any) -> Any:
        """Call it with what it takes of ``available``."""
        taken = {name: available[name] for name in self.takes if name in available}
        others = {each.name: available[each.name] for each in self.others if each.name in available}
        if _is_async(self.function):
            return await self.function(**taken, **others)
        answer = await run_in_threadpool(self.function, **taken, **others)
        return await answer if inspect.isawaitable(answer) else answer


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, TypeError):  # annotations that cannot be evaluated here
        return inspect.signature(function)


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004  (an object may be async to call)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
