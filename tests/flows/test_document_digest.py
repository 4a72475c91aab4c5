"""The example service that digests texts."""

import random
import socket
import time
from typing import Any

import orjson
import pytest

from flows import document_digest as digester
from kodosumi_prefect.core import InputsError, KodosumiError
from kodosumi_prefect.launch.entrypoint import run_entrypoint
from kodosumi_prefect.launch.launch import Launch
from tests.services import Place

REQUEST: Any = object()


def digested(**inputs: Any) -> str:
    """The report, its parts digested here in reverse order."""
    title, language, text = digester.chosen(inputs)
    pieces = digester.split(digester.sentences_of(text), inputs.get("parts", 4))
    parts = [
        digester.digest_part.fn(number, piece, language, inputs.get("sentences", 2))
        for number, piece in enumerate(pieces, 1)
    ]
    return digester.report(title, parts)


def run(place: Place, **inputs: Any) -> Any:
    return place.run(run_entrypoint, "flows.document_digest:digest", inputs)


def test_a_run_tells_its_parts_as_they_finish_and_reports(ray_place: Place) -> None:
    recorded = run(ray_place, sample="declaration", parts=4, sentences=2)
    assert recorded.row["error"] is None
    report = recorded.final["Markdown"]["body"]
    assert report == digested(sample="declaration", parts=4, sentences=2)
    assert report.startswith("# The Declaration of Independence")
    progress = [orjson.loads(text)["dict"] for text in recorded.of("progress")]
    assert [step["done"] for step in progress] == [1, 2, 3, 4]
    shown = [event.value["body"] for event in recorded.events if event.kind == "result"]
    assert len(shown) == 5
    assert sorted(text[:9] for text in shown[1:]) == [f"## Part {n}" for n in (1, 2, 3, 4)]
    assert all(text in report for text in shown[1:])


def test_a_run_without_words_ends_with_one_line(ray_place: Place) -> None:
    recorded = run(ray_place, text="… !!!")
    assert recorded.row["error"] == "the text has no words in it"


@pytest.mark.parametrize("sample", digester.TEXTS)
def test_every_sample_is_digested_without_a_network(
    sample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert digested(sample=sample) == digested(sample=sample)
    assert f"`{sample}.txt`" in (digester.SAMPLES / "README.md").read_text()


def test_the_main_terms_of_a_sample_are_found() -> None:
    parts = [
        digester.digest_part.fn(
            1, digester.sentences_of(digester.chosen({"sample": name})[2]), *rest
        )
        for name, *rest in (("aufklaerung", "de", 1), ("gettysburg", "en", 1))
    ]
    terms = [{term.casefold() for term, _ in part["terms"]} for part in parts]
    assert any("unmündigkeit" in term for term in terms[0])
    assert any("nation" in term for term in terms[1])


def test_terms_that_more_parts_have_come_first_and_are_counted() -> None:
    def part(number: int, *terms: tuple[str, int]) -> digester.Part:
        return digester.Part(number=number, words=9, sentences=1, terms=[*terms], summary=[])

    found = digester.terms_of([part(1, ("Bridge", 2), ("arch", 1)), part(2, ("bridge", 3))])
    assert found == [("Bridge", 5, 2), ("arch", 1, 1)]


def test_the_sentences_kept_are_in_the_order_of_the_text() -> None:
    sentences = ["Bridges carry.", "It rained.", "A bridge and an arch stand."]
    assert digester.main_sentences(sentences, ["arch", "bridge"], 2) == [sentences[0], sentences[2]]
    assert digester.main_sentences(["Same.", "Same."], [], 1) == ["Same."]


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 32])
@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_the_parts_hold_every_sentence_once(count: int, parts: int) -> None:
    chance = random.Random(count)
    sentences = ["x" * chance.randint(1, 300) for _ in range(count)]
    pieces = digester.split(sentences, parts)
    assert [sentence for piece in pieces for sentence in piece] == sentences
    assert 1 <= len(pieces) <= parts
    assert all(pieces)


@pytest.mark.parametrize(
    "text",
    [
        "One sentence.",
        "no full stop",
        "日本語の文です。これは二つ目です。",
        "Straße, élan, ﬁne 🎉🎉. Ünïcödé wörks!",
        "نص عربي قصير. جملة ثانية.",
        "a\x00b \ud800 c. Next sentence.",
        "Line\r\nends\rof all kinds.\r\n\r\nAnd a paragraph.",
        "<script>alert(1)</script> | # *not* [a](link) `code`.",
    ],
)
def test_texts_of_every_kind_are_digested(text: str) -> None:
    report = digested(text=text, parts=3)
    assert "## Part 1" in report
    assert "<script>" not in report.replace("\\<script\\>", "")


@pytest.mark.parametrize(
    "text",
    ["word " * 200_000, "x" * 1_000_000, "Aa. " * 250_000],
    ids=["words", "one word", "sentences"],
)
def test_a_text_of_the_greatest_length_is_split_in_time(text: str) -> None:
    began = time.monotonic()
    sentences = digester.sentences_of(text)
    assert time.monotonic() - began < 30
    assert max(map(len, sentences)) <= digester.LONGEST_SENTENCE
    assert len(digester.split(sentences, 8)) == 8
    assert "".join("".join(sentences).split()) == "".join(text.split())


def entered(**posted: Any) -> Launch:
    return digester.enter(digester.form.read(posted), REQUEST)


@pytest.mark.parametrize(
    ("posted", "field"),
    [
        ({}, "text"),
        ({"text": "  \n "}, "text"),
        ({"text": "… !!!"}, "text"),
        ({"text": "Words.", "sample": "gettysburg"}, "sample"),
        ({"sample": "bible"}, "sample"),
        ({"text": "Words.", "language": "tlh"}, "language"),
        ({"text": "Words.", "parts": 0}, "parts"),
        ({"text": "Words.", "parts": 2.5}, "parts"),
        ({"text": "Words.", "sentences": "many"}, "sentences"),
        ({"text": "five " * 1_000_000}, "text"),
    ],
)
def test_what_cannot_be_digested_is_refused_at_its_field(posted: Any, field: str) -> None:
    with pytest.raises(InputsError) as refused:
        entered(**({"parts": 4, "sentences": 2} | posted))
    assert list(refused.value.errors) == [field]


def test_what_the_form_offers_is_launched() -> None:
    launch = entered(text="", sample="gettysburg", language="en", parts="4", sentences="2")
    assert launch.entry_point is digester.digest
    assert launch.inputs["parts"] == 4


def test_an_unknown_sample_is_named() -> None:
    with pytest.raises(KodosumiError, match="there is no sample 'bible'"):
        digester.chosen({"sample": "bible"})
