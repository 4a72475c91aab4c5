"""Forms as people get them: labelled, escaped, with errors beside their fields."""

import json
from html.parser import HTMLParser

import pytest

from kodosumi_prefect import forms as F
from kodosumi_prefect.panel.html.forms import form_html

NASTY = "\"><script>alert('x')</script>&"

EVERYTHING = F.Model(
    F.Markdown("# Title\n\nwith *stress*"),
    F.Errors(),
    F.InputText("text", "Text", "first", True, "hint", 20, "[a-z]+"),
    F.InputPassword("password", "Password", "never shown", min_length=3, max_length=9),
    F.InputNumber("number", "Number", 3, min_value=0, max_value=9, step=0.5),
    F.InputArea("area", "Area", "\nfirst line empty", rows=4, cols=30, max_length=99),
    F.Break(),
    F.InputDate("date", "Date", "2026-01-31", min_date="2026-01-01"),
    F.InputTime("time", "Time", "14:30", step=60),
    F.InputDateTime("moment", "Moment", "2026-01-31T14:30"),
    F.HR(),
    F.Checkbox("plain"),
    F.Checkbox("box", "Send it", "Delivery", True),
    F.Select("choice", [F.InputOption("a", "A"), F.InputOption("b", "B")], "Choice", "b"),
    F.InputFiles("files", "Files", multiple=True),
    F.HTML("<p>some <b>HTML</b></p>"),
    F.Submit("Go"),
    F.Action("do", "draft", text="Save draft"),
    F.Cancel("Never mind"),
)


