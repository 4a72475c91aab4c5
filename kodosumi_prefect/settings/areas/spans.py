"""What is kept of what models and tools were given, and gave."""

from typing import Literal

from pydantic import BaseModel, Field


class SpanFields(BaseModel):
    """What is kept of what models and tools were given, and gave."""

    span_contents: Literal["full", "cut", "none"] = Field(
        default="full",
        description=(
            "What spans keep of prompts, answers, and what tools were given and gave: all of it, "
            "its beginning (`cut`), or nothing. Applied in the process that runs the flow."
        ),
    )
    span_content_characters: int = Field(
        default=2000, description="Characters of each that `cut` keeps.", ge=1
    )
    span_redaction: str | None = Field(
        default=None,
        description=(
            "`module:function` through which each of them goes before it is recorded. It is called "
            'with the value, "input" or "output", and the span\'s name, and returns what is kept; '
            "None keeps nothing. If it fails, the content is left out."
        ),
        pattern=r"^[\w.]+:\w+$",
    )
