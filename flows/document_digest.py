"""A service that digests a text: key terms and the sentences that say most, in parts on Ray."""

import re
import unicodedata
from collections import Counter, defaultdict
from math import sqrt
from pathlib import Path
from typing import Any, TypedDict

import yake
from fastapi import Request
from prefect import task
from prefect.futures import as_completed
from segtok.segmenter import split_multi

from kodosumi_prefect.core import InputsError, KodosumiError, Launch, ServeAPI, Tracer
from kodosumi_prefect.core import forms as F
from kodosumi_prefect.response import Markdown

SAMPLES = Path(__file__).parent / "samples"
LONGEST = 1_000_000  # characters of a text
LONGEST_SENTENCE = 2_000  # characters; what has no full stop is cut between words
SHOWN = 400  # characters of a sentence in the report
TERMS = 12  # of each part, and of the report
WORDS_A_MINUTE = 230  # that people read

LANGUAGES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian"}
TEXTS = {  # file: title, language
    "declaration": ("The Declaration of Independence (1776)", "en"),
    "gettysburg": ("Lincoln's address at Gettysburg (1863)", "en"),
    "aufklaerung": ("Kant: Was ist Aufklärung? (1784)", "de"),
}

_WORD = re.compile(r"\w+")
_MEANT_AS_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&!#])")

app = ServeAPI(title="Document digest")

form = F.Model(
    F.Markdown("Key terms and main sentences of a text, found by statistics, without a model."),
    F.Errors(),
    F.InputArea(
        "text",
        "Text",
        rows=12,
        max_length=LONGEST,
        placeholder="Paste a text, or choose a sample below.",
    ),
    F.Select(
        "sample",
        [
            F.InputOption("", "none, the text above", value=True),
            *(F.InputOption(name, title) for name, (title, _) in TEXTS.items()),
        ],
        "Sample",
    ),
    F.Select(
        "language",
        [F.InputOption(code, name, value=code == "en") for code, name in LANGUAGES.items()],
        "Language of the text",
        value="en",
    ),
    F.InputNumber("parts", "Parts", value=4, min_value=1, max_value=32, step=1, required=True),
    F.InputNumber(
        "sentences",
        "Sentences kept of each part",
        value=2,
        min_value=1,
        max_value=10,
        step=1,
        required=True,
    ),
    F.Submit("Digest"),
)


class Part(TypedDict):
    """What one part says most, in the order of the text; ``terms`` with how often they occur."""

    number: int
    words: int
    sentences: int
    terms: list[tuple[str, int]]
    summary: list[str]


@app.enter(
    "/",
    model=form,
    summary="Digest a document",
    description="Key terms and main sentences of a text, in parts that run on Ray.",
    tags=["example", "text"],
    version="1.0",
)
def enter(inputs: dict[str, Any], request: Request) -> Launch:
    """Refuse what there is nothing to digest in, launch the rest."""
    text, sample = (inputs.get("text") or "").strip(), inputs.get("sample")
    if text and sample:
        raise InputsError(sample="is chosen and a text is given; leave one of them out")
    if not text and not sample:
        raise InputsError(text="is empty; paste a text or choose a sample")
    if text and not _WORD.search(text):
        raise InputsError(text="has no words in it")
    return Launch(request, digest, inputs={**inputs, "text": text})


def digest(inputs: dict[str, Any], tracer: Tracer) -> Markdown:
    """Digest a text in Prefect tasks on Ray.

    Arguments:
        inputs: ``text`` or ``sample``; ``language``, ``parts`` and ``sentences`` (of each part).

    Raises:
        KodosumiError: there is no such sample, or there are no words in the text.
    """
    title, language, text = chosen(inputs)
    sentences = sentences_of(text)
    if not sentences:
        raise KodosumiError("the text has no words in it")
    pieces = split(sentences, int(float(inputs.get("parts") or 4)))
    keep = int(float(inputs.get("sentences") or 2))
    tracer.markdown(f"# {title}", f"{len(sentences):,} sentences in {len(pieces)} parts")
    futures = [
        digest_part.submit(number, piece, language, keep) for number, piece in enumerate(pieces, 1)
    ]
    parts: list[Part] = []
    for future in as_completed(futures):
        part = future.result()
        parts.append(part)
        tracer.markdown(section(part))
        tracer.progress(len(parts), len(pieces), f"part {part['number']} read")
    return Markdown(report(title, sorted(parts, key=lambda part: part["number"])))


@task(task_run_name="part-{number}", retries=1)
def digest_part(number: int, sentences: list[str], language: str, keep: int) -> Part:
    """The key terms of a part and its ``keep`` sentences that hold most of them."""
    text = "\n".join(sentences)
    found = yake.KeywordExtractor(lan=language, n=3, top=TERMS).extract_keywords(text)
    terms = [str(term) for term, _ in found]
    lowered = text.casefold()
    print(f"part {number}: {len(sentences):,} sentences, {len(terms)} terms")
    return Part(
        number=number,
        words=len(_WORD.findall(text)),
        sentences=len(sentences),
        terms=[(term, max(lowered.count(term.casefold()), 1)) for term in terms],
        summary=main_sentences(sentences, terms, keep),
    )


