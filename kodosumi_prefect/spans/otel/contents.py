"""What went into a span of OpenTelemetry and came out of it, in whichever dialect it says so.

Messages are kept as their dialect has them: a list of objects with a role, and text, calls of tools
and what tools answered. Attributes that count messages up become such lists.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

Attributes = Mapping[str, Any]
Events = Iterable[tuple[str, Attributes]]

LONGEST_JSON = 20_000_000  # characters of a text that is read as JSON
HIGHEST = 10_000  # number of a message, a call, a document that is read

# Each in the order in which they count.
INPUTS = (
    *("gen_ai.input.messages", "gen_ai.tool.call.arguments", "gen_ai.retrieval.query.text"),
    *("input.value", "tool_arguments", "tool.parameters", "traceloop.entity.input"),
    *("langfuse.observation.input", "gen_ai.task.input", "gen_ai.prompt"),
    *("ai.prompt.messages", "ai.prompt", "ai.toolCall.args", "ai.value", "ai.values"),
    *("reranker.query", "pydantic_ai.all_messages", "all_messages_events", "db.query.text"),
)
OUTPUTS = (
    *("gen_ai.output.messages", "gen_ai.tool.call.result", "gen_ai.retrieval.documents"),
    *("output.value", "tool_response", "traceloop.entity.output"),
    *("langfuse.observation.output", "gen_ai.task.output", "gen_ai.completion", "final_result"),
    *("ai.response.text", "ai.response.object", "ai.response.toolCalls", "ai.toolCall.result"),
)
# Counted up: the beginning of the names, and what stands before the fields of each.
COUNTED_INPUTS = (
    ("gen_ai.prompt.", ""),
    ("llm.input_messages.", "message."),
    ("embedding.embeddings.", "embedding."),
)
COUNTED_OUTPUTS = (
    ("gen_ai.completion.", ""),
    ("llm.output_messages.", "message."),
    ("retrieval.documents.", "document."),
    ("reranker.output_documents.", "document."),
)
COUNTED_UP = tuple(beginning for beginning, _ in (*COUNTED_INPUTS, *COUNTED_OUTPUTS))
NOT_KEPT = frozenset({"vector"})  # of embeddings: numbers that nobody reads
INSTRUCTIONS = "gen_ai.system_instructions"
# Events whose attributes are as good as the span's own.
DETAILS = frozenset(
    {
        *("gen_ai.client.inference.operation.details", "gen_ai.content.prompt"),
        "gen_ai.content.completion",
    }
)
# Events that are a message each.
MESSAGES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CHOICE = "gen_ai.choice"
LISTED_EVENTS = "events"  # pydantic-ai and Logfire keep them in an attribute
_EVENT_CONTENT = "gen_ai.event.content"  # likewise Azure's, a message in JSON
NAMES_OF_CONTENTS = frozenset({*INPUTS, *OUTPUTS, INSTRUCTIONS, LISTED_EVENTS})


def input_of(attributes: Attributes, events: Events = ()) -> Any:
    """What went in; None if it is not said."""
    said = _first(attributes, INPUTS[:3])
    if said is None:
        said = _counted(attributes, COUNTED_INPUTS) or _spoken(attributes, events)[0] or None
    if said is None:
        said = _first(attributes, INPUTS[3:])
    before = json_of(attributes.get(INSTRUCTIONS))
    if before is not None and isinstance(said, list):
        parts = before if isinstance(before, list) else [{"type": "text", "content": before}]
        return [{"role": "system", "parts": parts}, *said]
    return said


def output_of(attributes: Attributes, events: Events = ()) -> Any:
    """What came out; None if it is not said."""
    said = _first(attributes, OUTPUTS[:3])
    if said is None:
        said = _counted(attributes, COUNTED_OUTPUTS) or _spoken(attributes, events)[1] or None
    return _first(attributes, OUTPUTS[3:]) if said is None else said


def with_details(attributes: Attributes, events: Events) -> Attributes:
    """The attributes of a span with those that its events add."""
    added = [more for name, more in events if name in DETAILS and more]
    if not added:
        return attributes
    return {key: value for more in (*added, attributes) for key, value in more.items()}


def json_of(value: Any) -> Any:
    """What a text of JSON says; another text, and what is none, as it is."""
    if not isinstance(value, str) or not value[:1].strip() or value[0] not in '{["':
        return list(value) if isinstance(value, tuple) else value
    if len(value) > LONGEST_JSON:
        return value
    try:
        return orjson.loads(value)
    except ValueError:  # that it is none, or is as only Python writes it
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value


def _first(attributes: Attributes, names: Iterable[str]) -> Any:
    for name in names:
        if (value := attributes.get(name)) is not None and value != "":
            return json_of(value)
    return None


def _counted(attributes: Attributes, kinds: Iterable[tuple[str, str]]) -> list[Any] | None:
    """The first list among attributes that count one up, such as ``gen_ai.prompt.0.role``."""
    if ".0" not in "\n".join(attributes):
        return None
    for beginning, prefix in kinds:
        names = [name for name in attributes if name.startswith(beginning)]
        if names:
            tree: dict[str, Any] = {}
            for name in names:
                _put(tree, name.removeprefix(beginning), attributes[name])
            items = _listed(tree, prefix)
            return items if isinstance(items, list) else [items]
    return None


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    """Put a value where its name says, but fields that have dots of their own."""
    *way, last = name.split(".")
    for part in way:
        further = tree.setdefault(part, {})
        if not isinstance(further, dict):
            return
        tree = further
    tree.setdefault(last, value)


def _listed(value: Any, prefix: str = "") -> Any:
    """A tree whose keys are numbers as a list, without ``prefix`` before the fields of each."""
    if not isinstance(value, dict):
        return json_of(value)
    if value and all(key.isdecimal() and int(key) <= HIGHEST for key in value):
        return [_listed(_inner(value[key], prefix)) for key in sorted(value, key=int)]
    kept = {key: _listed(_unwrapped(item)) for key, item in value.items() if key not in NOT_KEPT}
    return kept


def _inner(item: Any, prefix: str) -> Any:
    """What is in an object of one field, such as ``message``."""
    name = prefix.rstrip(".")
    return item[name] if name and isinstance(item, dict) and item.keys() == {name} else item


def _unwrapped(item: Any) -> Any:
    """OpenInference's lists without the name before the fields of each of their items."""
    if not isinstance(item, dict) or not item or not all(key.isdecimal() for key in item):
        return item
    names = {name for one in item.values() if isinstance(one, dict) for name in one}
    [name] = names if len(names) == 1 else [""]
    if name not in ("tool_call", "message_content"):
        return item
    return {key: _inner(one, name) for key, one in item.items()}


def _spoken(attributes: Attributes, events: Events) -> tuple[list[Any], list[Any]]:
    """The messages that events are: those that went in, and those that came out."""
    went: list[Any] = []
    came: list[Any] = []
    listed = json_of(attributes.get(LISTED_EVENTS))
    if isinstance(listed, list):
        events = [
            *events,
            *((str(one.get("event.name")), one) for one in listed if isinstance(one, dict)),
        ]
    for name, more in events:
        if name == CHOICE:
            came.append(_message(more, "assistant"))
        elif name in MESSAGES:
            went.append(_message(more, MESSAGES[name]))
    return went, came


def _message(event: Attributes, role: str) -> Any:
    content = json_of(event.get(_EVENT_CONTENT))
    fields = {
        key: json_of(value)
        for key, value in (content if isinstance(content, dict) else event).items()
        if not key.startswith(("event.", "gen_ai.", "logfire."))
    }
    if not isinstance(content, dict) and content is not None:
        fields["content"] = content
    inner = fields.get("message")
    if isinstance(inner, dict):
        fields = {**{key: value for key, value in fields.items() if key != "message"}, **inner}
    return {"role": role, **fields}
