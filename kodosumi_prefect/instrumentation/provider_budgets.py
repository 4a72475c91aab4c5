"""OpenAI's and Anthropic's SDKs ask for the budget of the run before they call a model.

So do all libraries that call models by them, such as OpenAI's Agents SDK, whatever makes their
spans. It is done at the clients' ``post``, by which people may send requests of their own, before
anything is sent; a request that is tried again asks once.
"""

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from kodosumi_prefect import budgets
from kodosumi_prefect.instrumentation.of_run import scope_here

CALLS = frozenset(  # paths of requests to models
    {
        *("/chat/completions", "/completions", "/responses", "/embeddings"),
        *("/v1/messages", "/v1/complete"),
    }
)
_ASKS = "_kodosumi_asks"


def switch_on_openai() -> None:
    """Have clients of OpenAI's SDK ask."""
    _switch_on("openai")


def switch_on_anthropic() -> None:
    """Have clients of Anthropic's SDK ask, those of other clouds too."""
    _switch_on("anthropic")


def _switch_on(module: str) -> None:
    for client in list(vars(sys.modules[module]).values()):
        if not isinstance(client, type) or not hasattr(client, "with_options"):
            continue
        post: Any = getattr(client, "post", None)
        if post is not None and not hasattr(post, _ASKS):
            client.post = _asking(post)  # type: ignore[attr-defined]


def _asking(post: Callable[..., Any]) -> Callable[..., Any]:
    asking: Any
    if inspect.iscoroutinefunction(post):

        @wraps(post)
        async def asking(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
            if (fid := _run_that_calls(path)) is not None:
                await budgets.check_async(fid)
            return await post(self, path, *args, **kwargs)

    else:

        @wraps(post)
        def asking(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
            if (fid := _run_that_calls(path)) is not None:
                budgets.check_here(fid)
            return post(self, path, *args, **kwargs)

    setattr(asking, _ASKS, True)
    return asking  # type: ignore[no-any-return]


def _run_that_calls(path: str) -> str | None:
    """The run whose code sends a request, if that calls a model."""
    if path.partition("?")[0] not in CALLS:
        return None
    scope = scope_here()
    return None if scope is None else scope.fid
