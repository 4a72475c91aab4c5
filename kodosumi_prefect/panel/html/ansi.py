"""Terminal colours of log lines as HTML."""

import re
from html import escape

_SEQUENCE = re.compile(
    r"\x1b\[([0-9;:]*)m"  # colours and weights
    r"|\x1b\[[0-9;:?<=>]*[ -/]*[@-~]"  # cursor movements and the like
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles and hyperlinks
    r"|\x1b[@-Z\\-_]?"
)
_WEIGHTS = {1: "bold", 2: "dim", 3: "italic", 4: "underline"}
_ENDED_BY = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",)}


def ansi_to_html(text: str) -> str:
    """``text`` escaped, with the 16 terminal colours as ``<span class="ansi-…">``.

    Colours of the 256 and 24-bit palettes and everything that moves a cursor are left out.
    """
    if "\x1b" not in text:
        return escape(text)
    parts: list[str] = []
    style: dict[str, str] = {}
    position = 0
    for match in _SEQUENCE.finditer(text):
        parts.append(_styled(text[position : match.start()], style))
        position = match.end()
        if match.group(1) is not None:
            _follow(style, match.group(1))
    parts.append(_styled(text[position:], style))
    return "".join(parts)


def without_ansi(text: str) -> str:
    """``text`` without terminal colours and movements of the cursor."""
    return _SEQUENCE.sub("", text) if "\x1b" in text else text


def _styled(text: str, style: dict[str, str]) -> str:
    if not text or not style:
        return escape(text)
    classes = " ".join(f"ansi-{name}" for name in style.values())
    return f'<span class="{classes}">{escape(text)}</span>'


def _follow(style: dict[str, str], codes: str) -> None:
    numbers = [int(code) if code.isdecimal() else 0 for code in re.split("[;:]", codes)]
    while numbers:
        code = numbers.pop(0)
        if code == 0:
            style.clear()
        elif code in _WEIGHTS:
            style[_WEIGHTS[code]] = _WEIGHTS[code]
        elif code in _ENDED_BY:
            for name in _ENDED_BY[code]:
                style.pop(name, None)
        elif code in range(30, 38) or code in range(90, 98):
            style["colour"] = str(code)
        elif code in (38, 48):
            del numbers[: 2 if numbers[:1] == [5] else 4]
            if code == 38:
                style.pop("colour", None)
        elif code == 39:
            style.pop("colour", None)
