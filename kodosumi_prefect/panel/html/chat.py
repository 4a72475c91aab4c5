"""What went into models and came out of them, as a conversation, whichever library wrote it.

Read are the messages of OpenAI's two APIs, Anthropic's, those of OpenTelemetry's GenAI conventions,
LangChain's and pydantic-ai's, by what they have in common: a role, and text, calls of tools and
what tools answered.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Literal, NamedTuple

from kodosumi_prefect.panel.html.markdown import markdown
from kodosumi_prefect.panel.html.values import cut, preformatted

MOST = 500  # messages of one conversation that a page shows
AS_MARKDOWN = 20_000  # characters of a text; what is longer is shown as it is

# Where a conversation lies in what a library gives a model or gets from it.
_LISTS = ("messages", "input", "output", "choices", "contents", "generations")
_BEFORE = ("system", "instructions")  # what stands before it
_ROLES = {
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "request": "user",
    "response": "assistant",
    "developer": "system",
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "AIMessageChunk": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
}
_KNOWN = frozenset(_ROLES) | {"user", "assistant", "system", "tool", "function"}
_CALLS = frozenset({"tool_use", "tool_call", "tool-call", "function_call", "server_tool_use"})
_ANSWERS = frozenset(
    {"tool_result", "tool_call_response", "tool-return", "function_call_output", "tool_response"}
)
_PROMPTS = {"system-prompt": "system", "user-prompt": "user", "tool-return": "tool"}

Piece = Literal["text", "call", "answer", "value"]


class Part(NamedTuple):
    """A piece of a message; ``name`` is that of the tool, where there is one."""

    piece: Piece
    name: str
    content: Any


class Message(NamedTuple):
    """What one side said."""

    role: str
    parts: list[Part]


def messages(value: Any) -> list[Message] | None:
    """The conversation that a span's input or output is; None if it is none."""
    if isinstance(value, Mapping):
        for key in _LISTS:
            listed = value.get(key)
            if isinstance(listed, list) and (found := _messages(listed)):
                before = [
                    Message("system", _parts(value[name])) for name in _BEFORE if value.get(name)
                ]
                return before + found
        one = _message(value)
        return one or None
    return _messages(value) if isinstance(value, list) else None


def chat_html(conversation: Sequence[Message]) -> str:
    """A conversation for a page; nothing in it is run or loaded."""
    shown = "".join(_message_html(message) for message in conversation[:MOST])
    missing = len(conversation) - MOST
    more = f'<p class="empty">… and {missing:,} more messages</p>' if missing > 0 else ""
    return f'<div class="chat">{shown}</div>{more}'


def _messages(items: list[Any]) -> list[Message] | None:
    """All items as messages, or none of them."""
    found: list[Message] = []
    for item in items:
        read = _messages(item) if isinstance(item, list) else _message(item)
        if not read:
            return None
        found += read
    return found or None


def _message(item: Any) -> list[Message]:
    """The message that an item is; pydantic-ai puts several sides into one."""
    if not isinstance(item, Mapping):
        return []
    for inner in ("message", "kwargs"):
        if isinstance(item.get(inner), Mapping):
            of_class = item["id"][-1] if isinstance(item.get("id"), list) and item["id"] else None
            return _message({"type": of_class} | dict(item[inner]))
    type_ = item.get("type")
    if type_ in _CALLS:
        return [Message("assistant", [_call(item)])]
    if type_ in _ANSWERS:
        return [Message("tool", [_answer(item)])]
    if type_ == "reasoning":
        return [Message("assistant", _parts(item.get("summary") or item.get("content") or []))]
    word = next((w for w in (item.get("role"), type_, item.get("kind")) if w in _KNOWN), None)
    if word is None:
        return []
    role = _ROLES.get(str(word), str(word))
    if isinstance(item.get("parts"), list):
        return list(_sides(role, item["parts"]))
    parts = _parts(item.get("content", item.get("text")))
    if role in ("tool", "function"):
        name = str(item.get("name") or "")
        parts = [Part("answer", name, part.content) for part in parts]
    parts += [_call(call) for call in item.get("tool_calls") or [] if isinstance(call, Mapping)]
    return [Message(role, parts)]


def _sides(role: str, parts: list[Any]) -> Iterator[Message]:
    """Parts of a message, those of another side apart, as pydantic-ai has them."""
    for part in parts:
        word = part.get("part_kind") if isinstance(part, Mapping) else None
        yield Message(_PROMPTS.get(str(word), role), _parts([part]))


def _parts(content: Any) -> list[Part]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [Part("text", "", content)]
    if isinstance(content, list):
        return [part for item in content for part in _part(item)]
    return _part(content)


def _part(item: Any) -> list[Part]:
    if not isinstance(item, Mapping):
        return [Part("text" if isinstance(item, str) else "value", "", item)]
    type_ = item.get("type") or item.get("part_kind")
    if type_ in _CALLS:
        return [_call(item)]
    if type_ in _ANSWERS:
        return [_answer(item)]
    for key in ("text", "content", "thinking"):
        if isinstance(item.get(key), str):
            return [Part("text", "", item[key])]
        if isinstance(item.get(key), list):
            return _parts(item[key])
    return [Part("value", "", item)]


def _call(item: Mapping[str, Any]) -> Part:
    function = item.get("function")
    of = function if isinstance(function, Mapping) else item
    name = of.get("name") or of.get("tool_name") or ""
    keys = ("arguments", "args", "input")
    given = next((of[key] for key in keys if of.get(key) is not None), None)
    return Part("call", str(name), _read(given))


def _answer(item: Mapping[str, Any]) -> Part:
    keys = ("content", "output", "result", "response")
    given = next((item[key] for key in keys if item.get(key) is not None), None)
    return Part("answer", str(item.get("name") or item.get("tool_name") or ""), _read(given))


def _read(text: Any) -> Any:
    """What tools are given comes as JSON in a text."""
    if not isinstance(text, str) or text[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _message_html(message: Message) -> str:
    role = message.role if message.role in _KNOWN else "other"
    body = "".join(_part_html(part) for part in message.parts)
    return (
        f'<div class="said {role}"><p class="who">{escape(message.role)}</p>'
        f"{body or '<p class=empty>nothing</p>'}</div>"
    )


def _part_html(part: Part) -> str:
    if part.piece == "call":
        name = escape(cut(part.name, 300))
        return f'<p class="call">calls <code>{name}</code></p>{_value_html(part.content)}'
    if part.piece == "answer" and part.name:
        name = escape(cut(part.name, 300))
        return f'<p class="call"><code>{name}</code> answers</p>{_value_html(part.content)}'
    if part.piece == "text" and isinstance(part.content, str):
        if len(part.content) <= AS_MARKDOWN:
            return f'<div class="markdown">{markdown(part.content)}</div>'
        return preformatted(part.content)
    return _value_html(part.content)


def _value_html(value: Any) -> str:
    if value is None or value == {}:
        return ""
    if isinstance(value, str):
        return preformatted(value)
    return preformatted(json.dumps(value, ensure_ascii=False, indent=2))
