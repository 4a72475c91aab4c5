"""Questions to particular people, in the panel: who answers, hands on, and what is told of it."""

import json
from concurrent.futures import ThreadPoolExecutor

from kodosumi_prefect import forms
from kodosumi_prefect.database.resealing import reseal
from kodosumi_prefect.locks import following
from kodosumi_prefect.locks.sealing import unsealed
from kodosumi_prefect.stream.reader import Reader
from tests.answering import locks
from tests.audit_entries import entries, entry, last_id
from tests.panel.asked_questions import add_team, asking
from tests.panel.panel_runs import Stand, fetch
from tests.panel.test_panel_account_page import PART
from tests.panel.test_panel_accounts import HTML

STEPS = {"tab": "trace", "view": "steps"}


async def follow(stand: Stand) -> None:
    """What the observer does."""
    async with Reader(stand.database, "kodosumi", 1) as reader:
        for step in await following.due(reader, 100):
            await following.take(reader, step)


def test_those_who_are_asked_answer_without_seeing_the_run(panel: Stand) -> None:
    ann, bob, eve = (panel.person(f"{name}-asks-others") for name in ("ann", "bob", "eve"))
    add_team(panel, "legal-of-asking", bob.name)
    run, where = asking(panel, ann.id, ask=["team:legal-of-asking"])
    assert ann.client.get(f"/lock/{where}").status_code == 403
    refused = ann.client.post(f"/lock/{where}", json={"stars": 3})
    assert refused.status_code == 403
    assert refused.json()["detail"] == (
        "lock 'rate' asks others; only they and operators may answer"
    )
    assert ann.client.get("/locks").json()["items"] == []
    own = ann.client.get(f"/executions/{run.fid}").text
    assert "It waits for an answer of team legal-of-asking or an operator." in own
    for method in ("GET", "POST"):
        assert eve.client.request(method, f"/lock/{where}", json={}).status_code == 404
    [item] = bob.client.get("/locks").json()["items"]
    assert (item["lid"], item["asked"], item["quorum"]) == (
        where.partition("/")[2],
        ["team:legal-of-asking"],
        1,
    )
    assert bob.client.get(f"/outputs/status/{run.fid}").status_code == 404
    facts = [who.get(f"/lock/{where}/facts").json() for who in (bob.client, panel.client)]
    assert [each["inputs"] for each in facts] == [None, {"dict": {"topic": "x"}}]
    page = bob.client.get("/waiting").text
    assert "Asked: team legal-of-asking" in page
    assert f"executions/{run.fid}" not in page
    assert bob.client.post(f"/waiting/{where}", data={"stars": "3"}).status_code == 303
    answered = entry(panel, action="lock_answer", actor_id=bob.id)
    assert (answered["means"], answered["outcome"]) == ("session", "ok")


def test_operators_see_all_questions_or_those_for_them(panel: Stand) -> None:
    root = panel.person("root-of-asking", operator=True)
    _, mine = asking(panel, None, ask=["root-of-asking"])
    _, other = asking(panel, None)
    every = [item["lid"] for item in root.client.get("/locks", params={"pp": 500}).json()["items"]]
    assert {mine.partition("/")[2], other.partition("/")[2]} <= set(every)
    [item] = root.client.get("/locks", params={"mine": True}).json()["items"]
    assert item["lid"] == mine.partition("/")[2]
    page = root.client.get("/waiting?mine=true").text
    assert mine in page
    assert other not in page
    assert 'aria-current="page">Questions for me</a>' in page
    assert root.client.get("/waiting/open?mine=true").json()["open"] == [mine.split("/")]
    person = panel.person("no-operator-of-asking")
    assert "Questions for me" not in person.client.get("/waiting").text


async def test_a_step_that_reached_nobody_says_who_may_answer(panel: Stand) -> None:
    later = [{"after": 0.002, "to": ["team:of-nobody"]}]
    run, where = asking(panel, None, ask=["owner"], remind=[0.001], escalate=later)
    await follow(panel)
    card = panel.get(f"/waiting/{where}", headers=PART).text
    for step in ("asked", "reminded", "escalated"):
        words = f"{step}: nobody could be reached; operators may answer"
        assert f"<li>{words} <time" in card
        assert words in panel.get(f"/executions/{run.fid}/log.txt").text


async def test_what_is_done_about_a_question_is_told_where_people_look(panel: Stand) -> None:
    ann, bob = panel.person("ann-of-steps"), panel.person("bob-of-steps")
    run, where = asking(panel, ann.id, ask=["owner"], remind=[0.001])
    before = last_id(panel)
    await follow(panel)
    lid = where.partition("/")[2]
    asked, reminded = entries(panel, before, target_id=lid)
    assert (asked["action"], reminded["action"]) == ("lock_asked", "lock_reminded")
    assert (asked["means"], asked["actor_id"]) == ("schedule", None)
    assert asked["details"] == {"fid": run.fid, "asked": ["owner"], "reached": [ann.name]}
    assert "Remind people of a question" in panel.get("/audit", headers=HTML).text
    handed = ann.client.post(f"/lock/{where}/delegate", json={"to": "BOB-of-steps"})
    assert (handed.status_code, handed.json()) == (200, {"asked": bob.name})
    delegated = entry(panel, action="lock_delegate", actor_id=ann.id)
    assert delegated["details"] == {"fid": run.fid, "to": bob.name}
    card = bob.client.get(f"/waiting/{where}", headers=PART).text
    for words in (
        f"Asked: {bob.name}",
        f"asked {ann.name} <time",
        f"reminded {ann.name} <time",
        f"handed on to {bob.name} by {ann.name} <time",
    ):
        assert words in card
    assert ann.client.post(f"/lock/{where}", json={"stars": 3}).status_code == 403
    key = bob.client.post("/keys", json={"name": "a key"}).json()["key"]
    assert panel.connect(key).post(f"/lock/{where}", json={"stars": 3}).status_code == 200
    assert entry(panel, action="lock_answer", actor_id=bob.id)["means"] == "key"
    history = ann.client.get(f"/lock/{where}/steps").json()
    steps = [(step["step"], step["by"], step["means"]) for step in history["steps"]]
    assert steps == [
        ("asked", None, None),
        ("reminded", None, None),
        ("delegated", ann.name, "session"),
        ("answered", bob.name, "key"),
    ]
    cards = ann.client.get(f"/executions/{run.fid}", params=STEPS).text
    assert f"answered by {bob.name} by API key <time" in cards


