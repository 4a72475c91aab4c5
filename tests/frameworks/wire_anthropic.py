"""Anthropic's messages: https://docs.anthropic.com/en/api/messages."""

import json
from collections.abc import Iterator
from typing import Any

from tests.frameworks.wire_reply import Reply


def _usage(reply: Reply) -> dict[str, Any]:
    given, made, cached, _ = reply.tokens  # Anthropic's input is without what was cached
    return {
        "input_tokens": given - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": made,
    }


def _blocks(reply: Reply, number: int) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
    return blocks + [
        {
            "type": "tool_use",
            "id": f"toolu_{number}_{index}",
            "name": asked.name,
            "input": asked.arguments,
        }
        for index, asked in enumerate(reply.tools)
    ]


def whole(reply: Reply, body: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": f"{body['model']}-20260101",
        "content": _blocks(reply, number),
        "stop_reason": "tool_use" if reply.tools else "end_turn",
        "stop_sequence": None,
        "usage": _usage(reply),
    }


def events(reply: Reply, body: dict[str, Any], number: int) -> Iterator[str]:
    def told(kind: str, **more: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n"

    message = whole(reply, body, number)
    begun = {**message, "content": [], "stop_reason": None}
    yield told("message_start", message={**begun, "usage": {**_usage(reply), "output_tokens": 1}})
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            start = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in reply.pieces]
        else:
            start = {**block, "input": {}}
            arguments = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": arguments}]
        yield told("content_block_start", index=index, content_block=start)
        for delta in deltas:
            yield told("content_block_delta", index=index, delta=delta)
        yield told("content_block_stop", index=index)
    yield told(
        "message_delta",
        delta={"stop_reason": message["stop_reason"], "stop_sequence": None},
        usage={"output_tokens": reply.tokens[1]},
    )
    yield told("message_stop")


def refusal(reply: Reply) -> dict[str, Any]:
    kind = "rate_limit_error" if reply.status == 429 else "api_error"
    return {"type": "error", "error": {"type": kind, "message": "Too much"}, "request_id": "req_1"}
