"""What handlers get of what is posted, and what is refused."""

import json
import time
from typing import Annotated
from uuid import UUID

import pytest
from pydantic import BaseModel

from kodosumi_prefect import forms as F

ID = str(UUID(int=1))


def chosen(*names):
    """As the upload field posts files of these names."""
    items = {
        str(UUID(int=number)): {"filename": name, "totalChunks": 1}
        for number, name in enumerate(names, 2)
    }
    return json.dumps({"batchId": ID, "items": items})


def read(element, *given):
    """The value of one field; without ``given`` nothing is posted for it."""
    return F.Model(element).read({element.name: given[0]} if given else {})[element.name]


def refusal(element, *given):
    with pytest.raises(F.InputsError) as caught:
        read(element, *given)
    [message] = caught.value.errors.pop(element.name)
    assert not caught.value.errors
    return message


OPTIONS = [F.InputOption("a", "A"), F.InputOption("b", "B")]


@pytest.mark.parametrize(
    ("element", "given", "value"),
    [
        (F.InputText("x"), "", ""),
        (F.InputText("x"), " a ", " a "),
        (F.InputText("x"), 5, "5"),
        (F.InputText("x", pattern="a|b"), "b", "b"),
        (F.InputText("x", pattern="[a-z]+"), "", ""),
        (F.InputArea("x", max_length=3), "a\r\nb", "a\r\nb"),
        (F.InputPassword("x", max_length=2), "😀", "😀"),
        (F.InputNumber("x"), "3", 3),
        (F.InputNumber("x"), "3.0", 3.0),
        (F.InputNumber("x"), "-1e3", -1000.0),
        (F.InputNumber("x"), 7, 7),
        (F.InputNumber("x"), "", None),
        (F.InputNumber("x", step=0.1), "0.3", 0.3),
        (F.InputNumber("x", min_value=1, step=2), "5", 5),
        (F.InputDate("x"), "2026-02-28", "2026-02-28"),
        (F.InputTime("x"), "14:30", "14:30"),
        (F.InputTime("x", min_time="22:00", max_time="06:00"), "23:30", "23:30"),
        (F.InputDateTime("x"), "2026-02-28T14:30", "2026-02-28T14:30"),
        (F.InputDateTime("x", step=60), "2026-02-28T14:30", "2026-02-28T14:30"),
        (F.Checkbox("x"), "on", True),
        (F.Checkbox("x"), True, True),
        (F.Checkbox("x"), "off", False),
        (F.Checkbox("x"), "true", False),
        (F.Checkbox("x"), 1, False),
        (F.Checkbox("x"), None, False),
        (F.Checkbox("x"), [], False),
        (F.Select("x", OPTIONS), "b", "b"),
        (F.Select("x", OPTIONS), "", None),
        (F.Select("x", [F.InputOption("", "none"), *OPTIONS]), "", ""),
        (F.Action("x", "1"), "1", "1"),
        (F.InputFiles("x"), "", None),
        (F.InputFiles("x"), '{"batchId": "b", "items": {}}', set()),
        (
            F.InputFiles("x"),
            f'{{"batchId": "{ID}", "items": {{"{ID}": {{"filename": "a"}}}}}}',
            {"a"},
        ),
        (F.InputFiles("x"), {"batchId": ID, "items": {ID: {"filename": "d/a"}}}, {"d/a"}),
        (  # as Kodosumi's page sends it
            F.InputFiles("x"),
            f'{{"batchId": "{ID}", "items": {{"{ID}": {{"filename": "a", "totalChunks": 0}}}},'
            ' "name": "x"}',
            {"a"},
        ),
    ],
)
def test_a_value_is_read_as_its_type(element, given, value):
    found = read(element, given)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "element",
    [F.InputText("x"), F.InputNumber("x"), F.InputDate("x"), F.Select("x", OPTIONS)],
    ids=lambda element: element.type,
)
def test_what_was_not_posted_is_none(element):
    assert read(element) is None