def test_handing_on_to_nobody_is_refused_with_words(panel: Stand) -> None:
    ann = panel.person("ann-who-hands-on")
    _, where = asking(panel, ann.id)
    refused = ann.client.post(f"/lock/{where}/delegate", json={"to": "nobody-there"})
    assert refused.status_code == 422
    assert refused.json()["detail"] == "there is no active account 'nobody-there'"
    page = ann.client.post(f"/waiting/{where}/delegate", data={"to": "nobody-there"}, headers=PART)
    assert page.status_code == 422
    assert "there is no active account" in page.text
    assert "stars" in page.text  # the form stands
    own = ann.client.post(f"/lock/{where}/delegate", json={"to": ann.name})
    assert own.status_code == 422
    bob = panel.person("bob-who-gets-it")
    done = ann.client.post(f"/waiting/{where}/delegate", data={"to": bob.name}, headers=PART)
    assert f"is handed on to {bob.name}" in done.text
    assert ann.client.post(f"/lock/{where}/delegate", json={"to": ann.name}).status_code == 403


def test_two_of_three_answer_in_the_panel(panel: Stand) -> None:
    people = [panel.person(f"{name}-of-three") for name in ("ann", "bob", "lee")]
    add_team(panel, "three", *(person.name for person in people))
    run, where = asking(panel, people[0].id, ask=["team:three"], quorum=2)
    first = people[0].client.post(f"/lock/{where}", json={"stars": 1})
    assert first.json() == {"result": {"stars": 1}, "answers": 1, "quorum": 2}
    assert people[0].client.get("/locks").json()["items"] == []
    again = people[0].client.post(f"/lock/{where}", json={"stars": 1})
    assert (again.status_code, again.json()["detail"]) == (
        409,
        "lock 'rate' has your answer already, and needs others'",
    )
    assert "1 of 2 answers" in people[1].client.get("/waiting").text
    assert panel.json(f"/outputs/status/{run.fid}")["status"] == "awaiting"
    with ThreadPoolExecutor(2) as pool:
        codes = list(
            pool.map(
                lambda person: person.client.post(f"/lock/{where}", json={"stars": 2}).status_code,
                people[1:],
            )
        )
    assert sorted(codes) == [200, 409]
    assert panel.json(f"/outputs/status/{run.fid}")["status"] == "running"
    [lock] = locks(panel.database, run.fid, None)
    assert json.loads(lock["result"]) == [{"stars": 1}, {"stars": 2}]
    lease = panel.json(f"/outputs/events/{run.fid}", params={"kinds": "lease"})["items"][0]
    assert lease["source"]["answered_by"]["name"].startswith(f"{people[0].name} and ")


def test_a_wait_that_nobody_ended_tells_what_the_run_went_on_with(panel: Stand) -> None:
    run, where = asking(panel, None, on_expiry={"stars": 1})
    lid = where.partition("/")[2]
    said = {"name": "rate", "lid": lid, "result": {"stars": 1}, "state": "expired"}
    run.say("lease", json.dumps({"dict": said}))
    text = panel.get(f"/executions/{run.fid}", params=STEPS).text
    assert "The run went on with" in text


def test_passwords_of_several_answers_are_encrypted_and_forgotten(fresh_panel: Stand) -> None:
    stand = fresh_panel
    form = forms.Model(forms.InputPassword("pin", required=True))
    people = [stand.person(name) for name in ("ann", "bob")]
    run, where = asking(stand, None, form, ask=["ann", "bob"], quorum=2)
    for person in people:
        given = person.client.post(f"/lock/{where}", json={"pin": f"hush of {person.name}"})
        assert given.json()["result"] == {"pin": "********"}
    [lock] = locks(stand.database, run.fid, None)
    assert lock["result"].startswith("sealed:")
    pins = [{"pin": "hush of ann"}, {"pin": "hush of bob"}]
    assert unsealed(lock["result"], stand.settings) == pins
    lease = stand.json(f"/outputs/events/{run.fid}", params={"kinds": "lease"})["items"][0]
    assert "hush" not in json.dumps(lease)
    assert reseal(stand.database, stand.settings).current == 3
    run.finish()
    kept = fetch(stand.database, "SELECT result FROM kodosumi.lock_step WHERE result IS NOT NULL")
    assert kept == []
    assert locks(stand.database, run.fid, None)[0]["result"] is None
