"""Key terms of texts."""

from flows.key_terms import key_terms


def test_what_recurs_comes_first_and_as_it_is_written_first() -> None:
    text = ["The Stone bridge stands.", "A stone bridge carries.", "A stone bridge and an arch."]
    assert key_terms(text, "en", 2) == ["Stone bridge", "stands"]


def test_a_word_that_also_stands_alone_counts_by_itself() -> None:
    text = ["Bridge.", "Bridge!", "Bridge?", "Bridge; stone bridge.", "Stone bridge."]
    assert key_terms(text, "en", 1) == ["Bridge"]


def test_stop_words_numbers_and_single_letters_are_no_terms() -> None:
    assert key_terms(["Und der Mensch ist 1784 b frei."], "de", 9) == ["Mensch", "frei"]
    assert key_terms(["… 1 2 3"], "en", 9) == []


def test_terms_do_not_reach_over_punctuation() -> None:
    assert key_terms(["Iron, bridge."] * 3, "en", 9) == ["Iron", "bridge"]


def test_a_language_without_a_list_has_terms_too() -> None:
    assert key_terms(["Qapla' batlh je"], "tlh", 1)
