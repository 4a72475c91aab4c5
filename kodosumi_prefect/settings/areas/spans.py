"""What is kept of what models and tools were given, and gave."""

from typing import Literal

from pydantic import BaseModel, Field, field_validator

from kodosumi_prefect.settings.values import Names, split_names

# Libraries whose spans are recorded without a change to the author's code.
SOURCES = (
    *("opentelemetry", "crewai", "langchain", "openai-agents", "pydantic-ai"),
    *("openai", "anthropic"),
)


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
    redaction: str | None = Field(
        default=None,
        description=(
            "`module:function` through which goes what spans keep, and what runs print, log and "
            "record as agent, action, result, error and final, before it is recorded. It is called "
            'with the value, with "input", "output" or "error" and the span\'s name, or with the '
            "event's kind and None, and returns what is kept; None keeps nothing. If it fails, the "
            "value is left out."
        ),
        pattern=r"^[\w.]+:\w+$",
    )
    content_retention_days: float | None = Field(
        default=None,
        description=(
            "Days after an execution's end for which prompts and answers are kept: what spans "
            "were given and gave, and action events. Tokens, costs and results stay. Set it lower "
            "than retention_days. Unset, they are kept as long as the execution."
        ),
        gt=0,
    )
    span_sources_off: Names = Field(
        default=[],
        description=(
            f"Libraries whose spans are not recorded, of {', '.join(SOURCES)}. Unset, all are that "
            "a run uses."
        ),
    )

    _span_sources = field_validator("span_sources_off", mode="before")(split_names)

    @field_validator("span_sources_off")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in SOURCES:
                raise ValueError(f"{name!r} is none of {', '.join(SOURCES)}")
        return value
