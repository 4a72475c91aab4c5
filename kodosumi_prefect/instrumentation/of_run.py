"""Recording spans of whatever run the calling code works for.

For code that speaks of a library's calls as they come, in whichever thread:

```python
span = span_here("search", type="tool", input=query)  # None outside of runs
span.begin()  # live from now on, below the span that the calling code is in
span.set(output=hits).end()  # anywhere
```

``Span.id`` is known from its begin on. Whoever has ids, parents and times of its own, as
OpenTelemetry has them, makes payloads by ``spans.span`` and records them by ``record``; contents
go through ``spans.contents.kept`` before that.
"""

import time
from typing import Any

from kodosumi_prefect import budgets
from kodosumi_prefect.adapter.capture import owner
from kodosumi_prefect.events import Event, Kind
from kodosumi_prefect.scope import Scope, current_scope, event_source
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.spans.recording import Place, Span
from kodosumi_prefect.spooler.client import get_client


def scope_here() -> Scope | None:
    """The run that the calling code works for, in a thread of its own too; None outside of runs."""
    return owner() or current_scope()


def record(scope: Scope, payload: str, ts: float | None = None) -> None:
    """Put the payload of a ``span`` event into the stream of a run.

    Arguments:
        ts: epoch seconds; now if not given.
    """
    when = time.time() if ts is None else ts
    event = Event(when, Kind.SPAN, payload, scope.attempt, event_source(scope))
    get_client().emit(scope.fid, event)


def place_here(*, refusing: bool = False) -> Place | None:
    """Where spans of the calling code go; None outside of runs.

    Arguments:
        refusing: a spent budget of the run refuses calls of models, by raising at their begin.
    """
    scope = scope_here()
    if scope is None or not (settings := get_settings()).enabled:
        return None
    fid = scope.fid
    return Place(
        fid,
        lambda payload: record(scope, payload),
        settings,
        None,
        check=lambda: budgets.check_here(fid) if refusing else None,
        called=lambda: budgets.called(fid),
    )


def span_here(
    name: str,
    type: str = "custom",
    input: Any = None,
    *,
    model: str | None = None,
    provider: str | None = None,
    refusing: bool = False,
) -> Span | None:
    """A span of the run that the calling code works for, not begun; None outside of runs.

    Arguments:
        As ``Tracer.span``, and ``place_here``.
    """
    place = place_here(refusing=refusing)
    return None if place is None else Span(lambda: place, name, type, input, model, provider)
