"""A service that digests documents: key terms and main sentences, in parts on Ray."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from io import BytesIO
from math import sqrt
from pathlib import Path
from typing import Any, TypedDict

import docx
from fastapi import Request
from prefect import task
from prefect.futures import as_completed
from sentencex import segment

from kodosumi_prefect.core import InputsError, KodosumiError, Launch, ServeAPI, Tracer
from kodosumi_prefect.core import forms as F
from kodosumi_prefect.response import Markdown

from .document_text import LONGEST, text_of
from .key_terms import key_terms

SAMPLES = Path(__file__).parent / "samples"
MOST_DOCUMENTS = 50
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
_UNSPLITTABLE = re.compile("[\ud800-\udfff]")  # halves of characters
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"
)  # no XML has them
_MEANT_AS_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&!#])")

app = ServeAPI(title="Document digest")

form = F.Model(
    F.Markdown("Key terms and main sentences, found by statistics, without a model."),
    F.Errors(),
    F.InputArea(
        "text",
        "Text",
        rows=12,
        max_length=LONGEST,
        placeholder="Paste a text, or choose documents or a sample below.",
    ),
    F.InputFiles("files", "Documents (txt, md, pdf, docx)", multiple=True),
    F.Select(
        "sample",
        [
            F.InputOption("", "none, what is above", value=True),
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
    description="Key terms and main sentences of documents, in parts that run on Ray.",
    tags=["example", "text", "files"],
    version="1.1",
)
def enter(inputs: dict[str, Any], request: Request) -> Launch:
    """Refuse what there is nothing to digest in, launch the rest."""
    text, sample = (inputs.get("text") or "").strip(), inputs.get("sample")
    files = inputs.get("files") or ()
    if text and sample:
        raise InputsError(sample="is chosen and a text is given; leave one of them out")
    if files and (text or sample):
        raise InputsError(files="are given beside a text or sample; leave one of them out")
    if not text and not sample and not files:
        raise InputsError(text="is empty; paste a text, or choose documents or a sample")
    if len(files) > MOST_DOCUMENTS:
        raise InputsError(files=f"are {len(files)}; {MOST_DOCUMENTS} at most")
    if text and not _WORD.search(text):
        raise InputsError(text="has no words in it")
    return Launch(request, digest, inputs={**inputs, "text": text})


def digest(inputs: dict[str, Any], tracer: Tracer) -> Markdown:
    """Digest a text or documents in Prefect tasks on Ray; the report is left as files, too.

    Arguments:
        inputs: ``text``, ``sample``, or ``files`` (names in ``in/``); ``language``, ``parts`` and
            ``sentences`` (of each part).

    Raises:
        KodosumiError: there is no such sample, a document cannot be read, or there are no words in
            the text.
    """
    if files := inputs.get("files"):
        title, language, text = documents(sorted(files), inputs, tracer)
    else:
        title, language, text = chosen(inputs)
    sentences = sentences_of(text, language)
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
    parts.sort(key=lambda part: part["number"])
    whole = report(title, parts)
    leave(whole, title, parts, tracer)
    return Markdown(whole)


@task(task_run_name="part-{number}", retries=1)
def digest_part(number: int, sentences: list[str], language: str, keep: int) -> Part:
    """The key terms of a part and its ``keep`` sentences that hold most of them."""
    text = "\n".join(sentences)
    terms = key_terms(sentences, language, TERMS)
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


def documents(names: list[str], inputs: dict[str, Any], tracer: Tracer) -> tuple[str, str, str]:
    """Title, language and text of documents that the run was given, in the order of their names.

    Raises:
        KodosumiError: one of them cannot be read, or there are too many.
    """
    if len(names) > MOST_DOCUMENTS:
        raise KodosumiError(f"{len(names)} documents are too many; {MOST_DOCUMENTS} at most")
    texts: list[str] = []
    with tracer.fs_sync() as fs:
        for number, name in enumerate(names, 1):
            texts.append(text_of(name, fs.open(f"in/{name}").read()))
            tracer.progress(number, len(names), f"{name} read")
            if sum(map(len, texts)) > LONGEST:
                raise KodosumiError(f"the documents have more than {LONGEST:,} characters of text")
    title = names[0] if len(names) == 1 else f"{len(names)} documents"
    return title, str(inputs.get("language") or "en"), "\n\n".join(texts)


def leave(whole: str, title: str, parts: list[Part], tracer: Tracer) -> None:
    """Leave the report in ``out/``; where no files are kept, there is the result all the same."""
    try:
        tracer.file_sync("report.md", whole, "text/markdown")
        tracer.file_sync("report.docx", as_docx(title, parts))
    except KodosumiError as exc:
        tracer.warning(f"the report is not kept as files: {exc}")


def as_docx(title: str, parts: Iterable[Part]) -> bytes:
    """The report for word processors."""
    parts = list(parts)
    document = docx.Document()
    document.add_heading(storable(title), 0)
    document.add_paragraph(overview(parts))
    document.add_heading("Key terms", 1)
    table = document.add_table(rows=1, cols=3)
    for cell, text in zip(table.rows[0].cells, ("term", "occurs", "in parts"), strict=True):
        cell.text = text
    for term, times, among in terms_of(parts):
        row = table.add_row().cells
        row[0].text, row[1].text, row[2].text = storable(term), f"{times:,}", str(among)
    for part in parts:
        document.add_heading(f"Part {part['number']}", 1)
        for sentence in part["summary"]:
            document.add_paragraph(storable(shortened(sentence)))
    made = BytesIO()
    document.save(made)
    return made.getvalue()


def storable(text: str) -> str:
    """Text without what XML cannot hold."""
    return _UNPRINTABLE.sub("", text)


def sentences_of(text: str, language: str = "en") -> list[str]:
    """The sentences of a text that have words in them, none of them without end."""
    whole = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", whole):
        for sentence in segment(language, _UNSPLITTABLE.sub("�", " ".join(paragraph.split()))):
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
    lines = [
        f"# {title}",
        overview(parts),
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


def overview(parts: list[Part]) -> str:
    """How much there was to read."""
    words = sum(part["words"] for part in parts)
    minutes = max(round(words / WORDS_A_MINUTE), 1)
    sentences = sum(part["sentences"] for part in parts)
    return f"{words:,} words, {sentences:,} sentences, about {minutes:,} min to read."


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
    return _MEANT_AS_MARKDOWN.sub(r"\\\1", shortened(text))


def shortened(text: str) -> str:
    """Text on one line, cut if it is long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN else flat[: SHOWN - 1] + "…"
