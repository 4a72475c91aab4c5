"""What is kept of prompts, answers, and what tools were given and gave: one rule, applied first.

It is applied in the process that made them, before they are in any buffer, file or message.
"""

import importlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, Literal, cast

import orjson

from kodosumi_prefect.events import Kind, State, clean, describe, json_text, plain, serialize
from kodosumi_prefect.settings import Settings

LEFT_OUT = "left out: redaction failed"
LEFT_OUT_BY_SETTING = "left out: span_contents is none"
TEXTS = frozenset({Kind.STDOUT, Kind.STDERR, Kind.DEBUG, Kind.ERROR})
REDACTED = TEXTS | {Kind.AGENT, Kind.ACTION, Kind.RESULT, Kind.FINAL}
_TYPE = re.compile(r"[A-Za-z_][\w.]*(?=:|$)")  # of an error, before its message
_MARK = "_kodosumi_quotes_contents"  # at an exception

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


def kept_error(error: str | None, span: str, settings: Settings) -> str | None:
    """What is kept of the line that says why a span failed, which may quote what went in.

    Without contents it is the error's type.
    """
    if error is None:
        return None
    if settings.span_contents == "none":
        named = _TYPE.match(error)
        return named.group() if named is not None else LEFT_OUT_BY_SETTING
    kept_line = bounded(_redacted(error, Kind.ERROR, span, settings), settings)
    return None if kept_line is None else plain(kept_line)


def mark_quoting(error: BaseException, settings: Settings) -> None:
    """Note of an exception that ended a span that its message may quote contents not kept."""
    if settings.span_contents != "full":
        with suppress(AttributeError, TypeError):  # of a class with slots
            setattr(error, _MARK, True)


def without_quotes(text: str, error: BaseException, settings: Settings) -> str:
    """A text about an exception, with as much of its message as its span kept of that.

    Arguments:
        error: what it is about; what it came from, and what it is a group of, count as well.
    """
    if settings.span_contents == "full":
        return text
    for one in _chain(error):
        message = describe(one)
        if not getattr(one, _MARK, False) or not message:
            continue
        left = bounded(message, settings)
        text = text.replace(clean(message), LEFT_OUT_BY_SETTING if left is None else left)
    return text


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it tells of, each once."""
    left, known = [error], set[int]()
    while left:
        one = left.pop()
        if id(one) in known:
            continue
        known.add(id(one))
        yield one
        more = [one.__cause__, one.__context__, getattr(one, "cause", None)]
        more += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        left += [each for each in more if isinstance(each, BaseException)]


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
