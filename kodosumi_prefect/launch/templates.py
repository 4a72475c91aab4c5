"""Parameters that Prefect's server would take for templates of its own."""

import json
from typing import Any

KEY = "__prefect_kind"  # Prefect evaluates objects with this key: variables, Jinja, JSON


def literal(value: Any) -> Any:
    """``value`` so that Prefect hands it on as it is.

    Whoever fills in a form must not read Prefect's variables by it.
    """
    if not _has_template(value):
        return value
    return {KEY: "json", "value": json.dumps(value)}


def _has_template(value: Any) -> bool:
    if isinstance(value, dict):
        return KEY in value or any(_has_template(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_has_template(item) for item in value)