def chosen(inputs: dict[str, Any]) -> tuple[str, str, str]:
    """Title, language and text that the inputs ask for.

    Raises:
        KodosumiError: there is no such sample.
    """
    sample = inputs.get("sample")
    if not sample:
        return "Your text", str(inputs.get("language") or "en"), str(inputs.get("text") or "")
    if sample not in TEXTS:
        raise KodosumiError(f"there is no sample {sample!r}; there are {', '.join(TEXTS)}")
    title, language = TEXTS[sample]
    return title, language, (SAMPLES / f"{sample}.txt").read_text(encoding="utf-8")


def sentences_of(text: str) -> list[str]:
    """The sentences of a text that have words in them, none of them without end."""
    whole = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    found: list[str] = []
    # The splitter's time grows with the square of a paragraph's length.
    for paragraph in re.split(r"\n\s*\n", whole):
        for piece in pieces_of(" ".join(paragraph.split()), LONGEST_SENTENCE * 5):
            for sentence in split_multi(piece):
                found += pieces_of(sentence.strip(), LONGEST_SENTENCE)
    return [sentence for sentence in found if _WORD.search(sentence)]


def pieces_of(text: str, longest: int) -> list[str]:
    """A text in pieces of at most ``longest`` characters, cut at its last spaces if it has any."""
    pieces = []
    while len(text) > longest:
        cut = text.rfind(" ", longest // 2, longest)
        cut = longest if cut < 0 else cut
        pieces.append(text[:cut])
        text = text[cut:].lstrip()
    return [*pieces, text]


def split(sentences: list[str], parts: int) -> list[list[str]]:
    """Neighbouring sentences as at most ``parts`` parts of about one length, none of them empty."""
    total = sum(len(sentence) for sentence in sentences)
    made: list[list[str]] = []
    before, last = 0, -1
    for sentence in sentences:
        number = before * parts // total  # of the part in which the sentence begins
        if number != last:
            made.append([])
        last = number
        made[-1].append(sentence)
        before += len(sentence)
    return made


def main_sentences(sentences: list[str], terms: list[str], keep: int) -> list[str]:
    """The ``keep`` sentences with the most and best terms for their length, in order."""
    weights = {term.casefold(): 1 / rank for rank, term in enumerate(terms, 1)}

    def weight(index: int) -> float:
        lowered = sentences[index].casefold()
        held = sum(weight for term, weight in weights.items() if term in lowered)
        return held / sqrt(len(_WORD.findall(lowered)))

    best = sorted(range(len(sentences)), key=lambda index: (-weight(index), index))[:keep]
    return [sentences[index] for index in sorted(best)]


def report(title: str, parts: list[Part]) -> str:
    """All parts as one piece of markdown."""
    words = sum(part["words"] for part in parts)
    minutes = max(round(words / WORDS_A_MINUTE), 1)
    lines = [
        f"# {title}",
        f"{words:,} words, {sum(part['sentences'] for part in parts):,} sentences, "
        f"about {minutes:,} min to read.",
        "## Key terms",
        "\n".join(
            [
                "| term | occurs | in parts |",
                "|---|---:|---:|",
                *(f"| {plain(t)} | {times:,} | {among} |" for t, times, among in terms_of(parts)),
            ]
        ),
        *(section(part) for part in parts),
    ]
    return "\n\n".join(lines)


def terms_of(parts: list[Part]) -> list[tuple[str, int, int]]:
    """The best terms of all parts, with how often they occur and in how many parts.

    Scores of different parts cannot be compared, so that ranks count.
    """
    weights, times, among = defaultdict[str, float](float), Counter[str](), Counter[str]()
    spelled: dict[str, str] = {}
    for part in parts:
        for rank, (term, count) in enumerate(part["terms"], 1):
            key = term.casefold()
            spelled.setdefault(key, term)
            weights[key] += 1 / rank
            times[key] += count
            among[key] += 1
    best = sorted(weights, key=lambda key: (-weights[key], key))[:TERMS]
    return [(spelled[key], times[key], among[key]) for key in best]


def section(part: Part) -> str:
    """A part as markdown."""
    terms = ", ".join(plain(term) for term, _ in part["terms"][:6]) or "none"
    said = "\n".join(f"> {plain(sentence)}\n>" for sentence in part["summary"])
    return f"## Part {part['number']}\n\n*{terms}*\n\n{said}"


def plain(text: str) -> str:
    """Text on one line, cut if it is long, nothing in it taken for markdown."""
    flat = " ".join(text.split())
    if len(flat) > SHOWN:
        flat = flat[: SHOWN - 1] + "…"
    return _MEANT_AS_MARKDOWN.sub(r"\\\1", flat)