@pytest.mark.parametrize(
    ("element", "given", "message"),
    [
        (F.InputText("x", required=True), "", "is required"),
        (F.InputText("x", required=True), None, "is required"),
        (F.InputNumber("x", required=True), "", "is required"),
        (F.InputText("x"), ["a"], "must be text, not a list"),
        (F.InputText("x"), {"a": 1}, "must be text, not an object"),
        (F.InputText("x"), True, "must be text, not yes or no"),
        (F.InputText("x"), "a\0b", "NUL"),
        (F.InputArea("x"), "a\ud800b", "surrogate"),
        (F.InputText("x", pattern="[a-z]+"), "abc1", "does not match"),
        (F.InputText("x", pattern="a|b"), "ab", "does not match"),
        (F.InputText("x", pattern="a"), "a\n", "does not match"),
        (F.InputText("x", pattern=r"\d+"), "٣", "does not match"),
        (F.InputArea("x", max_length=2), "abc", "at most 2"),
        (F.InputPassword("x", min_length=3), "ab", "at least 3"),
        (F.InputNumber("x"), "abc", "'abc', which is not a number"),
        (F.InputNumber("x"), "nan", "not a number"),
        (F.InputNumber("x"), "inf", "not a number"),
        (F.InputNumber("x"), "1_000", "not a number"),
        (F.InputNumber("x"), "9" * 5000, "not a number"),
        (F.InputNumber("x"), "1e999", "not a finite number"),
        (F.InputNumber("x"), float("nan"), "not a finite number"),
        (F.InputNumber("x"), 10**500, "too many digits"),
        (F.InputNumber("x", step=7), 10**200, "multiple of 7"),
        (F.InputNumber("x"), True, "must be a number, not yes or no"),
        (F.InputNumber("x", min_value=1), "0", "at least 1"),
        (F.InputNumber("x", max_value=1.5), "2", "at most 1.5"),
        (F.InputNumber("x", step=1), "1.5", "multiple of 1"),
        (F.InputNumber("x", min_value=1, step=2), "2", "1 plus a multiple of 2"),
        (F.InputDate("x"), "2026-02-30", "not a date"),
        (F.InputDate("x"), "rubbish", "not a date"),
        (F.InputDate("x"), 20260101, "not a number"),
        (F.InputDate("x", min_date="2026-01-01"), "2025-12-31", "before 2026-01-01"),
        (F.InputDate("x", max_date="2026-01-01"), "2026-01-02", "after 2026-01-01"),
        (F.InputTime("x"), "25:00", "not a time"),
        (F.InputTime("x", min_time="22:00", max_time="06:00"), "12:00", "from 22:00 to 06:00"),
        (F.InputTime("x", step=1800), "12:10", "step of 1800"),
        (F.InputDateTime("x"), "2026-01-01", "not a date and time"),
        (F.InputDateTime("x", max_datetime="2026-01-01T00:00"), "2026-01-01T00:01", "after"),
        (F.Select("x", OPTIONS), "c", "not one of the options"),
        (F.Select("x", OPTIONS), ["a"], "must be text"),
        (F.Action("x"), 3, "button"),
        (F.InputFiles("x"), "f.txt", "upload them first"),
        (F.InputFiles("x"), "[1]", "not a list"),
        (F.InputFiles("x"), "[" * 100_000, "upload them first"),
        (F.InputFiles("x"), ["f.txt"], "not a list"),
        (F.InputFiles("x"), {"batchId": ID, "items": [1]}, "its items are a list"),
        (F.InputFiles("x"), {"batchId": ID, "items": {"../x": {}}}, "no upload's id"),
        (F.InputFiles("x"), {"batchId": ID, "items": {ID: {"filename": 1}}}, "no filename"),
        (F.InputFiles("x"), {"batchId": ID, "items": {ID: {"filename": "a\0"}}}, "NUL"),
        (F.InputFiles("x"), {"items": {ID: {"filename": "a"}}}, "without the batchId"),
        (F.InputFiles("x"), {"batchId": "../x", "items": {ID: {"filename": "a"}}}, "the batchId"),
        (F.InputFiles("x", required=True), "", "is required"),
        (F.InputFiles("x", required=True), {"batchId": ID, "items": {}}, "is required"),
        (F.InputFiles("x"), chosen("a", "b"), "takes one file, not 2"),
        (F.InputFiles("x", multiple=True, max_files=1), chosen("a", "b"), "takes one file"),
        (F.InputFiles("x", directory=True, max_files=2), chosen("a", "b", "c"), "at most 2 files"),
        (F.InputFiles("x", multiple=True), chosen("a", "a"), "two files of the same name"),
        (F.InputFiles("x", accept=".pdf, image/*"), chosen("a.txt"), "does not take a.txt"),
        (F.InputFiles("x", accept=".pdf"), chosen("a"), "does not take a"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_at_its_field(element, given, message):
    assert message in refusal(element, given)


def test_files_are_taken_by_suffix_or_media_type():
    form = F.Model(F.InputFiles("x", multiple=True, accept=".PDF, image/*,text/markdown"))
    assert form.inputs({"x": chosen("a.pdf", "b.png", "c.md")}) == {"x": {"a.pdf", "b.png", "c.md"}}


def test_a_form_tells_what_was_chosen_in_each_field():
    form = F.Model(F.InputFiles("one", max_bytes=5), F.InputFiles("none"), F.InputText("text"))
    posted = {"one": chosen("a.txt"), "none": "", "text": "x"}
    [sent] = form.sent_files(posted)
    assert (sent.field, sent.batch, sent.max_bytes) == ("one", ID, 5)
    assert list(sent.names.values()) == ["a.txt"]


def test_text_of_a_schema_can_be_names_of_files():
    class Papers(BaseModel):
        papers: Annotated[list[str], F.Files(accept=".pdf", max_files=2, max_bytes=9)]
        cover: Annotated[str, F.Files(accept="image/*")] | None = None

    form = F.from_pydantic(Papers)
    _, papers, cover, _ = form.get_model()
    limits = {"accept": ".pdf", "max_files": 2, "max_bytes": 9}
    assert papers["type"] == "file" and papers["multiple"] and papers["required"]
    assert papers.items() >= limits.items()
    assert not cover["multiple"] and not cover["required"]
    posted = {"papers": chosen("b.pdf", "a.pdf"), "cover": chosen("c.png")}
    assert form.read(posted) == {"papers": ["a.pdf", "b.pdf"], "cover": "c.png"}
    assert F.from_pydantic(Papers).read({"papers": chosen("a.pdf")}) == {"papers": ["a.pdf"]}
    with pytest.raises(F.InputsError, match="at most 2 files"):
        form.read({"papers": chosen("a.pdf", "b.pdf", "c.pdf")})


def test_a_password_that_does_not_fit_is_not_repeated():
    said = refusal(F.InputPassword("x", pattern="[a-z]+", min_length=3), "Secret9")
    assert "Secret9" not in said


def test_all_that_is_wrong_is_told_at_once():
    form = F.Model(F.InputText("a", required=True), F.InputNumber("b"), F.InputText("c"))
    with pytest.raises(F.InputsError) as caught:
        form.read({"b": "x", "c": "fine"})
    assert set(caught.value.errors) == {"a", "b"}


def test_what_the_form_does_not_have_is_left_out():
    form = F.Model(F.InputText("a"), F.Submit("Go"))
    assert form.read({"a": "x", "z": 1, "_global_": 2}) == {"a": "x"}


POSTED = {
    "t": "",
    "n": "3",
    "d": "2026-01-31",
    "at": "10:00",
    "due": "2026-01-31T10:00",
    "s": "b",
    "box": "on",
    "do": "save",
    "p": "secret",
}
ALL_KINDS = F.Model(
    F.Markdown("# All"),
    F.InputText("t"),
    F.InputNumber("n", min_value=1),
    F.InputDate("d"),
    F.InputTime("at"),
    F.InputDateTime("due"),
    F.Select("s", OPTIONS),
    F.Checkbox("box"),
    F.Checkbox("other"),
    F.Action("do", "save"),
    F.InputPassword("p"),
    F.Submit("Go"),
)


def test_a_handler_gets_what_a_browser_posted_and_whether_boxes_are_ticked():
    assert ALL_KINDS.inputs(POSTED) == POSTED | {"box": True, "other": False}


def test_a_handler_gets_what_a_program_posted_as_it_was():
    posted = {"t": 5, "n": 3, "d": None, "box": True}
    inputs = ALL_KINDS.inputs(posted)
    assert inputs == dict.fromkeys(POSTED) | posted | {"other": False}
    assert type(inputs["n"]) is int


def test_a_handler_gets_what_the_form_does_not_have_behind_what_it_has():
    form = F.Model(F.Errors(), F.InputText("a"))
    assert list(form.inputs({"z": [1], "a": "x"}).items()) == [
        ("_global_", None),
        ("a", "x"),
        ("z", [1]),
    ]
    assert "_global_" not in F.Model(F.InputText("a")).inputs({})


@pytest.mark.parametrize("given", ["0", "x", 0])
def test_what_a_handler_gets_is_checked_by_its_type(given):
    with pytest.raises(F.InputsError) as caught:
        ALL_KINDS.inputs({"n": given})
    assert set(caught.value.errors) == {"n"}


def test_of_several_buttons_the_one_pressed_counts():
    form = F.Model(F.Action("do", "save", text="Save"), F.Action("do", "drop", text="Drop"))
    assert form.read({"do": "drop"}) == {"do": "drop"}


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+b", "(.*a){20}"])
def test_a_text_made_to_hold_up_a_pattern_is_refused_soon(pattern):
    began = time.process_time()
    assert "does not match" in refusal(F.InputText("x", pattern=pattern), "a" * 5000 + "!")
    assert time.process_time() - began < 5


def test_a_pattern_that_is_none_is_ignored_as_browsers_do():
    assert read(F.InputText("x", pattern="("), "anything") == "anything"


def test_patterns_may_use_nested_sets():
    element = F.InputText("x", pattern="[[a-z]--[aeiou]]+")
    assert read(element, "xyz") == "xyz"
    assert "does not match" in refusal(element, "abc")


def test_five_megabytes_are_read_or_refused_soon():
    form = F.Model(F.InputArea("a"), F.InputNumber("n"), F.InputText("t", pattern="[a-z]*"))
    began = time.process_time()
    with pytest.raises(F.InputsError) as caught:
        form.read({"a": "x" * 5_000_000, "n": "9" * 5_000_000, "t": "a" * 5_000_000})
    assert set(caught.value.errors) == {"n"}
    assert len(str(caught.value)) < 500
    assert time.process_time() - began < 5
