"""The text of a document: txt, md, pdf or docx, bounded whatever it holds."""

import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import PurePosixPath

import docx
import pypdf
from docx.table import Table

from kodosumi_prefect.core import KodosumiError

LARGEST = 25_000_000  # bytes of a document
LONGEST = 1_000_000  # characters of all that is read
PAGES = 3_000  # of a PDF
SECONDS = 120.0  # for the pages of a PDF
STREAM = 20_000_000  # bytes that a stream of a PDF may unpack to
UNPACKED = 60_000_000  # bytes that a docx may unpack to
MEMBERS = 2_000  # files in a docx
ENTRY = b"PK\x01\x02"  # that each of them begins with in its directory


def text_of(name: str, pieces: Iterator[bytes]) -> str:
    """The text of a document.

    Arguments:
        name: its suffix says what it is.
        pieces: its content.

    Raises:
        KodosumiError: it is of another kind, too large, encrypted or damaged, or has no text.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in READERS:
        raise KodosumiError(f"{name} is none of {', '.join(sorted(READERS))}")
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) > LARGEST:
            raise KodosumiError(f"{name} is larger than {LARGEST // 1_000_000} MB")
    try:
        text = READERS[suffix](name, bytes(content))
    except KodosumiError:
        raise
    except Exception as exc:  # what a damaged file makes a reader raise can be anything
        reason = " ".join(str(exc).split())[:200] or type(exc).__name__
        raise KodosumiError(f"{name} cannot be read, it may be damaged: {reason}") from exc
    if len(text) > LONGEST:
        raise KodosumiError(f"{name} has more than {LONGEST:,} characters of text")
    if not text.strip():
        raise KodosumiError(f"{name} has no text in it; scanned pages are pictures")
    return text


def _plain(name: str, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    if "\x00" in text:
        raise KodosumiError(f"{name} holds no text")
    return text


def _pdf(name: str, content: bytes) -> str:
    with pypdf.apply_configuration(
        array_based_stream_maximum_output_length=STREAM,
        lzw_maximum_output_length=STREAM,
        run_length_maximum_output_length=STREAM,
        zlib_maximum_output_length=STREAM,
    ):
        return _pages(name, content)


def _pages(name: str, content: bytes) -> str:
    reader = pypdf.PdfReader(BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise KodosumiError(f"{name} is encrypted; remove its password first")
    if len(reader.pages) > PAGES:
        raise KodosumiError(f"{name} has {len(reader.pages):,} pages; {PAGES:,} at most")
    until = time.monotonic() + SECONDS
    found: list[str] = []
    size = 0
    for page in reader.pages:
        found.append(page.extract_text())
        size += len(found[-1])
        if size > LONGEST:
            raise KodosumiError(f"{name} has more than {LONGEST:,} characters of text")
        if time.monotonic() > until:
            raise KodosumiError(f"{name} takes more than {SECONDS:.0f} s to read")
    return "\n\n".join(found)


def _docx(name: str, content: bytes) -> str:
    # Counted before they are listed, which takes some 500 bytes of memory for each.
    if content.count(ENTRY) > MEMBERS:
        raise KodosumiError(f"{name} holds more than {MEMBERS:,} files")
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = archive.infolist()
    # What a member declares is all that is ever read of it.
    if sum(member.file_size for member in members) > UNPACKED:
        raise KodosumiError(f"{name} unpacks to more than {UNPACKED // 1_000_000} MB")
    parts: list[str] = []
    for block in docx.Document(BytesIO(content)).iter_inner_content():
        if isinstance(block, Table):
            for row in block.rows:
                parts.append("\t".join(cell.text for cell in row.cells))
        else:
            parts.append(block.text)
    return "\n\n".join(parts)


READERS: dict[str, Callable[[str, bytes], str]] = {
    ".txt": _plain,
    ".md": _plain,
    ".pdf": _pdf,
    ".docx": _docx,
}
