"""What an agent did: calls of models and tools, as a tree of spans in the stream of its run."""

from kodosumi_prefect.spans.span import SpanStatus, SpanType, Usage

__all__ = ["SpanStatus", "SpanType", "Usage"]
