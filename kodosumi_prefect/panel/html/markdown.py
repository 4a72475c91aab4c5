"""Markdown, and HTML that agents wrote, as HTML that is safe to put into a page."""

from collections.abc import Sequence
from functools import cache
from html import escape
from textwrap import dedent

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from kodosumi_prefect.panel.html.sanitise import is_picture, sanitise
from kodosumi_prefect.panel.html.values import MAX_RENDERED, preformatted


def markdown(text: str) -> str:
    """CommonMark with tables and strikethrough; its HTML is sanitised, not forbidden."""
    if len(text) > MAX_RENDERED:
        return preformatted(text)
    return _reachable(sanitise(_parser().render(dedent(text))))


def html(text: str) -> str:
    """HTML that an agent wrote, sanitised."""
    return preformatted(text) if len(text) > MAX_RENDERED else _reachable(sanitise(text))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True, "breaks": True})
    parser.enable(["table", "strikethrough"])
    parser.add_render_rule("image", _image)
    parser.add_render_rule("th_open", _aligned)
    parser.add_render_rule("td_open", _aligned)
    return parser


def _reachable(html: str) -> str:
    """Sanitised HTML whose code, which may scroll sideways, is reached by the keyboard."""
    return html.replace("<pre>", '<pre tabindex="0">')


def _image(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    environment: EnvType,
) -> str:
    """An image that would have to be fetched becomes a link; ``sanitise`` says why."""
    source = str(tokens[index].attrGet("src") or "")
    if is_picture(source):
        return renderer.image(tokens, index, options, environment)
    words = tokens[index].content or source
    return f'<a href="{escape(source)}">{escape(words)}</a>'


def _aligned(
    renderer: RendererHTML,
    tokens: Sequence[Token],
    index: int,
    options: OptionsDict,
    environment: EnvType,
) -> str:
    """A table cell's alignment as an attribute: styles are not let through."""
    token = tokens[index]
    if style := token.attrs.pop("style", None):
        token.attrSet("align", str(style).removeprefix("text-align:"))
    return renderer.renderToken(tokens, index, options, environment)
