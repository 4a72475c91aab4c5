"""What is kept of prompts, answers, and what tools were given and gave: one rule, applied first.

It is applied in the process that made them, before they are in any buffer, file or message.
"""

import importlib
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, cast

import orjson

from kodosumi_prefect.events import Kind, State, json_text, plain, serialize
from kodosumi_prefect.settings import Settings

LEFT_OUT = "left out: redaction failed"
TEXTS = frozenset({Kind.STDOUT, Kind.STDERR, Kind.DEBUG, Kind.ERROR})
REDACTED = TEXTS | {Kind.AGENT, Kind.ACTION, Kind.RESULT}

Direction = Literal["input", "output"]
Redaction = Callable[[Any, str, str | None], Any]


def kept(
    value: Any, direction: Direction, span: str, settings: Settings, *, tree: bool = False
) -> str | None:
    """What is kept of a content, as JSON text; None if nothing is.

    Arguments:
        span: its name.
        tree: whether it consists of JSON's types, no part in two places, as read from JSON.
    """
    if value is None or settings.span_contents == "none":
        return None
    value = _redacted(value, direction, span, settings)
    if value is None:
        return None
    if tree and settings.redaction is None and settings.span_contents == "full":
        return _tree_text(value)
    return json_text(bounded(value, settings))


def bounded(value: Any, settings: Settings) -> Any:
    """As much of a content as ``span_contents`` lets be kept; None if nothing."""
    if settings.span_contents == "full" or value is None:
        return value
    if settings.span_contents == "none":
        return None
    most = settings.span_content_characters
    text = value if isinstance(value, str) else json_text(value)
    if len(text) <= most:
        return value
    return f"{text[:most]}… {len(text) - most:,} more characters"


def _tree_text(value: Any) -> str:
    """As ``json_text``, in a fraction of the time."""
    try:
        text = orjson.dumps(value).decode()
    except (TypeError, ValueError, RecursionError):
        return json_text(value)
    return json_text(value) if "\\u0000" in text else text


def kept_payload(kind: str, payload: str, settings: Settings) -> str | None:
    """What the redaction leaves of an event's payload; None if nothing."""
    if settings.redaction is None or kind not in REDACTED:
        return payload
    if kind in TEXTS:
        text = _redacted(payload, kind, None, settings)
        return None if text is None else plain(text)
    [(name, given)] = json.loads(payload).items()
    value = _redacted(given, kind, None, settings)
    if value is None:
        return None
    if type(value) is not type(given):
        return serialize(value)
    return f"{{{json.dumps(name)}: {json_text(value)}}}"


def kept_state(state: State, settings: Settings) -> State:
    """A state of Prefect's with what the redaction leaves of its message."""
    if settings.redaction is None or not state.message:
        return state
    message = kept_payload(Kind.ERROR, state.message, settings)
    return state._replace(message=LEFT_OUT if message is None else message)


def _redacted(value: Any, what: str, span: str | None, settings: Settings) -> Any:
    if settings.redaction is None:
        return value
    try:
        return _function(settings.redaction)(value, what, span)
    except Exception:  # the author's own; what it was to hide must not be seen for it
        return LEFT_OUT


@lru_cache(maxsize=16)
def _function(name: str) -> Redaction:
    module, _, attribute = name.partition(":")
    return cast("Redaction", getattr(importlib.import_module(module), attribute))
