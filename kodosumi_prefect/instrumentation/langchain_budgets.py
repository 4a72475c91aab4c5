"""LangChain's coroutines wait for the budget of the run before they call a model.

Its callbacks cannot: they are called inline, and could only refuse a call while somebody is asked.
"""

from collections.abc import AsyncIterator
from functools import wraps
from typing import Any

from langchain_core.language_models import BaseChatModel, BaseLLM

from kodosumi_prefect import budgets
from kodosumi_prefect.instrumentation.of_run import scope_here
from kodosumi_prefect.instrumentation.sources import is_off


def switch_on() -> None:
    """Have ``agenerate``, behind all that waits for a whole answer, and ``astream`` wait."""
    for model in (BaseChatModel, BaseLLM):
        kind: Any = model
        kind.agenerate = _waiting(kind.agenerate)
        kind.astream = _waiting_stream(kind.astream)


def _waiting(generate: Any) -> Any:
    @wraps(generate)
    async def agenerate(self: Any, *args: Any, **kwargs: Any) -> Any:
        await _wait()
        return await generate(self, *args, **kwargs)

    return agenerate


def _waiting_stream(stream: Any) -> Any:
    @wraps(stream)
    async def astream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        await _wait()
        pieces = stream(self, *args, **kwargs)
        try:
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    return astream


async def _wait() -> None:
    scope = scope_here()
    if scope is not None and not is_off("langchain"):
        await budgets.check_async(scope.fid)
