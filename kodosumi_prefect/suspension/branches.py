"""Branches of a flow: asyncio tasks that its code makes, whose calls are numbered apart.

Which of two of them calls a task first changes from leg to leg; that each of them makes the same
calls in the same order does not.
"""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from typing import Any

from kodosumi_prefect.suspension.calls import here

_followed = "kodosumi_follows"


def follow() -> None:
    """Have the asyncio tasks that are made in the running event loop know their branch."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    before = loop.get_task_factory()
    if getattr(before, _followed, False):
        return

    def make(
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> Any:
        at = here.get()
        if at is not None:
            name = getattr(coro, "__qualname__", type(coro).__name__)
            context = options.get("context")
            options["context"] = context = copy_context() if context is None else context
            context.run(here.set, at.branched(name))
        if before is None:
            return asyncio.Task(coro, loop=loop, **options)
        return before(loop, coro, **options)

    setattr(make, _followed, True)
    loop.set_task_factory(make)
