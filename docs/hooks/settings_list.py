"""Every setting on the page of settings, read from the class that has them."""

import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from kodosumi_prefect.settings import MEBIBYTE, PREFIX, Settings

PAGE = "settings.md"
PLACE = "<!-- every setting -->"
_WORDS = {bool: "on or off", int: "whole number", float: "number", str: "text", Path: "path"}
_BOUNDS: dict[type, tuple[str, str]] = {
    Ge: ("at least", "ge"),
    Gt: ("more than", "gt"),
    Le: ("at most", "le"),
    Lt: ("less than", "lt"),
}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the list in its place."""
    if page.file.src_uri != PAGE:
        return markdown
    if PLACE not in markdown:
        raise PluginError(f"docs/{PAGE} has no line {PLACE}")
    entries = [_entry(name, field) for name, field in Settings.model_fields.items()]
    return markdown.replace(PLACE, "\n".join(entries))


def _entry(name: str, field: FieldInfo) -> str:
    facts = [
        _type(field.annotation),
        *_bounds(field),
        f"default {_default(field.get_default(call_default_factory=True))}",
    ]
    variable = f"{PREFIX}{name.upper()}"
    return f"### {name}\n\n`{variable}`  \n{', '.join(facts)}\n\n{field.description or ''}\n"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(each) for each in arguments if each is not type(None))
    if origin is list:
        return "list separated by commas, or a JSON list"
    if origin is dict:
        return "JSON object of texts, secrets"
    if annotation is SecretStr:
        return "text, a secret"
    return _WORDS[annotation]


def _bounds(field: FieldInfo) -> list[str]:
    found = []
    for bound in field.metadata:
        if type(bound) in _BOUNDS:
            words, name = _BOUNDS[type(bound)]
            found.append(f"{words} {getattr(bound, name):,g}")
    return found


def _default(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == {}:
        return "empty"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value) or "empty"
    if isinstance(value, int) and value >= MEBIBYTE:
        return f"`{value}` ({value // MEBIBYTE:,} MiB)"
    return f"`{value}`"
