"""Paths of files: what is taken, what is refused, and what counts as the same."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodosumi_prefect.files.names import (
    FileNameError,
    checked_path,
    comparable,
    split,
    split_folder,
)

TAKEN = (
    "report.pdf",
    "a/b/c.txt",
    "Отчёт за неделю.docx",
    "週報/九月.md",
    "تقرير.pdf",
    "family 👩‍👧.png",
    ".hidden",
    "con_/scious",
    "x" * 255,
    "/".join(["d" * 100] * 10),
    "two..dots.tar.gz",
    "console.log",
)
REFUSED = (
    "",
    "/etc/passwd",
    "..",
    "../x",
    "a/../../x",
    "a//b",
    "a/",
    "./a",
    "a\\b",
    "C:\\x",
    "C:x",
    "nul\0l",
    "line\nbreak",
    "CON",
    "con.txt",
    "a/Nul",
    "lpt9.tar.gz",
    "COM¹",
    "CON .txt",
    "dot.",
    "space ",
    " space",
    "tab\t",
    "\u202egnp.exe",
    "zero\u200bwidth",
    "\ufeffbom",
    "x" * 256,
    "é" * 128,
    "/".join(["d" * 100] * 11),
    "/".join("d" * 33),
    "half \ud800",
    "what?",
    "star*",
    "a|b",
    "line\u2028",
)


@pytest.mark.parametrize("path", TAKEN)
def test_what_file_systems_hold_is_taken(path: str) -> None:
    assert checked_path(path) == path


@pytest.mark.parametrize("path", REFUSED)
def test_what_some_machine_cannot_hold_is_refused_in_one_line(path: str) -> None:
    with pytest.raises(FileNameError) as refused:
        checked_path(path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_unicode_forms_are_one_path_and_case_is_kept() -> None:
    apart = unicodedata.normalize("NFD", "Café.txt")
    assert checked_path(apart) == "Café.txt"
    assert comparable("Café.TXT") == comparable("café.txt")
    assert comparable("straße") == comparable("STRASSE")
    assert comparable("a.txt") != comparable("b.txt")


def test_a_path_is_in_or_out() -> None:
    assert split("in/a/b.txt") == ("in", "a/b.txt")
    assert split_folder("out/") == split_folder("out") == ("out", "")
    for path in ("a.txt", "../in/x", "input/x", "", "/in/x", "IN/x"):
        with pytest.raises(FileNameError):
            split_folder(path)
    with pytest.raises(FileNameError, match="is a folder"):
        split("in")


@given(st.text(max_size=60))
def test_what_is_taken_leads_nowhere_else(path: str) -> None:
    try:
        taken = checked_path(path)
    except FileNameError:
        return
    names = taken.split("/")
    assert all(names) and not {".", ".."} & set(names)
    assert checked_path(taken) == taken
    assert comparable(comparable(taken)) == comparable(taken)
