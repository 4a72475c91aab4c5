"""Plain Prefect flows that may be suspended: what their tasks return is kept, as of ours."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.flows import Flow

from kodosumi_prefect._compat.prefect_calls import is_generator
from kodosumi_prefect.suspension import reuse
from kodosumi_prefect.suspension.code import heed_changed_code
from kodosumi_prefect.vocabulary import FLOW_ATTRIBUTE


def keeping(flow: "Flow[..., Any]") -> "Flow[..., Any]":
    """A root flow that keeps what its tasks return; ours, which do so themselves, as they are.

    Generators do not: a run of one waits in its process.
    """
    if hasattr(flow.fn, FLOW_ATTRIBUTE) or is_generator(flow):
        return flow
    function: Callable[..., Any] = flow.fn
    kept: Callable[..., Any]
    if flow.isasync:

        @wraps(function)
        async def kept(*args: Any, **kwargs: Any) -> Any:
            with _kept(flow):
                return await function(*args, **kwargs)
    else:

        @wraps(function)
        def kept(*args: Any, **kwargs: Any) -> Any:
            with _kept(flow):
                return function(*args, **kwargs)

    one = copy.copy(flow)
    one.fn = kept
    return one


@contextmanager
def _kept(flow: "Flow[..., Any]") -> Iterator[None]:
    context = FlowRunContext.get()
    kept = None
    if context is not None and context.flow_run is not None:
        kept = reuse.begin(flow, context.flow_run, str(context.flow_run.id))
    try:
        heed_changed_code()
        yield
    except Pause:
        reuse.settle(kept)
        raise
    finally:
        reuse.end(kept)
