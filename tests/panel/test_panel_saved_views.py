"""Views of the list that accounts save."""

import re
from uuid import uuid4

import httpx
import pytest

from tests.panel.panel_runs import Stand


def save(client: httpx.Client, name: str, query: str = "", **more: str) -> httpx.Response:
    form = {"name": name, "query": query, **more}
    return client.post("/executions/views", data=form, follow_redirects=False)


def views(client: httpx.Client, query: str = "") -> dict[str, str]:
    text = client.get(f"/executions{query}").text
    return {
        name: href.replace("&amp;", "&")
        for href, name in re.findall(
            r'<a href="(/executions[^"]*)"[^>]*>([^<]+)</a>',
            next(iter(re.findall(r'<nav class="views".*?</nav>', text, re.S)), ""),
        )
    }


def test_a_view_keeps_filter_and_order_and_leads_back_to_them(panel: Stand) -> None:
    mira = panel.person("Mira views")
    answer = save(mira.client, "  Bad   nights ", "?status=error&last=night&sort=name&before=x")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/executions?status=error&last=night&sort=name"
    assert views(mira.client)["Bad nights"] == answer.headers["location"]
    text = mira.client.get(answer.headers["location"]).text
    assert re.search(r'aria-current="true">Bad nights', text)
    save(mira.client, "Bad nights", "status=error")  # of the same name: it is replaced
    assert views(mira.client)["Bad nights"] == "/executions?status=error"


def test_a_view_is_its_accounts_until_an_operator_shares_one(panel: Stand) -> None:
    mira, noor = panel.person("Mira alone"), panel.person("Noor alone")
    save(mira.client, "Hers", "flow=a")
    assert "Hers" not in views(noor.client)
    assert save(mira.client, "Ours", "flow=a", shared="true").status_code == 403
    shared = f"Everybody {uuid4().hex[:6]}"
    assert save(panel.client, shared, "flow=b", shared="true").status_code == 303
    assert views(mira.client)[shared] == "/executions?flow=b"


def test_a_view_is_deleted_by_whom_it_belongs_to(panel: Stand) -> None:
    mira, noor = panel.person("Mira deletes"), panel.person("Noor deletes")
    save(mira.client, "Hers", "flow=a")
    [path] = re.findall(
        r'action="(/executions/views/[^"]+/delete)"', mira.client.get("/executions").text
    )
    assert noor.client.post(path).status_code == 404
    answer = mira.client.post(path, data={"query": "?flow=a"}, follow_redirects=False)
    assert answer.headers["location"] == "/executions?flow=a"
    assert "Hers" not in views(mira.client)
    assert mira.client.post(path).status_code == 404


@pytest.mark.parametrize("name", ["", "  "])
def test_a_view_has_a_name(panel: Stand, name: str) -> None:
    assert save(panel.client, name, "flow=a").status_code == 422


def test_views_of_an_account_are_not_without_end(panel: Stand) -> None:
    mira = panel.person("Mira many")
    for n in range(50):
        assert save(mira.client, f"view {n}").status_code == 303
    assert save(mira.client, "one more").status_code == 422
    assert save(mira.client, "view 7", "flow=a").status_code == 303
