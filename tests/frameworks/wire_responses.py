"""OpenAI's responses: https://platform.openai.com/docs/api-reference/responses."""

import json
from collections.abc import Iterator
from typing import Any

from tests.frameworks.wire_chat import refusal
from tests.frameworks.wire_reply import Reply

__all__ = ["events", "refusal", "whole"]


def _output(reply: Reply, number: int, status: str = "completed") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if reply.text:
        items.append(
            {
                "id": f"msg_{number}",
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [{"type": "output_text", "text": reply.text, "annotations": []}],
            }
        )
    for index, asked in enumerate(reply.tools):
        items.append(
            {
                "id": f"fc_{number}_{index}",
                "type": "function_call",
                "status": status,
                "call_id": f"call_{number}_{index}",
                "name": asked.name,
                "arguments": json.dumps(asked.arguments),
            }
        )
    return items


def whole(reply: Reply, body: dict[str, Any], number: int, *, done: bool = True) -> dict[str, Any]:
    given, made, cached, reasoning = reply.tokens
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed" if done else "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "model": f"{body['model']}-2026-01-01",
        "output": _output(reply, number) if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "usage": {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": reasoning},
            "total_tokens": given + made,
        }
        if done
        else None,
    }


def events(reply: Reply, body: dict[str, Any], number: int) -> Iterator[str]:
    order = iter(range(1000))

    def told(kind: str, **more: Any) -> str:
        data = {"type": kind, "sequence_number": next(order), **more}
        return f"event: {kind}\ndata: {json.dumps(data)}\n\n"

    yield told("response.created", response=whole(reply, body, number, done=False))
    for index, item in enumerate(_output(reply, number)):
        of = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            begun = {**item, "status": "in_progress", "content": []}
            yield told("response.output_item.added", output_index=index, item=begun)
            empty = {"type": "output_text", "text": "", "annotations": []}
            yield told("response.content_part.added", **of, content_index=0, part=empty)
            for piece in reply.pieces:
                yield told(
                    "response.output_text.delta", **of, content_index=0, delta=piece, logprobs=[]
                )
            yield told(
                "response.output_text.done", **of, content_index=0, text=reply.text, logprobs=[]
            )
            part = item["content"][0]
            yield told("response.content_part.done", **of, content_index=0, part=part)
        else:
            begun = {**item, "status": "in_progress", "arguments": ""}
            yield told("response.output_item.added", output_index=index, item=begun)
            arguments = item["arguments"]
            yield told("response.function_call_arguments.delta", **of, delta=arguments)
            yield told(
                "response.function_call_arguments.done",
                **of,
                name=item["name"],
                arguments=arguments,
            )
        yield told("response.output_item.done", output_index=index, item=item)
    yield told("response.completed", response=whole(reply, body, number))
