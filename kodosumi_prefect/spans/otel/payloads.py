"""The two events of a span of OpenTelemetry."""

from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spans.contents import kept, kept_error
from kodosumi_prefect.spans.otel.dialects import Told
from kodosumi_prefect.spans.span import SpanType, begin_payload, end_payload


def begin_of(told: Told, id_: str, parent: str | None, settings: Settings) -> str:
    """What the event at its begin says; ``told`` is what was known then."""
    return begin_payload(
        id_,
        told.name,
        told.type,
        parent=parent,
        model=told.model,
        provider=told.provider,
        contents=kept(told.input, "input", told.name, settings, tree=True),
    )


def end_of(
    told: Told, id_: str, settings: Settings, *, began: float | None, begin: Told | None
) -> str:
    """What the event at its end says.

    Arguments:
        began: epoch seconds.
        begin: what was said at its begin; what the end knows better is said again.
    """
    name = told.name if begin is None or begin.name != told.name else None
    differs = begin is None or begin.type != told.type
    late = begin is None or begin.input is None
    return end_payload(
        id_,
        told.status,
        name=name,
        type_=told.type if differs and told.type is not SpanType.CUSTOM else None,
        began=began,
        model=told.model,
        provider=told.provider,
        response=told.response,
        usage=told.usage,
        cost=told.cost,
        contents=kept(told.output, "output", told.name, settings, tree=True),
        input_contents=kept(told.input, "input", told.name, settings, tree=True) if late else None,
        error=kept_error(told.error, told.name, settings),
    )
