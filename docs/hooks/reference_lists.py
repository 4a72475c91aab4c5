"""Pages of the reference, read from what they describe: routes, commands, job variables."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from pydantic import SecretStr

from kodosumi_prefect.cli import app as command_line
from kodosumi_prefect.panel.web.app import create_app
from kodosumi_prefect.runner.worker import KodosumiRayWorker
from kodosumi_prefect.settings import Settings

ONE_SHAPE = "All have one shape, [Problem](#problem). An operation names those that it may answer."


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put each list in its place."""
    if page.file.src_uri not in LISTS:
        return markdown
    place, made = LISTS[page.file.src_uri]
    if place not in markdown:
        raise PluginError(f"docs/{page.file.src_uri} has no line {place}")
    return markdown.replace(place, made())


def routes() -> str:
    """Every operation of the panel's OpenAPI document, and the shapes that they name."""
    document = openapi()
    refused = _refused(document)
    areas: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            text = "\n".join(_operation(method.upper(), path, operation, refused))
            areas.setdefault(operation["tags"][0], []).append(text)
    rows = [[code, _cell(meaning)] for code, meaning in sorted(refused.items())]
    parts = [f"## Refusals\n\n{ONE_SHAPE}\n\n{_table(['answer', 'meaning'], rows)}"]
    parts += [f"## {area}\n\n" + "\n".join(areas[area]) for area in sorted(areas)]
    shapes = document["components"]["schemas"]
    parts.append("## Shapes\n\n" + "\n".join(_shape(name, shapes[name]) for name in sorted(shapes)))
    return "\n".join(parts)


def _refused(document: dict[str, Any]) -> dict[str, str]:
    """What each status from 400 on mostly means."""
    said: dict[str, Counter[str]] = {}
    for methods in document["paths"].values():
        for operation in methods.values():
            for code, answer in operation["responses"].items():
                if int(code) >= 400:
                    said.setdefault(code, Counter())[answer["description"]] += 1
    return {code: meanings.most_common(1)[0][0] for code, meanings in said.items()}


def openapi() -> dict[str, Any]:
    """The document that a panel answers at /openapi.json; no database is asked for it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            database_url=SecretStr("postgresql://app@127.0.0.1/app"), data_dir=Path(folder)
        )
        return dict(create_app(settings).openapi())


def commands() -> str:
    """Every command with what it takes."""
    text = command_line.generate_docs(output_format="markdown", heading_level=2)
    before, _, rest = text.partition("## Table of Contents\n")
    _, _, described = rest.partition("\n\n#")
    assert described, "cyclopts lists the contents in another way"
    flat = re.sub(r"^#+ ", "## ", f"{before}#{described.lstrip('#')}", flags=re.MULTILINE)
    return re.sub(r"^## ?kodosumi-prefect\n.*?(?=^## )", "", flat, flags=re.DOTALL | re.MULTILINE)


def job_variables() -> str:
    """Every variable of the job template of our work pools."""
    template = KodosumiRayWorker.get_default_base_job_template()
    rows = [
        [f"`{name}`", _type(field), _default(field), _cell(field.get("description"))]
        for name, field in template["variables"]["properties"].items()
    ]
    return _table(["variable", "type", "default", "meaning"], rows)


LISTS: dict[str, tuple[str, Callable[[], str]]] = {
    "reference/http.md": ("<!-- every route -->", routes),
    "reference/commands.md": ("<!-- every command -->", commands),
    "reference/job-variables.md": ("<!-- every job variable -->", job_variables),
}


def _operation(
    method: str, path: str, operation: dict[str, Any], refused: dict[str, str]
) -> Iterator[str]:
    yield f"### {method} {path}\n"
    yield f"{operation['summary']}.\n"
    if text := operation.get("description"):
        yield f"{text}\n"
    if parameters := operation.get("parameters"):
        rows = [
            [
                f"`{one['name']}`" + (" (required)" if one.get("required") else ""),
                one["in"],
                _type(one["schema"]),
                _cell(one.get("description")),
            ]
            for one in parameters
        ]
        yield _table(["parameter", "in", "type", "meaning"], rows)
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body, `{kind}`: {_type(content.get('schema', {}))}\n"
    answers = operation["responses"]
    usual = [code for code, one in answers.items() if refused.get(code) == one["description"]]
    own = [list(_answer(*each)) for each in answers.items() if each[0] not in usual]
    yield _table(["answer", "meaning"], own)
    if usual:
        yield f"Refusals: {', '.join(usual)}\n"


def _answer(code: str, answer: dict[str, Any]) -> Iterator[str]:
    yield code
    kinds = [
        f"`{kind}`: {_type(content['schema'])}" if content.get("schema") else f"`{kind}`"
        for kind, content in answer.get("content", {}).items()
    ]
    yield _cell("; ".join([answer["description"].rstrip("."), *kinds]))


def _shape(name: str, schema: dict[str, Any]) -> str:
    head = f"### {name}\n\n" + (f"{schema['description']}\n\n" if "description" in schema else "")
    if "properties" not in schema:
        return f"{head}{_type(schema)}\n"
    required = schema.get("required", [])
    rows = [
        [
            f"`{field}`" + ("" if field in required else " (optional)"),
            _type(of),
            _cell(of.get("description")),
        ]
        for field, of in schema["properties"].items()
    ]
    return head + _table(["field", "type", "meaning"], rows)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    if "enum" in schema:
        return " or ".join(f"`{word}`" if word != "" else "empty" for word in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}))}"
        case "object":
            fields = schema.get("properties", {})
            names = ", ".join(f"`{name}`" for name in fields)
            return f"object with {names}" if fields else "object"
        case "null":
            return "null"
        case None:
            return "anything"
        case kind:
            return str(schema.get("format", kind))


def _default(field: dict[str, Any]) -> str:
    return f"`{field['default']}`" if field.get("default") is not None else "unset"


def _cell(text: Any) -> str:
    return " ".join(str(text or "").split()).replace("|", "\\|").replace("{", "&#123;")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
