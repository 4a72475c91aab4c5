"""Each element's JSON, which Kodosumi's clients draw."""

import datetime

import pytest

from kodosumi_prefect import forms as F

OPTION = {"type": "option", "name": "a", "label": "A", "value": False}


@pytest.mark.parametrize(
    ("element", "json"),
    [
        (F.HTML("<b>x</b>"), {"type": "html", "text": "<b>x</b>"}),
        (F.Markdown("# x"), {"type": "markdown", "text": "# x"}),
        (F.Break(), {"type": "break", "text": '<div class="space"></div>'}),
        (F.HR(), {"type": "hr", "text": '<hr class="medium"/>'}),
        (F.Errors(), {"type": "errors"}),
        (F.Submit("Go"), {"type": "submit", "text": "Go"}),
        (F.Cancel("No"), {"type": "cancel", "text": "No"}),
        (
            F.Action("act", "1", text="Act"),
            {"type": "action", "name": "act", "value": "1", "text": "Act"},
        ),
        (
            F.InputText("t", "T", "v", True, "hint", 20, "[a-z]+"),
            {
                "type": "text",
                "name": "t",
                "label": "T",
                "value": "v",
                "required": True,
                "placeholder": "hint",
                "size": 20,
                "pattern": "[a-z]+",
            },
        ),
        (
            F.InputPassword("p", min_length=3, max_length=9),
            {
                "type": "password",
                "name": "p",
                "label": None,
                "value": None,
                "required": False,
                "placeholder": None,
                "size": None,
                "pattern": None,
                "min_length": 3,
                "max_length": 9,
            },
        ),
        (
            F.InputNumber("n", value=3, min_value=1, max_value=9, step=2),
            {
                "type": "number",
                "name": "n",
                "label": None,
                "value": 3,
                "required": False,
                "placeholder": None,
                "size": None,
                "pattern": None,
                "min_value": 1,
                "max_value": 9,
                "step": 2,
            },
        ),
        (
            F.InputArea("a", rows=3, cols=40, max_length=100),
            {
                "type": "textarea",
                "name": "a",
                "label": None,
                "value": None,
                "required": False,
                "placeholder": None,
                "rows": 3,
                "cols": 40,
                "max_length": 100,
            },
        ),
        (
            F.InputDate("d", value=datetime.date(2026, 1, 2), min_date="2026-01-01"),
            {
                "type": "date",
                "name": "d",
                "label": None,
                "value": "2026-01-02",
                "required": False,
                "placeholder": None,
                "min_date": "2026-01-01",
                "max_date": None,
            },
        ),
        (
            F.InputTime("t", max_time=datetime.time(12), step=60),
            {
                "type": "time",
                "name": "t",
                "label": None,
                "value": None,
                "required": False,
                "placeholder": None,
                "min_time": None,
                "max_time": "12:00:00",
                "step": 60,
            },
        ),
        (
            F.InputDateTime("m", value=datetime.datetime(2026, 1, 2, 3)),
            {
                "type": "datetime-local",
                "name": "m",
                "label": None,
                "value": "2026-01-02T03:00:00",
                "required": False,
                "placeholder": None,
                "min_datetime": None,
                "max_datetime": None,
                "step": None,
            },
        ),
        (
            F.Checkbox("c", "yes please"),
            {"type": "boolean", "name": "c", "label": None, "value": False, "option": "yes please"},
        ),
        (
            F.Checkbox("c"),
            {"type": "boolean", "name": "c", "label": None, "value": False, "option": "on"},
        ),
        (
            F.Select("s", [F.InputOption("a", "A")], "S", "a"),
            {
                "type": "select",
                "name": "s",
                "label": "S",
                "value": "a",
                "option": [OPTION],
                "error": None,
            },
        ),
        (
            F.InputFiles("f", multiple=True),
            {
                "type": "file",
                "name": "f",
                "label": None,
                "value": None,
                "required": False,
                "multiple": True,
                "directory": False,
            },
        ),
        (
            F.InputFiles("f", directory=True, accept=".pdf", max_bytes=10, max_files=3),
            {
                "type": "file",
                "name": "f",
                "label": None,
                "value": None,
                "required": False,
                "multiple": False,
                "directory": True,
                "accept": ".pdf",
                "max_bytes": 10,
                "max_files": 3,
            },
        ),
    ],
    ids=lambda value: value.type if isinstance(value, F.Element) else "",
)
def test_an_element_has_exactly_the_json_of_the_contract(element, json):
    [made] = F.Model(element).get_model()
    assert made == json
    assert list(made) == list(json)
    assert F.Model.from_elements([made]).get_model() == [json]


def test_what_is_no_element_is_refused_by_name():
    with pytest.raises(TypeError, match="'text'"):
        F.Model(F.HR(), "text")
    with pytest.raises(TypeError, match="Select 's'"):
        F.Select("s", ["a"])


@pytest.mark.parametrize("junk", [{}, {"type": "?"}, {"type": "text"}, "text", None, 3])
def test_json_that_is_no_element_is_refused(junk):
    with pytest.raises(ValueError, match="is not an element of a form"):
        F.Model.from_elements([junk])


def test_a_form_knows_its_secrets():
    form = F.Model(F.InputText("a"), F.InputPassword("b"))
    assert form.secrets == {"b"}
    assert form.secret_values({"a": "x", "b": "hidden"}) == ["hidden"]


def test_an_inputs_error_collects_messages():
    errors = F.InputsError()
    assert not errors
    assert not errors.has_errors()
    errors.add(name="is taken", mail="is none")
    errors.add(name="is short")
    errors.flash("try again")
    assert errors
    assert errors.errors == {
        "name": ["is taken", "is short"],
        "mail": ["is none"],
        "_global_": ["try again"],
    }
    assert str(errors) == "name: is taken; name: is short; mail: is none; try again"


def test_an_inputs_error_is_made_in_one_line():
    error = F.InputsError("general", "more", field="message", self="fields may have any name")
    assert error.errors == {
        "_global_": ["general", "more"],
        "field": ["message"],
        "self": ["fields may have any name"],
    }
