"""The page of schedules: whose they are, when they run in plain words, and changing them."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from kodosumi_prefect.addresses import PrefectAccess
from kodosumi_prefect.launch.launch import Launch
from kodosumi_prefect.panel.schedules.rule_words import cron_words, interval_words
from kodosumi_prefect.settings import Settings, write_address
from tests.panel.panel_runs import Person, Stand, serving
from tests.serve.conftest import launcher, service_loop  # noqa: F401
from tests.serve.launches import Launcher, request
from tests.services import record_prefect

HTML = {"Accept": "text/html,application/xhtml+xml"}
HTMX = {"HX-Request": "true"}
NASTY = '"><script>alert(1)</script>'


@pytest.fixture
def stand(launcher: Launcher) -> Iterator[Stand]:  # noqa: F811
    url = SecretStr(launcher.place.database)
    settings = launcher.place.settings.model_copy(update={"database_url": url})
    record_prefect(settings, launcher.place.api_url)
    try:
        with serving(settings) as made:
            yield made
    finally:
        write_address(settings, "prefect", None)


def somebody(stand: Stand) -> Person:
    return stand.person(f"mira-{uuid4().hex[:6]}")


def scheduled(launcher: Launcher, user: str, **wanted: Any) -> str:  # noqa: F811
    launch = Launch(request(user=user), "tests.samples.entrypoints:nothing")
    return launcher.do(launch.schedule, launcher.endpoint("on pages"), wanted)


def foreign(launcher: Launcher, *, tag: str, paused: bool = False) -> tuple[str, str]:  # noqa: F811
    """Ids of a deployment of somebody else and of its schedule."""
    flow = launcher.prefect("POST", "flows/", name=f"foreign-{uuid4().hex[:6]}")
    made = launcher.prefect(
        "POST",
        "deployments/",
        name=f"nightly-{tag}",
        flow_id=flow["id"],
        tags=[tag],
        paused=paused,
        schedules=[{"schedule": {"cron": "0 3 * * 1-5", "timezone": "Europe/Berlin"}}],
    )
    return made["id"], made["schedules"][0]["id"]


def row(text: str, id_: str) -> str:
    """The row of a schedule."""
    _, _, rest = text.partition(f'<tr role="row" id="schedule-{id_}">')
    return rest.partition("</tr>")[0]


def active(launcher: Launcher, deployment: str) -> list[bool]:  # noqa: F811
    found = launcher.prefect("GET", f"deployments/{deployment}/schedules")
    return [schedule["active"] for schedule in found]


def test_browsers_get_a_page_and_clients_json_from_the_same_address(
    stand: Stand,
    launcher: Launcher,  # noqa: F811
) -> None:
    mira = somebody(stand)
    wanted = {"cron": "0 7 * * 1", "timezone": "Europe/Berlin", "name": f"Mondays {NASTY}"}
    id_ = scheduled(launcher, mira.id, **wanted)
    (item,) = mira.client.get("/schedules").json()["items"]
    assert item["id"] == id_
    page = mira.client.get("/schedules", headers=HTML)
    assert page.headers["content-type"].startswith("text/html")
    shown = row(page.text, id_)
    assert "At 07:00, only on Monday" in shown
    assert "Europe/Berlin" in shown
    assert "/services/" not in shown  # which nothing here is registered for
    launcher.rows(
        "WITH source AS (INSERT INTO kodosumi.source (url, kind) VALUES (%s, 'openapi')"
        " RETURNING id) INSERT INTO kodosumi.endpoint (uid, source_id, method, url, base_url)"
        " SELECT %s, id, 'POST', '/-/a/0/-/', 'http://a' FROM source RETURNING uid",
        f"http://{uuid4().hex}/openapi.json",
        item["endpoint"],
    )
    page = mira.client.get("/schedules", headers=HTML)
    assert f'href="/services/{item["endpoint"]}"' in row(page.text, id_)
    assert shown.count("data-local") == 3
    assert "Mondays &#34;&gt;&lt;script&gt;" in shown
    assert "<script>alert" not in page.text
    other = somebody(stand).client.get("/schedules", headers=HTML).text
    assert "Nothing is scheduled" in other
    assert id_ not in other
    assert mira.client.get("/schedules", params={"q": "tuesdays"}).json() == {"items": []}
    assert mira.client.get("/schedules", params={"paused": "x"}).status_code == 422


def test_one_is_paused_resumed_and_deleted_on_its_row(stand: Stand, launcher: Launcher) -> None:  # noqa: F811
    mira, other = somebody(stand), somebody(stand)
    id_ = scheduled(launcher, mira.id, interval=5400)
    shown = mira.client.post("/schedules/change", data={"do": "pause", "id": id_}, headers=HTMX)
    assert "1 schedule paused." in shown.text
    assert ">paused</span>" in row(shown.text, id_)
    assert "Every 1 hour 30 minutes" in row(shown.text, id_)
    assert mira.client.get("/schedules").json()["items"][0]["active"] is False
    plain = mira.client.post("/schedules/change", data={"do": "resume", "id": id_})
    assert (plain.status_code, plain.headers["location"]) == (303, "/schedules")
    assert mira.client.get("/schedules").json()["items"][0]["active"] is True
    for do in ("pause", "delete"):
        refused = other.client.post("/schedules/change", data={"do": do, "id": id_})
        assert refused.status_code == 404
    assert mira.client.post("/schedules/change", data={"do": "burn"}).status_code == 422
    assert mira.client.post("/schedules/change", data={"do": "delete"}).status_code == 422
    gone = mira.client.post("/schedules/change", data={"do": "delete", "id": id_}, headers=HTMX)
    assert "1 schedule deleted." in gone.text
    assert "Nothing is scheduled" in gone.text


def test_all_of_ones_own_that_a_filter_holds_change_at_once(
    stand: Stand,
    launcher: Launcher,  # noqa: F811
) -> None:
    mira, other = somebody(stand), somebody(stand)
    for name in ("red one", "red two", "blue"):
        scheduled(launcher, mira.id, interval=3600, name=name)
    theirs = scheduled(launcher, other.id, interval=3600, name="red of another")
    shown = mira.client.get("/schedules", params={"q": "red"}, headers=HTML).text
    assert "Pause all shown (2)" in shown
    assert "2 of 3" in shown
    said = mira.client.post(
        "/schedules/change", params={"q": "red"}, data={"do": "pause"}, headers=HTMX
    )
    assert "2 schedules paused." in said.text
    items = mira.client.get("/schedules").json()["items"]
    assert {item["summary"]: item["active"] for item in items} == {
        "red one": False,
        "red two": False,
        "blue": True,
    }
    assert other.client.get("/schedules").json()["items"][0]["active"] is True
    paused = mira.client.get("/schedules", params={"paused": "true"}).json()["items"]
    assert {item["summary"] for item in paused} == {"red one", "red two"}
    said = mira.client.post("/schedules/change", data={"do": "resume"}, headers=HTMX)
    assert "2 schedules resumed." in said.text
    for id_ in (theirs, *(item["id"] for item in items)):
        assert stand.client.delete(f"/schedules/{id_}").status_code == 204


def test_operators_see_and_switch_schedules_of_other_deployments(
    stand: Stand,
    launcher: Launcher,  # noqa: F811
) -> None:
    tag = f"tag-{uuid4().hex[:6]}"
    deployment, id_ = foreign(launcher, tag=tag)
    other, _ = foreign(launcher, tag=f"{tag}-b")
    shown = stand.get("/schedules", params={"tag": tag}, headers=HTML).text
    assert "At 03:00, Monday through Friday" in row(shown, id_)
    assert "made in Prefect" in row(shown, id_)
    assert f"/nightly-{tag}" in row(shown, id_)
    assert shown.count('<tr role="row" id="schedule-') == 1
    assert 'data-sure="delete"' not in shown
    mira = somebody(stand)
    assert id_ not in mira.client.get("/schedules", headers=HTML).text
    wanted = {"do": "pause", "id": id_, "deployment": deployment}
    assert mira.client.post("/schedules/change", data=wanted).status_code == 403
    refused = stand.client.post("/schedules/change", data=wanted | {"do": "delete"})
    assert refused.status_code == 409
    assert stand.client.post("/schedules/change", data=wanted, headers=HTMX).status_code == 200
    assert active(launcher, deployment) == [False]
    said = stand.client.post(
        "/schedules/change", params={"tag": tag}, data={"do": "resume"}, headers=HTMX
    )
    assert "1 schedule resumed." in said.text
    stand.client.post("/schedules/change", params={"tag": tag}, data={"do": "pause"}, headers=HTMX)
    assert (active(launcher, deployment), active(launcher, other)) == ([False], [True])
    for each in (deployment, other):
        launcher.prefect("DELETE", f"deployments/{each}")


def test_a_schedule_of_a_paused_deployment_says_why_it_rests(
    stand: Stand,
    launcher: Launcher,  # noqa: F811
) -> None:
    tag = f"tag-{uuid4().hex[:6]}"
    deployment, id_ = foreign(launcher, tag=tag, paused=True)
    shown = stand.get("/schedules/list", params={"tag": tag}).text
    assert "its deployment is paused in Prefect" in row(shown, id_)
    assert "Resume" not in row(shown, id_)
    launcher.prefect("DELETE", f"deployments/{deployment}")


def test_while_prefect_is_away_the_page_shows_what_is_kept(
    stand: Stand,
    launcher: Launcher,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mira = somebody(stand)
    id_ = scheduled(launcher, mira.id, interval=3600, name="Kept in mind")
    from kodosumi_prefect.launch import prefect_api

    with monkeypatch.context() as patch:
        patch.setattr(
            prefect_api, "require_access", lambda _: PrefectAccess("http://127.0.0.1:9/api")
        )
        page = mira.client.get("/schedules", headers=HTML)
        assert page.status_code == 200
        assert "Prefect does not answer" in page.text
        assert "Kept in mind" in row(page.text, id_)
        assert "unknown for now" in row(page.text, id_)
        assert "data-sure" not in page.text
        refused = mira.client.post("/schedules/change", data={"do": "pause"}, headers=HTMX)
        assert refused.status_code == 502
    assert stand.client.delete(f"/schedules/{id_}").status_code == 204


def test_a_panel_without_prefect_says_so(settings: Settings) -> None:
    with serving(settings) as stand:
        page = stand.get("/schedules", headers=HTML)
        assert (page.status_code, "Prefect does not answer" in page.text) == (200, True)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 7 * * *", "At 07:00"),
        ("*/15 9-17 * * 1-5", "Every 15 minutes, between 09:00 and 17:59, Monday through Friday"),
        ("@daily", "At 00:00"),
        ("0 9 * * 0", "At 09:00, only on Sunday"),
        ("every now and then", None),
        ("", None),
    ],
)
def test_crons_are_put_into_words(cron: str, words: str | None) -> None:
    assert cron_words(cron) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (60, "Every minute"),
        (86_400, "Every day"),
        (5400, "Every 1 hour 30 minutes"),
        (172_861, "Every 2 days 1 minute 1 second"),
        (0.5, "Every 0.5 seconds"),
    ],
)
def test_intervals_are_put_into_words(seconds: float, words: str) -> None:
    assert interval_words(seconds) == words
