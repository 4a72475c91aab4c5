"""Links with which one question is answered without signing in."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from kodosumi_prefect import forms
from kodosumi_prefect.locks.links import is_loopback
from kodosumi_prefect.settings import Settings
from tests.answering import locks
from tests.audit_entries import entry, last_id
from tests.panel.asked_questions import add_team, asking
from tests.panel.panel_runs import Run, Stand, fetch, serving

PUBLIC = "https://panel.example.org/kodosumi"


@pytest.fixture
def public(settings: Settings) -> Iterator[Stand]:
    """A panel that others reach."""
    with serving(settings.model_copy(update={"panel_url": PUBLIC})) as stand:
        yield stand


def make(stand: Stand, where: str, client: httpx.Client | None = None, **wanted: Any) -> Any:
    """A link as the API answers it, with its path in this panel."""
    wanted = wanted or {"recipient": "Jane of Legal"}
    made = (client or stand.client).post(f"/lock/{where}/links", json=wanted)
    assert made.status_code == 201, made.text
    link = made.json()
    assert link["url"].startswith(f"{PUBLIC}/answer/")
    return link | {"path": urlsplit(link["url"]).path.removeprefix("/kodosumi")}


def state(stand: Stand, run: Run) -> str:
    return str(locks(stand.database, run.fid, None)[0]["state"])


def test_a_link_answers_one_question_once_without_signing_in(public: Stand) -> None:
    run, where = asking(public, link=True)
    link = make(public, where)
    outside = public.connect()
    for _ in range(3):  # scanners of mail open links too
        shown = outside.get(link["path"])
        assert (shown.status_code, outside.head(link["path"]).status_code) == (200, 200)
    assert "For Jane of Legal" in shown.text
    assert 'name="field.stars"' in shown.text
    assert "Sign out" not in shown.text
    assert (shown.headers["referrer-policy"], shown.headers["cache-control"]) == (
        "no-referrer",
        "no-store",
    )
    assert link["path"].rpartition("/")[2] not in shown.text
    refused = outside.post(link["path"], data={"field.stars": "9"})
    assert refused.status_code == 422
    assert 'aria-invalid="true"' in refused.text
    assert state(public, run) == "open"
    before = last_id(public)
    done = outside.post(link["path"], data={"field.stars": "4"})
    assert done.status_code == 200
    assert "your answer is given" in done.text
    assert state(public, run) == "leased"
    answered = entry(public, before, action="lock_answer")
    assert (answered["means"], answered["actor_id"], answered["actor_name"]) == (
        "link",
        None,
        "Jane of Legal",
    )
    for method in ("GET", "POST"):
        used = outside.request(method, link["path"], data={"field.stars": "4"})
        assert used.status_code == 409
        assert "This link was used" in used.text
        assert "draft" not in used.text
    lease = public.json(f"/outputs/events/{run.fid}", params={"kinds": "lease"})["items"][0]
    assert lease["source"]["answered_by"] == {
        "id": "link:jane of legal",
        "name": "Jane of Legal",
        "means": "link",
    }
    made = entry(public, action="link_create")
    assert made["details"] == {"fid": run.fid, "recipient": "Jane of Legal", "code": False}


def test_a_token_is_kept_as_a_hash_and_in_no_log_event_or_audit(
    public: Stand, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, where = asking(public, link=True)
    caplog.set_level(logging.DEBUG)
    # As logging is once Prefect, or anybody, has configured it after uvicorn did.
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "propagate", True)
    link = make(public, where)
    token = link["path"].rpartition("/")[2]
    outside = public.connect()

    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr("kodosumi_prefect.panel.locks.answer_pages._at_desk", broken)
        failed = outside.get(link["path"], headers={"Accept": "application/json"})
    assert failed.status_code == 500
    assert token not in failed.text
    assert failed.headers["referrer-policy"] == "no-referrer"
    assert outside.post(link["path"], data={"field.stars": "4"}).status_code == 200
    client = ("httpx", "httpcore")  # of this test
    logged = [each for each in caplog.records if not each.name.startswith(client)]
    assert any("/answer/…" in record.getMessage() for record in logged)
    assert not any(token in record.getMessage() for record in logged)
    tables = [row["tablename"] for row in fetch(public.database, TABLES)]
    for table in tables:
        assert token not in str(fetch(public.database, f'SELECT * FROM kodosumi."{table}"')), table


TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'kodosumi'"


def test_of_a_link_and_the_panel_at_once_one_answers(public: Stand) -> None:
    outside = public.connect()
    for _turn in range(3):
        run, where = asking(public, link=True)
        path = make(public, where)["path"]
        posts: list[tuple[httpx.Client, str, dict[str, Any]]] = [
            (public.client, f"/lock/{where}", {"json": {"stars": 1}}),
            (outside, path, {"data": {"field.stars": "2"}}),
            (outside, path, {"data": {"field.stars": "3"}}),
        ]
        with ThreadPoolExecutor(3) as pool:
            answers = pool.map(lambda post: post[0].post(post[1], **post[2]), posts)
            codes = sorted(answer.status_code for answer in answers)
        assert codes == [200, 409, 409]
        assert state(public, run) == "leased"
        events = public.json(f"/outputs/events/{run.fid}", params={"kinds": "lease"})["items"]
        assert len(events) == 1


def test_handing_a_question_on_revokes_the_links_to_it(public: Stand) -> None:
    ann, bob = public.person("ann"), public.person("bob")
    _, where = asking(public, ann.id, link=True)
    anybodys, anns = make(public, where, ann.client), make(public, where, account="ann")
    assert ann.client.post(f"/lock/{where}/delegate", json={"to": "bob"}).status_code == 200
    outside = public.connect()
    for link in (anybodys, anns):
        gone = outside.post(link["path"], data={"field.stars": "4"})
        assert gone.status_code == 409
        assert "not valid any more" in gone.text
    bobs = make(public, where, account="bob")
    assert outside.post(bobs["path"], data={"field.stars": "4"}).status_code == 200
    assert entry(public, action="lock_answer", outcome="ok")["actor_id"] == bob.id


def test_a_link_ends_with_its_question_and_with_its_recipient_s_right(public: Stand) -> None:
    ann = public.person("ann")
    run, where = asking(public, ann.id, link=True)
    link = make(public, where, account="ann")
    public.client.put(f"/role/{ann.id}", json={"active": False})
    outside = public.connect()
    assert outside.get(link["path"]).status_code == 409
    public.client.put(f"/role/{ann.id}", json={"active": True})
    assert outside.get(link["path"]).status_code == 200
    run.finish()
    over = outside.get(link["path"])
    assert over.status_code == 409
    assert "of a run that is over" in over.text


def test_a_link_for_anybody_ends_with_the_right_of_who_made_it(public: Stand) -> None:
    ann, bob = public.person("ann"), public.person("bob")
    root = public.person("root", operator=True)
    add_team(public, "legal", "ann", "bob")
    run, where = asking(public, link=True, ask=["team:legal"])
    people = (ann, bob, root)
    of_ann, of_bob, of_root = (make(public, where, one.client)["path"] for one in people)
    public.client.put(f"/role/{ann.id}", json={"active": False})
    public.client.put("/team/legal", json={"members": []})
    public.client.put(f"/role/{root.id}", json={"operator": False})
    outside = public.connect()
    for path in (of_ann, of_bob, of_root):
        assert outside.get(path).status_code == 409
        assert outside.post(path, data={"field.stars": "4"}).status_code == 409
    assert state(public, run) == "open"
    public.client.put("/team/legal", json={"members": ["bob"]})
    assert outside.post(of_bob, data={"field.stars": "4"}).status_code == 200


def test_a_question_may_have_a_field_that_is_called_code(public: Stand) -> None:
    run, where = asking(public, form=None, link=True)
    given = {"code": "SAVE10"}
    assert public.connect().post(make(public, where)["path"], json=given).status_code == 200
    [lease] = public.json(f"/outputs/events/{run.fid}", params={"kinds": "lease"})["items"]
    assert json.loads(lease["payload"])["dict"]["result"] == given


def test_a_code_is_asked_for_and_guessed_five_times_at_most(public: Stand) -> None:
    run, where = asking(public, link=True)
    outside = public.connect()
    link = make(public, where, recipient="Jane", code=True)
    assert len(link["code"]) == 6
    assert 'name="code"' in outside.get(link["path"]).text
    wrong = f"{(int(link['code']) + 1) % 1_000_000:06d}"
    answer = {"field.stars": "4"}
    refused = outside.post(link["path"], data=answer | {"code": wrong})
    assert refused.status_code == 422
    assert "This is not the code." in refused.text
    assert 'value="4"' in refused.text
    spaced = f"{link['code'][:3]} {link['code'][3:]}"
    assert outside.post(link["path"], data=answer | {"code": spaced}).status_code == 200
    run, where = asking(public, link=True)
    link = make(public, where, recipient="Jane", code=True)
    wrong = f"{(int(link['code']) + 1) % 1_000_000:06d}"
    with ThreadPoolExecutor(8) as pool:
        guesses = [
            pool.submit(outside.post, link["path"], data=answer | {"code": wrong}) for _ in range(8)
        ]
        assert {guess.result().status_code for guess in guesses} <= {422, 409}
    right = outside.post(link["path"], data=answer | {"code": link["code"]})
    assert right.status_code == 409
    assert state(public, run) == "open"


def test_nobody_gets_a_right_by_a_link(public: Stand) -> None:
    ann, bob = public.person("ann"), public.person("bob")
    add_team(public, "legal", "bob")
    _, where = asking(public, ann.id, link=True, ask=["team:legal"])
    others = ann.client.post(f"/lock/{where}/links", json={"recipient": "me"})
    assert others.status_code == 403
    unasked = public.client.post(f"/lock/{where}/links", json={"account": "ann"})
    assert (unasked.status_code, unasked.json()["detail"]) == (
        409,
        "ann is not asked; hand the question on to them first",
    )
    _, where = asking(public, ann.id, link=True, ask=["ann", "bob"], quorum=2)
    again = ann.client.post(f"/lock/{where}/links", json={"account": "bob"})
    assert again.status_code == 403
    assert "only operators make links" in again.json()["detail"]
    assert public.client.post(f"/lock/{where}/links", json={"recipient": "x"}).status_code == 409
    link = make(public, where, account="bob")
    outside = public.connect()
    counted = outside.post(link["path"], data={"field.stars": "4"})
    assert "your answer counts: 1 of 2" in counted.text
    twice = bob.client.post(f"/lock/{where}", json={"stars": 4})
    assert twice.status_code == 409


@pytest.mark.parametrize(
    ("changes", "told", "reason"),
    [
        ({"panel_url": None}, {"link": True}, "set panel_url to where people reach the panel"),
        ({"panel_url": "http://127.0.0.1:3370"}, {"link": True}, "which nobody else reaches"),
        ({"answer_links": False}, {"link": True}, "(the setting answer_links)"),
        ({}, {}, "allows no links"),
        ({}, {"link": True, "form": forms.Model(forms.InputFiles("papers"))}, "takes files"),
    ],
)
def test_no_link_is_made_where_it_would_not_work_or_is_not_allowed(
    settings: Settings, changes: dict[str, Any], told: dict[str, Any], reason: str
) -> None:
    used = settings.model_copy(update={"panel_url": PUBLIC} | changes)
    with serving(used) as stand:
        _, where = asking(stand, **told)
        refused = stand.client.post(f"/lock/{where}/links", json={"recipient": "Jane"})
        assert refused.status_code == 409
        assert reason in refused.json()["detail"]
        page = stand.client.post(f"/waiting/{where}/links", data={"recipient": "Jane"})
        assert page.status_code == 409


def test_who_tries_tokens_in_turn_has_to_wait(public: Stand) -> None:
    outside = public.connect()
    codes = [outside.get(f"/answer/{number}").status_code for number in range(12)]
    assert set(codes[:10]) == {404}
    assert codes[-1] == 429
    _, where = asking(public, link=True)
    assert outside.get(make(public, where)["path"]).status_code == 200


def test_what_a_page_of_another_site_posts_counts_by_its_token(public: Stand) -> None:
    _, where = asking(public, link=True)
    link = make(public, where)
    foreign = {"Origin": "null", "Sec-Fetch-Site": "cross-site"}
    done = public.connect().post(link["path"], data={"field.stars": "4"}, headers=foreign)
    assert done.status_code == 200


def test_no_link_is_offered_where_none_can_be_made_and_the_page_says_why(
    panel: Stand, public: Stand
) -> None:
    offer = "Make a link to answer with"
    run, where = asking(panel, link=True)
    assert panel.settings.panel_url is None
    for path in (f"/waiting/{where}", f"/executions/{run.fid}", "/waiting"):
        page = panel.get(path).text
        assert (offer in page, "No link is made: set panel_url to where" in page) == (False, True)
    _, plain = asking(panel)
    assert "panel_url" not in panel.get(f"/waiting/{plain}").text
    taking_files = forms.Model(forms.InputFiles("proof"))
    _, files = asking(public, form=taking_files, link=True)
    page = public.get(f"/waiting/{files}").text
    assert (offer in page, "takes files, which need an account" in page) == (False, True)
    person = public.person("pia of two")
    _, of_two = asking(public, person.id, link=True, quorum=2)
    assert offer in public.get(f"/waiting/{of_two}").text
    assert offer not in person.client.get(f"/waiting/{of_two}").text


def test_a_link_is_made_on_the_page_of_a_question_and_shown_once(public: Stand) -> None:
    _, where = asking(public, link=True)
    assert "Make a link to answer with" in public.get(f"/waiting/{where}").text
    data = {"recipient": "Jane", "code": "true"}
    made = public.client.post(f"/waiting/{where}/links", data=data)
    assert f'value="{PUBLIC}/answer/' in made.text
    assert "Code, to be sent another way" in made.text
    assert "/answer/" not in public.get(f"/waiting/{where}").text


def test_what_only_this_machine_reaches_is_known() -> None:
    for url in ("http://localhost:3370", "http://[::1]/", "http://127.9.9.9", "http://0.0.0.0:1"):
        assert is_loopback(url), url
    assert is_loopback("http://[::ffff:127.0.0.1]:80") and is_loopback("http://a.localhost")
    for url in ("https://panel.example.org", "http://10.0.0.5:3370", "http://panel"):
        assert not is_loopback(url), url
