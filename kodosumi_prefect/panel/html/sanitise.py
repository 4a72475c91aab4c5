"""What HTML from payloads may contain: texts, tables and pictures, nothing that acts."""

from collections.abc import Callable

import nh3

_TAGS = """
    a abbr b blockquote br caption cite code col colgroup dd del details dfn div dl dt em
    figcaption figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp
    small span strong sub summary sup table tbody td tfoot th thead time tr u ul var
"""
TAGS = set(_TAGS.split())
ATTRIBUTES = {
    "a": {"href", "title"},
    "abbr": {"title"},
    "col": {"span"},
    "colgroup": {"span"},
    "details": {"open"},
    "img": {"src", "alt", "title", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan", "align"},
    "th": {"colspan", "rowspan", "align", "scope"},
    "time": {"datetime"},
}
PICTURES = tuple(f"data:image/{kind}" for kind in ("png", "jpeg", "gif", "webp", "avif", "svg+xml"))


def sanitise(html: str) -> str:
    """``html`` with everything taken out that could run, load, submit or imitate the panel.

    Only listed tags and attributes stay; no ``style``, ``class`` or ``id``, so that a payload
    cannot dress up as a part of the page. Links open elsewhere (``rel="noopener"``).

    Images stay only if the payload holds them (``data:``): a browser fetches ``https:`` images by
    itself, so a text that an agent was tricked into writing could carry what the run knows to
    anybody's server, and tell when it is read. An SVG inside ``<img>`` runs no script.
    """
    return nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_checked,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def _checked(tag: str, attribute: str, value: str) -> str | None:
    """The attribute's value, or None to drop it."""
    test = _TESTS.get((tag, attribute))
    return value if test is None or test(value) else None


def is_picture(url: str) -> bool:
    """Whether an image source holds the image itself."""
    return url.strip().lower().startswith(PICTURES)


def _is_link(url: str) -> bool:
    return not url.strip().lower().startswith("data:")


_TESTS: dict[tuple[str, str], Callable[[str], bool]] = {
    ("a", "href"): _is_link,
    ("img", "src"): is_picture,
    ("img", "width"): str.isdecimal,
    ("img", "height"): str.isdecimal,
}
