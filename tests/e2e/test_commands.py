"""What people do from a terminal: find a service, launch it, answer it, look what became of it."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kodosumi_prefect.cli.output import words
from tests.e2e.running import Up
from tests.e2e.terminal import Terminal

# It thinks that it was given no words; they are in sys.argv, as in a terminal.
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked")


def test_a_service_is_launched_answered_and_followed_from_the_terminal(
    up: Up, terminal: Terminal
) -> None:
    [address] = [one["url"] for one in terminal.json_of("services", "review")]
    assert address in terminal("services", "review")
    refused = terminal("launch", address, "title=", code=1)
    assert "title: " in refused and "Traceback" not in refused
    fields = ["title=Maintenance", "audience=all", "points=on Sunday"]
    fid = terminal.json_of("launch", address, *fields)["fid"]
    lock = up.until(fid, "awaiting")["locks"][0]
    assert [one["lid"] for one in terminal.json_of("answer") if one["fid"] == fid] == [lock]
    terminal("answer", fid[:8], "decision=approve")
    followed = terminal("tail", fid[:8])
    assert "asks: " in followed and "is answered: " in followed
    assert not re.search(r'[{}"]|__list__', followed), followed
    assert up.status(fid)["status"] == "finished"
    assert "no open question" in terminal("answer", fid, code=1)


def test_runs_are_narrowed_down_and_read_by_programs(up: Up, terminal: Terminal) -> None:
    fid = up.run("ticking/test", ticks=1)
    up.until(fid, "finished")
    [row] = terminal.json_of("runs", "--query", fid, "--status", "finished", "--since", "1h")
    assert (row["fid"], row["status"]) == (fid, "finished")
    assert terminal.json_of("runs", "--query", fid, "--status", "error") == []
    assert terminal.json_of("runs", "--query", fid, "--since", "2999-01-01") == []
    assert terminal.json_of("runs", "--query", fid, "--flow", "another") == []
    listed = terminal("runs", "--query", fid)
    assert listed.splitlines()[0].split() == ["began", "status", "took", "id", "what"]
    assert len(listed.splitlines()) == 2
    assert "is neither a span" in terminal("runs", "--since", "soon", code=1)


@pytest.mark.parametrize("command", ["tail", "cancel"])
def test_an_id_that_nobody_knows_is_said_at_once(terminal: Terminal, command: str) -> None:
    for unknown in (str(uuid4()), "0123456", "no id"):
        told = terminal(command, unknown, code=1)
        assert "Traceback" not in told and unknown in told
        assert len(told.strip().splitlines()) == 1


def test_files_are_launched_with_listed_got_and_put(
    up: Up, terminal: Terminal, tmp_path: Path
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"{name} ")
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "ä.bin").write_bytes(bytes(range(256)) * 40_000)
    (tmp_path / "folder" / "link").symlink_to("/etc/hostname")
    files = [f"--file=papers={tmp_path / name}" for name in ("a.txt", "b.txt")]
    fid = terminal.json_of("launch", "Join files", *files)["fid"]
    up.until(fid, "finished", 90)
    listed = terminal.json_of("files", "ls", fid)
    assert [one["path"] for one in listed] == ["in/a.txt", "in/b.txt", "out/joined.txt"]
    assert "out/joined.txt" in terminal("files", "ls", fid[:8])
    [saved] = terminal.json_of("files", "get", fid, "out/joined.txt", str(tmp_path / "new"))
    assert Path(saved["saved"]) == tmp_path / "new" / "joined.txt"
    assert (tmp_path / "new" / "joined.txt").read_text() == "a.txt b.txt "
    put = terminal.json_of("files", "put", fid, str(tmp_path / "folder"), "in/")
    assert [one["path"] for one in put] == ["in/folder/deep/ä.bin"]
    terminal("files", "get", fid, "in/folder", str(tmp_path / "back"))
    got = tmp_path / "back" / "folder" / "deep" / "ä.bin"
    assert got.read_bytes() == bytes(range(256)) * 40_000
    for wrong in (("get", fid, "out/none"), ("put", fid, str(tmp_path / "none")), ("ls", fid, "x")):
        told = terminal("files", *wrong, code=1)
        assert "Traceback" not in told and len(told.strip().splitlines()) == 1


def test_an_api_key_is_made_used_listed_and_revoked(up: Up, terminal: Terminal) -> None:
    key = terminal("keys", "make", "of a test", "--days", "1").strip()
    headers = {"KODOSUMI_API_KEY": key}
    assert up.client.get("/flow", headers=headers).status_code == 200
    [row] = [one for one in terminal.json_of("keys") if one["name"] == "of a test"]
    assert key not in json.dumps(row) and key.startswith(row["prefix"])
    terminal("keys", "revoke", row["id"])
    assert row["id"] not in terminal("keys")
    assert "has no API key" in terminal("keys", "revoke", row["id"], code=1)


def test_a_command_that_finds_no_stack_says_where_one_runs(
    up: Up, terminal: Terminal, tmp_path: Path
) -> None:
    for command in ("runs", "services", "env"):
        told = terminal(command, "--data-dir", str(tmp_path), code=1)
        assert "; running: --data-dir " in told  # beside stacks that others run
        assert f"--data-dir {up.data_dir}" in told
    listed = terminal("runs", "--data-dir", str(up.data_dir))
    assert "began" in listed or "no executions" in listed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"days": 7, "tags": ["a", "b"], "to": {"x": 1, "y": None}}, None),
        ({"__list__": [{"int": 1}, {"str": "two"}, {"dict": {"a": True}}]}, "1, two, a: yes"),
        ("plain", "plain"),
        (2.5, "2.5"),
    ],
)
def test_json_is_read_as_words(value: Any, text: str | None) -> None:
    expected = "days: 7, tags: (a, b), to: (x: 1, y: nothing)" if text is None else text
    assert words(value) == expected
