"""Key terms of a text, by statistics alone."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import log2

from stop_words import LANGUAGE_MAPPING, get_stop_words

LONGEST_TERM = 3  # words
SHORTEST_WORD = 2  # letters of a word that may begin or end a term
_PHRASE = re.compile(r"[^\w\s'’-]+")  # between two of these a term stands
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


def key_terms(sentences: Iterable[str], language: str, most: int) -> list[str]:
    """The terms that a text is about, the best first, each as it is written first.

    A term is a word, or up to three neighbouring words that occur twice, without a stop word at
    its ends. They are ranked by their C-value (Frantzi, Ananiadou, Mima 2000): longer and more
    frequent ones come first, and what occurs within longer terms only counts for what it occurs
    beside them.

    Arguments:
        language: ISO 639-1; of one without a list of stop words all words count.
        most: terms.
    """
    times: defaultdict[tuple[str, ...], int] = defaultdict(int)
    spelled: dict[tuple[str, ...], str] = {}
    for sentence in sentences:
        for words in _candidates(sentence, language):
            key = tuple(word.casefold() for word in words)
            times[key] += 1
            spelled.setdefault(key, " ".join(words))
    values = _c_values({key: n for key, n in times.items() if len(key) == 1 or n > 1})
    best = sorted(values, key=lambda key: -values[key])  # of equals that which came first
    chosen: list[tuple[str, ...]] = []
    for key in best:
        if len(chosen) == most:
            break
        if not any(_within(key, other) or _within(other, key) for other in chosen):
            chosen.append(key)
    return [spelled[key] for key in chosen]


def _candidates(sentence: str, language: str) -> Iterator[list[str]]:
    """The runs of words that may be a term."""
    stop = _stop_words(language)
    for phrase in _PHRASE.split(sentence):
        words = _WORD.findall(phrase)
        bare = [word.casefold() in stop or not _is_content(word) for word in words]
        for start in range(len(words)):
            for end in range(start + 1, min(start + LONGEST_TERM, len(words)) + 1):
                if not (bare[start] or bare[end - 1]):
                    yield words[start:end]


def _c_values(times: dict[tuple[str, ...], int]) -> dict[tuple[str, ...], float]:
    """How much of a term each candidate is."""
    within: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for key, count in times.items():
        for part in {p for p in _parts(key) if p in times}:
            within[part].append(count)
    return {
        key: log2(len(key) + 1)
        * (count - (sum(within[key]) / len(within[key]) if key in within else 0))
        for key, count in times.items()
    }


def _parts(key: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The shorter runs of words within one."""
    for length in range(1, len(key)):
        for start in range(len(key) - length + 1):
            yield key[start : start + length]


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return part in _parts(whole)


def _is_content(word: str) -> bool:
    """Whether a term may begin or end with it: no number, and no single letter."""
    return sum(letter.isalpha() for letter in word) >= SHORTEST_WORD


@lru_cache
def _stop_words(language: str) -> frozenset[str]:
    if language not in LANGUAGE_MAPPING:
        return frozenset()
    return frozenset(word.casefold() for word in get_stop_words(language))
