"""Events without prompts and answers, as retention leaves them."""

import orjson

from kodosumi_prefect.events import Kind

WITH_CONTENTS = frozenset({Kind.SPAN, Kind.ACTION})
LEFT_OUT = '{"str": "left out: older than content_retention_days"}'  # a payload
CONTENTS = frozenset({"input", "output"})


def without_contents(kind: str, payload: str) -> str:
    """The payload of a ``span`` or ``action`` event without prompts and answers."""
    if kind == Kind.ACTION:
        return LEFT_OUT
    try:
        body = orjson.loads(payload)
        kept = {name: said for name, said in body["Span"].items() if name not in CONTENTS}
        if kept.keys() == body["Span"].keys():
            return payload
        return orjson.dumps({**body, "Span": kept}).decode()
    except (ValueError, TypeError, KeyError, AttributeError):
        return LEFT_OUT  # of no format that we know
