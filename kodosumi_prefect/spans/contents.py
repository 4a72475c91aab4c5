"""What is kept of prompts, answers, and what tools were given and gave: one rule, applied first.

It is applied in the process that made them, before they are in any buffer, file or message.
"""

import importlib
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, cast

from kodosumi_prefect.events import json_text
from kodosumi_prefect.settings import Settings

LEFT_OUT = json.dumps("left out: span_redaction failed")

Direction = Literal["input", "output"]
Redaction = Callable[[Any, str, str], Any]


def kept(value: Any, direction: Direction, span: str, settings: Settings) -> str | None:
    """What is kept of a content, as JSON text; None if nothing is.

    Arguments:
        span: its name.
    """
    if value is None or settings.span_contents == "none":
        return None
    if settings.span_redaction is not None:
        try:
            value = _function(settings.span_redaction)(value, direction, span)
        except Exception:  # the author's own; what it was to hide must not be seen for it
            return LEFT_OUT
        if value is None:
            return None
    text = json_text(value)
    most = settings.span_content_characters
    if settings.span_contents == "full" or len(text) <= most:
        return text
    shown = value if isinstance(value, str) else text
    return json_text(f"{shown[:most]}… {len(shown) - most:,} more characters")


@lru_cache(maxsize=16)
def _function(name: str) -> Redaction:
    module, _, attribute = name.partition(":")
    return cast("Redaction", getattr(importlib.import_module(module), attribute))
