"""Budgets as a page, for operators."""

import pytest

from tests.panel.panel_runs import Stand
from tests.panel.test_panel_account_page import PART
from tests.panel.test_panel_accounts import HTML
from tests.spooler.recording import execute


def rows(panel: Stand) -> list[str]:
    body = panel.get("/budgets").text.partition("<tbody>")[2].partition("</tbody>")[0]
    return [" ".join(row.split()) for row in body.split("</tr>") if row.strip()]


def test_others_see_a_page_that_says_no(panel: Stand) -> None:
    person = panel.person("No operator of budgets")
    assert person.client.get("/budgets", headers=HTML).status_code == 403
    for path in ("/budgets", "/budgets/remove"):
        assert person.client.post(path, data={"per": "all", "dollars": "1"}).status_code == 403
    assert "/budgets" not in person.client.get("/account", headers=HTML).text


def test_a_budget_is_set_changed_and_removed(fresh_panel: Stand) -> None:
    mira = fresh_panel.person("Mira")
    given = {"per": "owner", "name": "Mira", "dollars": "$1,200.5", "tokens": "2,000,000"}
    answer = fresh_panel.client.post("/budgets", data=given | {"at_limit": "ask"}, headers=PART)
    assert answer.status_code == 200 and "It holds at once." in answer.text
    [row] = rows(fresh_panel)
    assert "Owner Mira" in row and "$1,200.50, 2,000,000 tokens" in row and "asks" in row
    form = fresh_panel.get(f"/budgets?per=owner&name={mira.id}").text
    for label in ("What it limits", "Only this flow, service or account"):
        assert f">{label}<" in form or f">{label} <" in form
    assert 'value="1200.5"' in form and '<option value="owner" selected>' in form

    again = {"per": "owner", "name": "Mira", "dollars": "0", "tokens": ""}
    fresh_panel.client.post("/budgets", data=again, headers=PART)
    [row] = rows(fresh_panel)
    assert ">$0</td>" in row and "tokens" not in row and "stops" in row
    assert "spent</span>" in row  # of nothing all is spent

    gone = {"per": "owner", "name": mira.id}
    answer = fresh_panel.client.post("/budgets/remove", data=gone, headers=PART)
    assert "The budget is removed." in answer.text and rows(fresh_panel) == []
    answer = fresh_panel.client.post("/budgets/remove", data=gone, headers=PART)
    assert answer.status_code == 422 and "removed already" in answer.text
    recorded = [entry["action"] for entry in fresh_panel.json("/audit")["items"][:4]]
    assert recorded.count("budget_set") == 2 and "budget_remove" in recorded


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"per": "run", "dollars": "much"}, "An amount is a number from 0 on"),
        ({"per": "run", "dollars": "-1"}, "An amount is a number from 0 on"),
        ({"per": "run", "dollars": "nan"}, "An amount is a number from 0 on"),
        ({"per": "run", "tokens": "1.5"}, "A number of tokens is a whole number"),
        ({"per": "all", "name": "x"}, "has no name; leave it empty."),
        ({"per": "owner", "name": "Nobody"}, "There is no account Nobody"),
        ({"per": "week"}, "per-wrong"),
    ],
)
def test_what_is_typed_wrong_is_said_beside_it(
    fresh_panel: Stand, given: dict[str, str], said: str
) -> None:
    answer = fresh_panel.client.post("/budgets", data=given, headers=PART)
    assert answer.status_code == 422 and said in answer.text
    assert rows(fresh_panel) == []


def test_what_settings_set_is_changed_here_and_not_removed(fresh_panel: Stand) -> None:
    execute(
        fresh_panel.database,
        "INSERT INTO kodosumi.budget (per, name, dollars, at_limit, source)"
        " VALUES ('all', '', 100, 'stop', 'settings')",
    )
    [row] = rows(fresh_panel)
    assert "from settings" in row and "Remove" not in row
    fresh_panel.client.post("/budgets", data={"per": "all", "dollars": "50"}, headers=PART)
    [row] = rows(fresh_panel)
    assert "$50.00" in row and "from settings" not in row and "Remove" in row