class Page(HTMLParser):
    """The elements of a piece of HTML, each ``(tag, attributes, text)``."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.open = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))
        if tag not in ("input", "hr", "br", "img"):
            self.open.append(self.found[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for each in self.open:
            each[2].append(data)

    def all(self, tag, **wanted):
        return [
            (attributes, "".join(text))
            for name, attributes, text in self.found
            if name == tag and wanted.items() <= attributes.items()
        ]

    def one(self, tag, **wanted):
        if "name" in wanted:
            wanted["name"] = f"field.{wanted['name']}"
        [found] = self.all(tag, **wanted)
        return found


def page(model, errors=None, values=None):
    return Page(form_html(model.get_model(), errors, values))


def test_every_element_is_drawn():
    drawn = page(EVERYTHING)
    text, _ = drawn.one("input", name="text")
    assert text.items() >= {
        ("type", "text"),
        ("value", "first"),
        ("required", None),
        ("placeholder", "hint"),
        ("size", "20"),
        ("pattern", "[a-z]+"),
    }
    password, _ = drawn.one("input", name="password")
    assert (password["type"], password["minlength"], password["maxlength"]) == (
        "password",
        "3",
        "9",
    )
    assert "value" not in password
    number, _ = drawn.one("input", name="number")
    assert (number["value"], number["min"], number["max"], number["step"]) == ("3", "0", "9", "0.5")
    area, words = drawn.one("textarea", name="area")
    assert (area["rows"], area["cols"], area["maxlength"]) == ("4", "30", "99")
    assert words == "\n\nfirst line empty"  # the parser of a browser drops one line break
    assert drawn.one("input", name="date")[0]["min"] == "2026-01-01"
    assert drawn.one("input", name="time")[0]["step"] == "60"
    assert drawn.one("input", name="moment")[0]["value"] == "2026-01-31T14:30"
    assert "checked" not in drawn.one("input", name="plain")[0]
    assert "checked" in drawn.one("input", name="box")[0]
    assert "selected" in drawn.one("option", value="b")[0]
    assert "selected" not in drawn.one("option", value="a")[0]
    assert "multiple" in drawn.one("input", type="file")[0]
    # The script sends what uploads are called; without it the files themselves are sent.
    assert drawn.one("input", type="file")[0]["name"] == "files.files"
    assert drawn.one("input", name="files")[0].items() >= {("type", "hidden"), ("value", "")}
    assert drawn.all("h1")[0][1] == "Title"
    assert drawn.one("b")[1] == "HTML"
    assert drawn.one("button", name="do")[0]["value"] == "draft"
    assert [text for _, text in drawn.all("button")] == ["Go", "Save draft"]
    assert drawn.one("a", href=".")[1] == "Never mind"


def test_every_field_has_a_label_of_its_own():
    drawn = page(EVERYTHING)
    inputs = [each for each in drawn.all("input") if each[0]["type"] != "hidden"]
    fields = [*inputs, *drawn.all("select"), *drawn.all("textarea")]
    ids = [attributes["id"] for attributes, _ in fields]
    assert len(set(ids)) == len(ids) == 11
    labels = {attributes.get("for"): text for attributes, text in drawn.all("label")}
    for attributes, _ in fields:
        if attributes["type" if "type" in attributes else "id"] != "checkbox":
            assert labels[attributes["id"]].strip()
    box, _ = drawn.one("input", name="box")
    named = [drawn.all("span", id=box["aria-labelledby"].split()[0])[0][1]]
    named += [drawn.all("label", id=box["aria-labelledby"].split()[1])[0][1].strip()]
    assert named == ["Delivery", "Send it"]


def test_files_that_were_uploaded_are_shown_again():
    sent = json.dumps({"batchId": "b", "items": {"u": {"filename": "<a>.txt", "totalChunks": 1}}})
    form = F.Model(F.InputFiles("files", "Files", required=True, accept=".txt", max_bytes=2048))
    drawn = Page(str(form_html(form.get_model(), {"files": ["is wrong"]}, {"files": sent})))
    assert drawn.one("input", name="files")[0]["value"] == sent
    assert drawn.one("span", **{"class": "name"})[1] == "<a>.txt"
    field, _ = drawn.one("input", type="file")
    assert "required" not in field and field["accept"] == ".txt" and field["aria-invalid"] == "true"
    assert "Up to 2.0 KiB each" in drawn.one("p", **{"class": "sub drop"})[1]
    for rubbish in ("x", "[1]", '{"items": 3}', '{"items": {"u": 1}}', 7):
        assert form_html(form.get_model(), None, {"files": rubbish})


def test_errors_are_linked_to_their_fields():
    errors = {"text": ["is bad", "is worse"], "choice": ["is none"], "_global_": ["try again"]}
    drawn = page(EVERYTHING, errors | {"elsewhere": ["is wrong"]})
    field, _ = drawn.one("input", name="text")
    assert field["aria-invalid"] == "true"
    assert drawn.one("ul", id=field["aria-describedby"])[1] == "is badis worse"
    assert drawn.one("select", name="choice")[0]["aria-invalid"] == "true"
    assert "aria-invalid" not in drawn.one("input", name="number")[0]
    assert drawn.one("div", role="alert")[1] == "try againelsewhere: is wrong"


def test_errors_of_no_field_come_first_where_the_form_has_no_place_for_them():
    html = form_html(F.Model(F.InputText("a")).get_model(), {"_global_": ["try again"]})
    assert html.index("try again") < html.index("<input")


def test_what_was_filled_in_is_shown_again_and_passwords_are_not():
    values = {"text": "mine", "password": "secret9", "plain": "on", "choice": "a", "area": "more"}
    drawn = page(EVERYTHING, None, values)
    assert drawn.one("input", name="text")[0]["value"] == "mine"
    assert "value" not in drawn.one("input", name="password")[0]
    assert "checked" in drawn.one("input", name="plain")[0]
    assert "checked" not in drawn.one("input", name="box")[0]
    assert "selected" in drawn.one("option", value="a")[0]
    assert "selected" not in drawn.one("option", value="b")[0]
    assert drawn.one("textarea", name="area")[1] == "\nmore"
    assert drawn.one("input", name="number")[0]["value"] == "3"
    assert "never shown" not in form_html(EVERYTHING.get_model(), None, values)


def test_a_form_without_a_button_gets_one():
    assert page(F.Model(F.InputText("a"))).one("button")[1] == "Submit"


def test_nothing_of_a_form_gets_out_of_its_place():
    model = F.Model(
        F.HTML(NASTY + '<img src=x onerror="alert(1)"><a href="javascript:alert(1)">a</a>'),
        F.Markdown(NASTY + "[a](javascript:alert(1))"),
        F.InputText(NASTY, NASTY, NASTY, placeholder=NASTY, pattern=NASTY, size=NASTY),
        F.InputPassword(NASTY, min_length=NASTY),
        F.InputNumber(NASTY, value=NASTY, step=NASTY),
        F.InputArea(NASTY, value="</textarea>" + NASTY, rows=NASTY),
        F.InputDate(NASTY, value=NASTY),
        F.InputTime(NASTY, value=NASTY),
        F.InputDateTime(NASTY, value=NASTY),
        F.Checkbox(NASTY, NASTY, NASTY),
        F.Select(NASTY, [F.InputOption(NASTY, NASTY)], NASTY, NASTY),
        F.InputFiles(NASTY, NASTY),
        F.Submit(NASTY),
        F.Action(NASTY, NASTY, text=NASTY),
        F.Cancel(NASTY),
    )
    html = form_html(model.get_model(), {NASTY: [NASTY], "_global_": [NASTY]}, {NASTY: NASTY})
    drawn = Page(html)
    assert not drawn.all("script")
    for tag, attributes, _ in drawn.found:
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        assert not str(attributes.get("href", "")).startswith("javascript")


@pytest.mark.parametrize(
    "junk",
    [
        {},
        {"type": "hologram", "text": "x"},
        {"type": "text"},
        {"type": "select", "name": "x", "option": "abc"},
        {"type": "select", "name": "x", "option": [{"type": "text", "name": "y"}]},
        {"type": "select", "name": "x", "option": None},
        {"type": "text", "name": ["x"], "label": {"a": 1}, "value": [1]},
        {"type": ["text"]},
        "text",
        None,
    ],
    ids=str,
)
def test_a_broken_element_does_not_break_the_form(junk):
    html = form_html([junk, {"type": "text", "name": "fine"}])
    assert Page(html).one("input", name="fine")


def test_what_to_know_of_a_field_stands_below_its_label_and_stays():
    days = F.InputNumber("days", "Days", placeholder="in days")
    days.help = f"in days{NASTY}"
    size = F.Select("size", [F.InputOption("s")])
    size.help = "see the list"
    drawn = Page(form_html(F.Model(days, size).get_model(), {"size": ["is bad"]}))
    (field, _) = drawn.one("input", id="field-0")
    assert drawn.one("p", id=field["aria-describedby"])[1] == f"in days{NASTY}"
    assert field["placeholder"] == "in days"
    (chosen, _) = drawn.one("select", id="field-1")
    described = chosen["aria-describedby"].split()
    assert [drawn.one(tag, id=id_)[1] for tag, id_ in zip(["p", "ul"], described, strict=True)] == [
        "see the list",
        "is bad",
    ]
