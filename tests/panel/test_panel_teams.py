"""Teams, kept by operators: over HTTP, on the page, from the command line; each in the audit."""

import io
import json
import sys
from html import unescape

import pytest

from kodosumi_prefect.cli import main
from kodosumi_prefect.settings import Settings
from tests.audit_entries import entry
from tests.panel.asked_questions import add_team, asking
from tests.panel.panel_runs import Stand, serving
from tests.panel.test_panel_account_page import PART


def test_operators_make_change_and_delete_teams(panel: Stand) -> None:
    ann, bob = panel.person("ann-of-teams"), panel.person("bob-of-teams")
    made = panel.client.post("/team", json={"name": "Legal EU", "members": ["ANN-of-teams"]})
    assert (made.status_code, made.json()["members"]) == (201, [ann.name])
    created = entry(panel, action="team_create", target_name="Legal EU")
    assert created["details"] == {"members": [ann.name]}
    assert panel.client.post("/team", json={"name": "legal eu"}).status_code == 409
    changed = panel.client.put("/team/legal eu", json={"name": "Legal", "members": [bob.name]})
    assert changed.json() == {"id": made.json()["id"], "name": "Legal", "members": [bob.name]}
    assert entry(panel, action="team_change", target_name="Legal EU")["details"] == {
        "name": "Legal",
        "added": [bob.name],
        "removed": [ann.name],
    }
    assert panel.json("/team/LEGAL")["members"] == [bob.name]
    unknown = panel.client.put("/team/legal", json={"members": ["zoe"]})
    assert (unknown.status_code, unknown.json()["detail"]) == (422, "there is no account 'zoe'")
    assert panel.client.delete("/team/legal").status_code == 204
    assert entry(panel, action="team_delete", target_name="Legal")["outcome"] == "ok"
    assert panel.get("/team/legal").status_code == 404
    for name in ("", "a:b", "x" * 101, "a/b", ".."):
        assert panel.client.post("/team", json={"name": name}).status_code == 422
    half = {"content": b'{"name": "half", "members": ["\\ud800"]}'}
    assert (
        panel.client.post("/team", headers={"content-type": "application/json"}, **half).status_code
        == 422
    )
    for method, path in (("GET", "/team"), ("POST", "/team"), ("GET", "/teams")):
        assert ann.client.request(method, path, json={"name": "x"}).status_code == 403


def test_whom_a_question_reaches_changes_with_the_team_and_stands_in_its_steps(
    panel: Stand,
) -> None:
    ann = panel.person("ann-who-leaves")
    add_team(panel, "left-by-ann", ann.name)
    _, where = asking(panel, ask=["team:left-by-ann"])
    assert where in ann.client.get("/waiting").text
    for members in ([], [ann.name]):
        panel.client.put("/team/left-by-ann", json={"members": members}).raise_for_status()
        seen = where in ann.client.get("/waiting").text
        assert seen == bool(members)
        assert ann.client.get(f"/lock/{where}").status_code == (200 if members else 404)
    page = unescape(panel.get(f"/waiting/{where}").text)
    assert f"{ann.name} left team left-by-ann: asked no more" in page
    assert f"{ann.name} joined team left-by-ann: asked too" in page
    steps = panel.json(f"/lock/{where}/steps")["steps"]
    assert [(step["step"], step["asked"], step["reached"]) for step in steps] == [
        ("left", ["team:left-by-ann"], [ann.name]),
        ("joined", ["team:left-by-ann"], [ann.name]),
    ]


def test_teams_are_kept_on_a_page(panel: Stand) -> None:
    ann = panel.person("ann-of-the-page")
    assert "Add a team" in panel.get("/teams").text
    made = panel.client.post("/teams", data={"name": "paged", "members": [ann.name]}, headers=PART)
    assert "“paged” is added." in made.text
    wrong = panel.client.post("/teams", data={"name": "paged"}, headers=PART)
    assert wrong.status_code == 422
    assert "There is a team 'paged' already." in unescape(wrong.text)
    saved = panel.client.post("/teams/paged", data={"new_name": "renamed"}, headers=PART)
    assert "“renamed” is saved." in saved.text
    assert panel.json("/team/renamed")["members"] == []
    gone = panel.client.post("/teams/renamed/delete", headers=PART)
    assert "“renamed” is deleted." in gone.text


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked")
def test_teams_are_kept_from_the_command_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def team(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kodosumi-prefect", "team", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    with serving(settings) as stand:
        stand.person("ann")
        stand.person("bob")
        assert team("add", "legal", "ann") == (0, "legal: ann\n", "")
        assert team("join", "legal", "Bob") == (0, "legal: ann, bob\n", "")
        assert team("leave", "legal", "ANN") == (0, "legal: bob\n", "")
        assert team("rename", "legal", "lead") == (0, "lead: bob\n", "")
        [row] = json.loads(team("list", "--output", "json")[1])
        assert (row["name"], row["members"]) == ("lead", ["bob"])
        assert "lead  bob" in team("list")[1]
        code, _, wrong = team("join", "lead", "zoe")
        assert (code, wrong.strip()) == (1, "there is no account 'zoe'")
        assert team("remove", "lead") == (0, "deleted lead\n", "")
        assert team("remove", "lead")[0] == 1
        assert entry(stand, action="team_create")["means"] == "cli"
        assert entry(stand, action="team_delete")["target_name"] == "lead"
