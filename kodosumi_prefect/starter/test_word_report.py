"""Run with pytest: the parts of a flow, and what a form checks, are plain functions."""

import asyncio

import pytest
from word_report import FORM, count, enter, words_of

from kodosumi_prefect.core import InputsError


def test_words_are_counted_whatever_their_case() -> None:
    assert count.fn(1, "The dog and the cat") == {"the": 2, "dog": 1, "and": 1, "cat": 1}
    assert words_of("…") == []


def test_a_text_without_words_is_refused_at_its_field() -> None:
    assert "text" in [element.get("name") for element in FORM.get_model()]
    with pytest.raises(InputsError) as refused:
        asyncio.run(enter(None, {"text": "…"}))
    assert refused.value.errors == {"text": ["has no words"]}
