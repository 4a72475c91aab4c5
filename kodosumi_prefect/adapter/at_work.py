"""Executions that this process works for without running them: in Ray tasks and child processes."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass

from kodosumi_prefect._compat.prefect import task_context_in
from kodosumi_prefect.scope import Scope


@dataclass
class Work:
    """What this process does for an execution.

    Attributes:
        task_run: ``(id, name)`` of the Prefect task run, once that is known.
    """

    scope: Scope
    context: Context | None = None
    task_run: tuple[str, str] | None = None


_work: dict[object, Work] = {}


@contextmanager
def at_work(scope: Scope, context: Context | None = None) -> Generator[Work, None, None]:
    """Inside the block, output without a known owner belongs to ``scope``.

    Arguments:
        context: what the code runs in; Prefect's task run in there names the task.
    """
    key = object()
    work = _work[key] = Work(scope, context)
    try:
        yield work
    finally:
        del _work[key]


def begin_work(scope: Scope) -> None:
    """As ``at_work``, for the rest of this process's life."""
    _work.clear()
    _work["process"] = Work(scope)


def scopes_at_work() -> list[Scope]:
    """The executions that this process works for now, each with its task run."""
    return [_with_task(work) for work in list(_work.values())]


def _with_task(work: Work) -> Scope:
    # A context can be read from outside while its code runs.
    task_context = task_context_in(work.context) if work.context is not None else None
    task_run = getattr(task_context, "task_run", None)
    if task_run is not None:
        work.task_run = str(task_run.id), task_run.name
    return work.scope if work.task_run is None else work.scope._replace(task_run=work.task_run)
