"""`kodosumi-prefect user`: accounts from the command line."""

import io
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psycopg
import pytest

from kodosumi_prefect.cli import main
from kodosumi_prefect.files.owned import ERASED
from kodosumi_prefect.files.record import StoredFile, payload_of
from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.settings import Settings, use_settings
from tests.panel.asked_questions import asking
from tests.panel.panel_runs import fetch, serving

# It thinks that it was given no words; they are in sys.argv, as in a terminal.
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked")

PASSWORD = "long enough to guess"


class Done(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def user(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `kodosumi-prefect user WORDS`, with a password on stdin."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str, password: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["kodosumi-prefect", "user", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\n"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


def refused(done: Done) -> str:
    """The one line that says why."""
    assert done.code == 1, done.out
    line = done.err.strip()
    assert "\n" not in line and "Traceback" not in line
    return line


def test_an_account_is_made_used_listed_and_disabled(user, settings: Settings) -> None:
    with serving(settings) as stand:
        assert user("add", "Mira", "--email", "m@example.org", password=PASSWORD).code == 0
        client = stand.connect()
        login = {"name": "Mira", "password": PASSWORD}
        assert client.post("/login", data=login).status_code == 200
        shown = user("list").out
        assert "Mira" in shown and "m@example.org" in shown and "admin" in shown
        assert "argon2" not in shown and PASSWORD not in shown
        assert user("passwd", "mira", password="another long one").code == 0
        assert stand.connect().post("/login", data=login).status_code == 401
        login["password"] = "another long one"
        assert stand.connect().post("/login", data=login).status_code == 200
        assert user("disable", "mira").code == 0
        assert stand.connect().post("/login", data=login).status_code == 401
        assert user("enable", "mira").code == 0
        assert stand.connect().post("/login", data=login).status_code == 200


def test_what_cannot_be_is_one_line(user, settings: Settings) -> None:
    assert user("add", "Only", "--operator", password=PASSWORD).code == 0
    assert "last" in refused(user("disable", "Only"))
    assert "last" in refused(user("operator", "Only", "--off"))
    assert "taken" in refused(user("add", "ONLY", password=PASSWORD))
    assert "nobody" in refused(user("passwd", "nobody", password=PASSWORD))
    assert "8" in refused(user("add", "Weak", password="short"))
    assert "8" in refused(user("add", "Weak"))
    assert user("add", "Weak", PASSWORD).code != 0  # never an argument
    assert "slash" in refused(user("add", "a/b", password=PASSWORD))
    names = [
        row["name"]
        for row in fetch(settings.database_url.get_secret_value(), "TABLE kodosumi.role")
    ]
    assert names == ["Only"]


def test_with_a_proxy_no_password_is_asked_for(user, settings: Settings) -> None:
    with use_settings(settings.model_copy(update={"auth": "proxy"})):
        done = user("add", "mira@example.org", "--operator")
    assert done.code == 0, done.err
    (row,) = fetch(settings.database_url.get_secret_value(), "TABLE kodosumi.role")
    assert (row["name"], row["operator"], row["password"]) == ("mira@example.org", True, None)


def test_all_that_is_kept_of_an_account_is_exported_and_erased(
    user, settings: Settings, tmp_path: Path
) -> None:
    with serving(settings) as stand, use_settings(settings):
        user("add", "Mira", password=PASSWORD)
        listed = json.loads(user("list", "--output", "json").out)
        mira = next(each["id"] for each in listed if each["name"] == "Mira")
        hers = stand.run(owner=mira, summary="hers").begin().say("stdout", "said by Mira")
        alive = stand.run(owner=mira).begin()
        other = stand.run(owner="somebody", summary="another's").begin().finish()
        storage = storage_of(settings)
        key = f"objects/{hers.fid}/{uuid4()}"
        report = StoredFile("out/report.txt", key, *storage.write_whole(key, b"of hers"), "text/x")
        hers.say("upload", payload_of([report]))
        hers.finish()

        folder = tmp_path / "record"
        assert "wrote 2 executions of Mira" in user("export", "Mira", str(folder)).out
        assert {each.name for each in folder.iterdir()} == {hers.fid, alive.fid}
        assert (folder / hers.fid / "out" / "report.txt").read_bytes() == b"of hers"
        record = json.loads((folder / hers.fid / "execution.json").read_text())
        assert (record["summary"], record["owner"]) == ("hers", mira)
        lines = (folder / hers.fid / "events.ndjson").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert "said by Mira" in [event["payload"] for event in events]
        assert "not empty" in refused(user("export", "Mira", str(folder)))

        assert alive.fid in refused(user("erase", "Mira", "--yes"))
        assert stand.get(f"/outputs/status/{hers.fid}").status_code == 200
        alive.finish()
        assert "nothing is deleted" in refused(user("erase", "Mira"))
        assert "deleted 2 executions of Mira" in user("erase", "Mira", "--yes").out
        for run in (hers, alive):
            assert stand.get(f"/outputs/status/{run.fid}").status_code == 404
        assert list(storage.contents("objects")) == []
        assert stand.get(f"/outputs/status/{other.fid}").status_code == 200
        done = [entry["action"] for entry in stand.json("/audit")["items"]]
        assert done.count("owner_erase") == done.count("owner_export") == 1
        assert "deleted 0 executions" in user("erase", mira, "--yes").out
        assert "there is no account" in refused(user("export", "Nobody", str(tmp_path / "no")))


def test_an_erased_account_is_not_named_in_questions_of_others(user, settings: Settings) -> None:
    public = settings.model_copy(update={"panel_url": "https://panel.example.org"})
    with serving(public) as stand, use_settings(settings):
        mira, lea, noor = (stand.person(name) for name in ("Mira", "Lea", "Noor"))
        told = {"ask": ["mira", "lea"], "link": True, "quorum": 2, "title": "Ask Mira?"}
        told["escalate"] = [{"after": 3600.0, "to": ["mira"]}]
        run, where = asking(stand, noor.id, **told)
        handed, elsewhere = asking(stand, noor.id, ask=["mira"])
        _, still = asking(stand, noor.id, ask=["mira"])
        link = stand.client.post(f"/lock/{where}/links", json={"account": "Mira"})
        assert link.status_code == 201, link.text
        for each in (mira, lea):
            assert each.client.post(f"/lock/{where}", json={"stars": 4}).status_code == 200
        path = f"/lock/{elsewhere}"
        assert mira.client.post(f"{path}/delegate", json={"to": "lea"}).status_code == 200
        assert lea.client.post(f"{path}/delegate", json={"to": "mira"}).status_code == 200
        assert mira.client.post(path, json={"stars": 1}).status_code == 200
        assert "1 questions of others" in refused(user("erase", "Mira", "--yes"))
        before = stand.json(f"/lock/{where}/steps")["steps"]
        assert [step["by"] for step in before if step["step"] == "answered"] == [ERASED, "Lea"]
        assert stand.client.post(f"/lock/{still}", json={"stars": 1}).status_code == 200
        assert user("erase", "Mira", "--yes").code == 0
        tables = fetch(
            stand.database,
            "SELECT tablename FROM pg_tables WHERE schemaname = 'kodosumi'"
            " AND tablename NOT IN ('role', 'audit', 'team_member', 'login_attempt')",
        )
        for table in [row["tablename"] for row in tables]:
            rows = str(fetch(stand.database, f'SELECT * FROM kodosumi."{table}"'))
            rows = rows.replace("Ask Mira?", "")  # the author's words
            assert mira.id not in rows, table
            assert not re.search("mira", rows, re.IGNORECASE), table
        said = stand.json(f"/outputs/events/{run.fid}")["items"]
        assert any(
            e["payload"] == f"Question “Ask Mira?”: answered by {ERASED}, 1 of 2" for e in said
        )
        lease = stand.json(f"/outputs/events/{handed.fid}", params={"kinds": "lease"})["items"][0]
        assert lease["source"]["answered_by"]["name"] == ERASED
        assert lease["source"]["answered_by"]["id"] is None


def test_an_execution_that_is_being_written_is_not_erased_and_keeps_its_files(
    user, settings: Settings
) -> None:
    with serving(settings) as stand, use_settings(settings):
        user("add", "Mira", password=PASSWORD)
        [mira] = [
            e["id"] for e in json.loads(user("list", "--output", "json").out) if e["name"] == "Mira"
        ]
        storage, held = storage_of(settings), stand.run(owner=mira).begin()
        key = f"objects/{held.fid}/{uuid4()}"
        file = StoredFile("out/a.txt", key, *storage.write_whole(key, b"hers"), "text/plain")
        held.say("upload", payload_of([file])).finish()
        with psycopg.connect(stand.database) as writer:
            writer.execute("SELECT FROM kodosumi.execution WHERE fid = %s FOR UPDATE", (held.fid,))
            assert "1 executions of Mira are left" in refused(user("erase", "Mira", "--yes"))
            assert b"".join(storage.read(key)) == b"hers"
        assert "deleted 1 executions" in user("erase", "Mira", "--yes").out
        assert storage.size(key) is None


def test_without_anybody_to_ask_nothing_is_erased(
    user, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(settings), use_settings(settings):
        user("add", "Mira", password=PASSWORD)
        monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(EOFError))
        assert "nothing is deleted" in refused(user("erase", "Mira"))
