"""Answers that are a whole page, or the part of one that a script asked for."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from pydantic import ValidationError

from kodosumi_prefect.panel.web.templating import page


def part_or_page(
    request: Request, whole: str, part: str, context: dict[str, Any], *, wrong: bool = False
) -> Response:
    """The template ``part`` for htmx, ``whole`` for a browser without script; 422 if ``wrong``."""
    name = part if "hx-request" in request.headers else whole
    return page(request, name, context, status_code=422 if wrong else 200)


def complaints(exc: ValidationError, words: Mapping[str, str]) -> dict[str, str]:
    """What is wrong by field, in the page's own words where it has some."""
    by_field = {}
    for error in exc.errors(include_input=False, include_url=False, include_context=False):
        field = str(error["loc"][0]) if error["loc"] else ""
        by_field[field] = words.get(field) or sentence(error["msg"])
    return by_field


def sentence(text: str) -> str:
    """With a capital at its beginning and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
