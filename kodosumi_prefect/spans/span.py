"""Spans and the two events that each of them is: its begin and its end.

A ``span`` event's payload is ``{"Span": {"at": "begin" | "end", "id": …, …}}``. What the two say
adds up in any order: whoever reads only one of them knows a part.
"""

import math
import os
import random
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from kodosumi_prefect.events import plain

LONGEST_NAME = 500  # characters of names of spans, models, providers
LONGEST_ERROR = 2_000  # characters of the line that says why a span failed
LONGEST_ID = 64  # characters
MOST_TOKENS = 2**53  # what is above is no count


class SpanType(StrEnum):
    """What a span is."""

    AGENT = "agent"
    LLM = "llm"
    TOOL = "tool"
    RETRIEVAL = "retrieval"
    EMBEDDING = "embedding"
    CHAIN = "chain"
    TASK = "task"
    CUSTOM = "custom"


MODEL_CALLS = frozenset({SpanType.LLM, SpanType.EMBEDDING})  # what costs


class SpanStatus(StrEnum):
    """How a span ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"


class Usage(NamedTuple):
    """What a call of a model took, in tokens; None where that is not known.

    Attributes:
        input: of the prompt, those read from the provider's cache included.
        output: of the answer, those of reasoning included.
        cached: of ``input``, read from the provider's cache.
        reasoning: of ``output``, that nobody reads.
        written: of ``input``, written to the provider's cache.
    """

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    written: int | None = None


_TYPES: dict[str, SpanType] = {type_.value: type_ for type_ in SpanType}
_random = random.Random()  # seeded by the system, and again in a forked process
os.register_at_fork(after_in_child=_random.seed)


def new_id() -> str:
    """The id of a new span, 16 hexadecimal digits as OpenTelemetry has them; never zero."""
    return f"{_random.getrandbits(64) or 1:016x}"


def type_of(word: object) -> SpanType:
    """The type that a word names; what is unknown is ``custom``."""
    return _TYPES.get(word, SpanType.CUSTOM) if isinstance(word, str) else SpanType.CUSTOM


def begin_payload(
    id_: str,
    name: str,
    type_: str,
    *,
    parent: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    contents: str | None = None,
) -> str:
    """What the event at a span's begin says.

    Arguments:
        contents: what went in, as JSON text.
    """
    body: dict[str, Any] = {
        "at": "begin",
        "id": id_,
        "name": plain(name)[:LONGEST_NAME],
        "type": type_,
    }
    if parent is not None:
        body["parent"] = parent
    if model is not None:
        body["model"] = plain(model)[:LONGEST_NAME]
    if provider is not None:
        body["provider"] = plain(provider)[:LONGEST_NAME]
    if contents is not None:
        body["input"] = orjson.Fragment(contents)
    return orjson.dumps({"Span": body}).decode()


def end_payload(
    id_: str,
    status: str = SpanStatus.OK,
    *,
    name: str | None = None,
    type_: str | None = None,
    began: float | None = None,
    model: str | None = None,
    provider: str | None = None,
    response: str | None = None,
    usage: Usage | None = None,
    cost: float | None = None,
    contents: str | None = None,
    input_contents: str | None = None,
    error: str | None = None,
) -> str:
    """What the event at a span's end says.

    Arguments:
        name, type_: where they are better known than at its begin.
        began: when it began, in epoch seconds.
        response: the provider's id of its answer; two spans of one answer are counted once.
        cost: US dollars.
        contents: what came out, as JSON text.
        input_contents: what went in, where that was not known at its begin.
        error: why it failed, in one line.
    """
    body: dict[str, Any] = {"at": "end", "id": id_, "status": status}
    if type_ is not None:
        body["type"] = type_
    if began is not None:
        body["began"] = began
    if name is not None:
        body["name"] = plain(name)[:LONGEST_NAME]
    if model is not None:
        body["model"] = plain(model)[:LONGEST_NAME]
    if provider is not None:
        body["provider"] = plain(provider)[:LONGEST_NAME]
    if response is not None:
        body["response"] = plain(response)[:LONGEST_NAME]
    if usage is not None:
        body["usage"] = {
            key: tokens for key, tokens in usage._asdict().items() if count_of(tokens) is not None
        }
    if amount_of(cost) is not None:
        body["cost"] = cost
    if contents is not None:
        body["output"] = orjson.Fragment(contents)
    if input_contents is not None:
        body["input"] = orjson.Fragment(input_contents)
    if error is not None:
        body["error"] = plain(error)[:LONGEST_ERROR]
    return orjson.dumps({"Span": body}).decode()


def count_of(value: object) -> int | None:
    """A number of tokens; None for what is none, as a negative number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if math.isfinite(value) and 0 <= value < MOST_TOKENS else None


def amount_of(value: object) -> float | None:
    """An amount of money; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value < MOST_TOKENS else None
