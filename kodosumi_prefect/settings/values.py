"""Values that fields of several areas take: lists of names, networks, bytes."""

import json
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic_settings import NoDecode

MEBIBYTE = 1024 * 1024

Names = Annotated[list[str], NoDecode]  # also as text, separated by commas


def split_names(value: Any) -> Any:
    """Names that are separated by commas, or a JSON list, as a list; anything else as it is."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [name.strip() for name in value.split(",") if name.strip()]


def check_networks(value: list[str]) -> list[str]:
    """Refuse what is not a network; raises ValueError."""
    for name in value:
        try:
            ip_network(name, strict=False)
        except ValueError as exc:
            raise ValueError(f"{name!r} is not a network; write one such as 10.0.0.0/8") from exc
    return value
