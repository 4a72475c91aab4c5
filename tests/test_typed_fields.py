"""Fields of a form as they are typed in a terminal."""

import pytest

from kodosumi_prefect import forms
from kodosumi_prefect.cli.fields import filled_in
from kodosumi_prefect.cli.output import CommandError

FORM = forms.Model(
    forms.Markdown("Sure?"), forms.Checkbox("sure"), forms.InputText("why"), forms.Submit("Go")
).get_model()


@pytest.mark.parametrize(
    ("word", "ticked"),
    [
        *((word, True) for word in ("yes", "true", "On", "1")),
        *((word, False) for word in ("no", "False", "off", "0", "")),
    ],
)
def test_a_box_is_ticked_by_the_words_that_people_use(word: str, ticked: bool) -> None:
    assert filled_in({"sure": word, "why": "yes"}, FORM) == {"sure": ticked, "why": "yes"}


def test_a_box_that_is_told_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(CommandError, match="sure: is 'maybe'; yes or no is wanted"):
        filled_in({"sure": "maybe"}, FORM)


def test_a_field_that_the_form_does_not_have_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(
        CommandError, match=r"colour: the form has no such field; its fields: sure, why$"
    ):
        filled_in({"why": "", "colour": "red"}, FORM)


def test_without_a_form_any_field_is_taken() -> None:
    assert filled_in({"colour": "red"}, []) == {"colour": "red"}
