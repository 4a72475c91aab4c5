"""The example service that digests documents: txt, md, pdf, docx, and what only looks like one."""

import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import docx
import pypdf
import pytest
from prefect.task_runners import ThreadPoolTaskRunner

from flows import document_digest as digester
from flows import document_text
from flows.document_text import text_of
from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.core import InputsError, KodosumiError
from kodosumi_prefect.files.content_keys import object_key
from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.settings import get_settings
from tests.files.run_storage import register
from tests.files.test_file_projection import files
from tests.services import Place

REQUEST: Any = object()
SENTENCES = "Bridges carry people. An arch carries a bridge. Rivers run below the bridge."


def pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


def pdf_of(*pages: str, stream: bytes | None = None) -> bytes:
    """A PDF with a line of text on each page; ``stream`` stands for the content of all of them."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    kids = []
    for text in pages:
        line = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode()
        content = zlib.compress(line) if stream is None else stream
        objects.append(
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream"
            % (len(content), content)
        )
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 200] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    made = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    made += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    made += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        start,
    )
    return bytes(made)


def encrypted(content: bytes, password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=BytesIO(content))
    writer.encrypt(password, "owner")
    made = BytesIO()
    writer.write(made)
    return made.getvalue()


def docx_of(*paragraphs: str) -> bytes:
    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "left", "right"
    made = BytesIO()
    document.save(made)
    return made.getvalue()


def zip_bomb() -> bytes:
    """A docx whose text unpacks to more than there may be, of a thousandth of its size."""
    made = BytesIO(docx_of("small"))
    with zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("word/media/zeros.bin", bytes(document_text.UNPACKED + 1))
    return made.getvalue()


def zip_of_names() -> bytes:
    """A docx with as many names as its size allows, all of one file."""
    with zipfile.ZipFile(made := BytesIO(), "w") as archive:
        archive.writestr("a", b"")
    content = made.getvalue()
    at, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    names = content[at:end] * (document_text.LARGEST // (end - at) - 10)
    size = len(names).to_bytes(4, "little")
    return content[:at] + names + content[end : end + 12] + size + content[end + 16 :]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", SENTENCES.encode(), SENTENCES),
        ("A.TXT", "Grüße.".encode(), "Grüße."),
        ("bom.txt", "\ufeffGrüße.".encode(), "Grüße."),
        ("wide.txt", "Grüße.".encode("utf-16"), "Grüße."),
        ("old.txt", "Grüße.".encode("cp1252"), "Grüße."),
        ("a.md", b"# Title\n\nText.", "# Title\n\nText."),
        ("a.pdf", pdf_of("First page.", "Second page."), "First page.\n\nSecond page."),
        ("open.pdf", encrypted(pdf_of("Readable by all."), ""), "Readable by all."),
        ("a.docx", docx_of("One.", "Two."), "One.\n\nTwo.\n\nleft\tright"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[-5:] else "",
)
def test_the_text_of_documents_of_each_kind(name: str, content: bytes, expected: str) -> None:
    assert text_of(name, pieces(content)) == expected


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.exe", b"MZ", "is none of .docx, .md, .pdf, .txt"),
        ("noname", b"text", "is none of"),
        ("empty.txt", b"", "has no text"),
        ("binary.txt", b"a\x00b", "holds no text"),
        ("broken.pdf", b"%PDF-1.4 and nothing", "cannot be read, it may be damaged"),
        ("cut.pdf", pdf_of("Text.")[:300], "cannot be read, it may be damaged"),
        ("text.pdf", b"only text", "cannot be read, it may be damaged"),
        ("locked.pdf", encrypted(pdf_of("Secret."), "word"), "is encrypted"),
        ("scan.pdf", pdf_of(""), "has no text in it"),
        ("bomb.pdf", pdf_of("", stream=zlib.compress(b" " * 30_000_000, 9)), "may be damaged"),
        ("broken.docx", b"PK\x03\x04", "cannot be read, it may be damaged"),
        ("pdf.docx", pdf_of("Text."), "cannot be read, it may be damaged"),
        ("bomb.docx", zip_bomb(), "unpacks to more than 60 MB"),
        ("names.docx", zip_of_names(), "holds more than 2,000 files"),
        ("long.txt", b"word " * 200_001, "more than 1,000,000 characters"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[-5:] else "",
)
def test_what_cannot_be_read_is_named_in_one_line(name: str, content: bytes, reason: str) -> None:
    with pytest.raises(KodosumiError, match=reason) as caught:
        text_of(name, pieces(content))
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


def test_no_more_than_the_bound_is_read_of_a_file_without_end() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1_000_000)

    with pytest.raises(KodosumiError, match="larger than 25 MB"):
        text_of("endless.txt", endless())


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"files": {"a.txt"}, "text": "Text."}, "files"),
        ({"files": {"a.txt"}, "sample": "gettysburg"}, "files"),
        ({"files": {f"{number}.txt" for number in range(51)}}, "files"),
        ({"files": set()}, "text"),
    ],
    ids=["a text beside", "a sample beside", "too many", "nothing"],
)
def test_a_launch_takes_one_kind_of_input(inputs: dict[str, Any], field: str) -> None:
    with pytest.raises(InputsError) as caught:
        digester.enter(inputs, REQUEST)
    assert field in str(caught.value.errors)


def test_a_run_reads_its_documents_and_leaves_its_report(place: Place) -> None:
    register(place.settings, place.database)
    given = {
        "b.pdf": pdf_of("Rivers carry water."),
        "a.docx": docx_of("Bridges cross rivers.", "Bridges carry people."),
        "c.md": b"Water is wet.",
    }

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def digests(tracer: Tracer) -> Any:
        stored = []
        storage = storage_of(get_settings())
        for name, content in given.items():
            key = object_key(tracer.fid)
            stored.append(StoredFile(f"in/{name}", key, *storage.write(key, [content]), "x/y"))
        tracer._put("upload", payload_of(stored))  # type: ignore[arg-type]
        tracer.flush_sync()
        return digester.digest({"files": set(given), "parts": 2, "sentences": 1}, tracer)

    recorded = place.run(digests)
    assert recorded.row["error"] is None
    report = recorded.final["Markdown"]["body"]
    assert report.startswith("# 3 documents")
    assert "Bridges" in report
    kept = files(place.database, recorded.fid)
    assert set(kept) == {*(f"in/{name}" for name in given), "out/report.md", "out/report.docx"}
    storage = storage_of(place.settings)
    left = {path: b"".join(storage.read(kept[path]["key"])) for path in kept if "out/" in path}
    assert left["out/report.md"].decode() == report
    document = docx.Document(BytesIO(left["out/report.docx"]))
    texts = [paragraph.text for paragraph in document.paragraphs]
    assert texts[0] == "3 documents"
    assert "Part 1" in texts
    assert document.tables[0].rows[0].cells[0].text == "term"


def test_a_run_whose_document_is_damaged_says_which(place: Place) -> None:
    register(place.settings, place.database)

    @flow
    def digests(tracer: Tracer) -> Any:
        storage, key = storage_of(get_settings()), object_key(tracer.fid)
        written = storage.write(key, [b"no pdf"])
        tracer._put("upload", payload_of([StoredFile("in/x.pdf", key, *written, "x/y")]))  # type: ignore[arg-type]
        tracer.flush_sync()
        return digester.digest({"files": {"x.pdf"}}, tracer)

    recorded = place.run(digests)
    assert recorded.row["error"].startswith("x.pdf cannot be read, it may be damaged")


def test_a_report_of_odd_characters_is_a_document() -> None:
    part = digester.Part(
        number=1, words=2, sentences=1, terms=[("a\x00b", 1)], summary=["x\x0b \ud800 y\ufffe"]
    )
    document = docx.Document(BytesIO(digester.as_docx("t\x01", [part])))
    assert document.paragraphs[0].text == "t"
