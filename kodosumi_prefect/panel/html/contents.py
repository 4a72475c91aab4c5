"""What went into a span or came out of it, in the ways that people look at it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from markupsafe import Markup

from kodosumi_prefect.panel.html.chat import AS_MARKDOWN, chat_html, messages
from kodosumi_prefect.panel.html.markdown import markdown
from kodosumi_prefect.panel.html.values import MAX_RENDERED, preformatted, value_html

LARGEST = 5 * MAX_RENDERED  # characters of JSON; of what is larger only the beginning is shown


class View(NamedTuple):
    """One way to look at it."""

    key: str
    title: str
    html: Markup


def views(value: Any) -> list[View]:
    """The ways there are to look at a value, the best one first; none for what was not kept."""
    if value is None:
        return []
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    plain = View("json", "JSON", Markup(preformatted(text)))
    if len(text) > LARGEST:
        return [plain]
    found = []
    if isinstance(value, str):
        found.append(View("text", "Text", Markup(_text(value))))
    elif conversation := messages(value):
        found.append(View("chat", "Chat", Markup(chat_html(conversation))))
    if isinstance(value, Mapping | list) and value:
        found.append(View("table", "Table", Markup(value_html(value, 0))))
    return [*found, plain]


def _text(value: str) -> str:
    if len(value) > AS_MARKDOWN:
        return preformatted(value)
    return f'<div class="markdown">{markdown(value)}</div>'
