"""OpenAI's chat completions: https://platform.openai.com/docs/api-reference/chat."""

import json
from collections.abc import Iterator
from typing import Any

from tests.frameworks.wire_reply import Reply


def _usage(reply: Reply) -> dict[str, Any]:
    given, made, cached, reasoning = reply.tokens
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
    }


def _calls(reply: Reply, number: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{number}_{index}",
            "type": "function",
            "function": {"name": asked.name, "arguments": json.dumps(asked.arguments)},
        }
        for index, asked in enumerate(reply.tools)
    ]


def whole(reply: Reply, body: dict[str, Any], number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.tools:
        message["tool_calls"] = _calls(reply, number)
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": f"{body['model']}-2026-01-01",
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if reply.tools else "stop",
                "logprobs": None,
            }
        ],
        "usage": _usage(reply),
    }


def events(reply: Reply, body: dict[str, Any], number: int) -> Iterator[str]:
    wants_usage = (body.get("stream_options") or {}).get("include_usage")
    chunk: dict[str, Any] = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": f"{body['model']}-2026-01-01",
    }
    if wants_usage:
        chunk["usage"] = None

    def told(delta: dict[str, Any], reason: str | None = None) -> str:
        return _event({**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    yield told({"role": "assistant", "content": ""})
    for piece in reply.pieces:
        yield told({"content": piece})
    for index, call in enumerate(_calls(reply, number)):
        arguments = call["function"]["arguments"]
        begun = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        yield told({"tool_calls": [begun]})
        for part in (arguments[:4], arguments[4:]):
            yield told({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield told({}, "tool_calls" if reply.tools else "stop")
    if wants_usage:
        yield _event({**chunk, "choices": [], "usage": _usage(reply)})
    yield "data: [DONE]\n\n"


def refusal(reply: Reply) -> dict[str, Any]:
    code = "rate_limit_exceeded" if reply.status == 429 else "server_error"
    return {"error": {"message": "Too much", "type": code, "param": None, "code": code}}


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"
