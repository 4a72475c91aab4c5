"""What people typed, among a flow's parameters: data at any depth, nothing that Prefect acts on.

Where a flow's parameters are validated, Prefect loads a block for each object with the key ``$ref``
and puts it in the object's place. So that key travels with a backslash before it, and a key that
is ``$ref`` behind backslashes with one more of them; whoever executes the run takes one away. All
other values, and so nearly every run, travel as they are.
"""

import re
from types import MappingProxyType
from typing import Any, cast

from prefect.flows import Flow
from prefect.utilities.collections import visit_collection

from kodosumi_prefect._compat.prefect import load_block, replace_validation

REFERENCE = "$ref"  # the key by which Prefect knows an object that stands for a block
_ESCAPED = re.compile(r"\\+\$ref", re.DOTALL)


def escaped(value: Any) -> Any:
    """A JSON value as it travels through Prefect; ``opened`` is the exact inverse."""
    if isinstance(value, dict):
        return {_hidden(key): escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [escaped(item) for item in value]
    return value


def opened(value: Any) -> Any:
    """A JSON value as somebody typed it, of how it travelled."""
    if isinstance(value, dict):
        return {_unescaped_key(key): opened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [opened(item) for item in value]
    return value


def refers(value: Any) -> bool:
    """Whether Prefect would load a block for something in a JSON value."""
    if isinstance(value, dict):
        return REFERENCE in value or any(map(refers, value.values()))
    return isinstance(value, list | tuple) and any(map(refers, value))


def is_escaped(value: Any) -> bool:
    """Whether ``opened`` would change a JSON value."""
    if isinstance(value, dict):
        return any(_unescaped_key(key) != key for key in value) or any(
            map(is_escaped, value.values())
        )
    return isinstance(value, list) and any(map(is_escaped, value))


def reading_literally(flow: "Flow[..., Any]") -> "Flow[..., Any]":
    """A copy of a flow that gets what ``escaped`` hid as it was typed.

    Blocks that the parameters refer to openly, such as a deployment's own, are loaded as always.
    """
    copy = flow.with_options()

    def validated(parameters: dict[str, Any]) -> dict[str, Any]:
        return validated_data(flow, opened(_with_blocks(parameters)))

    replace_validation(copy, validated)
    return copy


def validated_data(flow: "Flow[..., Any]", parameters: dict[str, Any]) -> dict[str, Any]:
    """A flow's parameters as pydantic has them; what looks like a block's address is data."""
    # Prefect looks for references in dicts only, not in other mappings.
    data = cast("dict[str, Any]", MappingProxyType(parameters))
    return flow.validate_parameters(data)


def _with_blocks(parameters: dict[str, Any]) -> dict[str, Any]:
    """As ``Flow.validate_parameters`` begins."""

    def loaded(value: Any) -> Any:
        if isinstance(value, dict) and REFERENCE in value:
            return load_block(value[REFERENCE])
        return value

    unescaped: dict[str, Any] = visit_collection(parameters, loaded, return_data=True)
    return unescaped


def _hidden(key: Any) -> Any:
    if key == REFERENCE or (isinstance(key, str) and _ESCAPED.fullmatch(key)):
        return f"\\{key}"
    return key


def _unescaped_key(key: Any) -> Any:
    return key[1:] if isinstance(key, str) and _ESCAPED.fullmatch(key) else key
