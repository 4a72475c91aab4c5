"""The page of open questions: who sees which, with what form, and what answering them shows."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from kodosumi_prefect import forms
from kodosumi_prefect.events import serialize
from kodosumi_prefect.panel.services.register.address import of_mounted
from kodosumi_prefect.settings import Settings
from tests.answering import answer, locks
from tests.panel.panel_runs import Run, Stand, serving

FORM = forms.Model(
    forms.InputNumber("stars", min_value=1, max_value=5, required=True), forms.InputArea("why")
)
HTMX = {"HX-Request": "true"}
SERVICE = "tests.samples.asking_service:app"
NASTY = '"><script>alert(1)</script>'


def asking(
    stand: Stand,
    *names: str,
    form: forms.Model | None = FORM,
    data: Any = None,
    expires: float = 60,
    words: dict[str, str] | None = None,
    **header: Any,
) -> Run:
    """A run that waits; its locks are called as it names them."""
    run = stand.run(**header).begin(topic="x")
    for name in names:
        told = {"name": name, "lid": str(uuid4()), "data": data, "expires": time.time() + expires}
        told |= words or {}
        if form is not None:
            told["elements"] = form.get_model()
        run.say("lock", serialize(told))
    return run


def card(stand: Stand, run: Run) -> str:
    return f"/waiting/{run.fid}/{locks(stand.database, run.fid, None)[0]['lid']}"


def test_a_question_shows_its_run_its_data_and_its_form(panel: Stand) -> None:
    run = asking(panel, "approve", data={"draft": "**seven**"}, summary="Weekly report")
    page = panel.get("/waiting").text
    lid = card(panel, run).rpartition("/")[2]
    assert f'id="lock-{lid}"' in page
    assert f'href="/executions/{run.fid}">Weekly report</a>' in page
    assert '<th scope="row">draft</th><td>**seven**</td>' in page
    assert f'id="field-{lid}-0" name="field.stars" required' in page
    assert f'hx-post="/waiting/{run.fid}/{lid}"' in page


def test_a_question_has_a_title_and_words_beside_its_name(panel: Stand) -> None:
    words = {"title": f"Send it? {NASTY}", "question": f"To **all** of them? {NASTY}"}
    run = asking(panel, "approve", words=words)
    [item] = [each for each in panel.json("/locks")["items"] if each["fid"] == str(run.fid)]
    assert {key: item[key] for key in ("name", *words)} == {"name": "approve"} | words
    page = panel.get("/waiting").text
    lid = card(panel, run).rpartition("/")[2]
    assert re.search(rf'id="name-{lid}">(<svg.*?</svg>)? ?Send it\? &#34;&gt;&lt;script&gt;', page)
    assert "<p>To <strong>all</strong> of them?" in page
    assert "<script>alert(1)" not in page


def test_what_runs_ask_cannot_break_out_of_its_card(panel: Stand) -> None:
    run = asking(panel, NASTY, data={NASTY: NASTY}, summary=NASTY)
    for page in (panel.get("/waiting").text, panel.get(card(panel, run)).text):
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
    posted = panel.client.post(card(panel, run), data={"why": NASTY}, headers=HTMX).text
    assert "<script>alert" not in posted


def test_wrong_fields_are_told_in_place_and_what_was_typed_stays(panel: Stand) -> None:
    run = asking(panel, "rate")
    typed = {"stars": "9", "why": "since <b>I</b> say so"}
    wrong = panel.client.post(card(panel, run), data=typed, headers=HTMX)
    assert wrong.status_code == 422
    assert wrong.text.lstrip().startswith("<article")
    assert 'aria-invalid="true"' in wrong.text
    assert 'value="9"' in wrong.text
    assert "since &lt;b&gt;I&lt;/b&gt; say so" in wrong.text
    whole = panel.client.post(card(panel, run), data=typed)
    assert (whole.status_code, "<!doctype html>" in whole.text) == (422, True)
    assert 'value="9"' in whole.text


def test_an_answer_replaces_the_card_and_has_the_count_asked_again(panel: Stand) -> None:
    run = asking(panel, "rate")
    done = panel.client.post(card(panel, run), data={"stars": "4", "why": "good"}, headers=HTMX)
    assert (done.status_code, done.headers["hx-trigger"]) == (200, "kodosumi:waiting")
    assert "is answered" in done.text
    assert "<form" not in done.text
    (lock,) = locks(panel.database, run.fid, "leased")
    assert json.loads(lock["result"])["stars"] == 4
    other = asking(panel, "rate")
    plain = panel.client.post(card(panel, other), data={"stars": "4"})
    assert (plain.status_code, plain.headers["location"]) == (303, "/waiting")


def test_who_comes_too_late_is_told_beside_what_was_typed(panel: Stand) -> None:
    run = asking(panel, "rate")
    where = card(panel, run)
    lid = where.rpartition("/")[2]
    answer(panel.database, run.fid, lid, {"stars": 1})
    late = panel.client.post(where, data={"stars": "4"}, headers=HTMX)
    assert late.status_code == 200
    assert late.headers["hx-retarget"] == f'[id="trouble-{lid}"]'
    assert late.headers["hx-reswap"] == "innerHTML"
    assert late.text == "lock &#39;rate&#39; was answered already"
    assert panel.client.post(where, data={"stars": "4"}).status_code == 409
    shown = panel.get(where, headers=HTMX)
    assert "was answered already" in shown.text
    assert "data-closed" in shown.text
    assert panel.get(where, headers={"Accept": "text/html"}).status_code == 409


def test_an_expired_question_says_so(panel: Stand) -> None:
    run = asking(panel, "rate", expires=-1)
    where = card(panel, run)
    shown = panel.get(where, headers=HTMX).text
    assert "has expired" in shown
    assert "<form" not in shown
    assert "has expired" in panel.client.post(where, data={"stars": "4"}, headers=HTMX).text
    assert where.rpartition("/")[2] not in panel.get("/waiting").text


def test_people_see_and_answer_questions_of_their_own_runs_only(fresh_panel: Stand) -> None:
    ann, bob = fresh_panel.person("ann"), fresh_panel.person("bob")
    run = asking(fresh_panel, "rate", "again", owner=ann.id)
    lid = card(fresh_panel, run).rpartition("/")[2]
    assert lid in ann.client.get("/waiting").text
    assert "Nothing waits for you" in bob.client.get("/waiting").text
    assert lid not in bob.client.get("/waiting").text
    counts = [each.get("/waiting/count").text for each in (fresh_panel.client, ann.client)]
    assert (counts, bob.client.get("/waiting/count").text) == (["2", "2"], "")
    assert [fid for fid, _ in ann.client.get("/waiting/open").json()["open"]] == [run.fid] * 2
    assert bob.client.get("/waiting/open").json() == {"open": [], "all": True}
    for method, path in (("GET", ""), ("GET", "/form"), ("POST", "")):
        asked = bob.client.request(method, card(fresh_panel, run) + path, headers=HTMX)
        assert asked.status_code == 404
    assert fresh_panel.connect().get("/waiting/open").status_code == 401


def test_who_may_only_look_at_a_run_is_told_that_others_answer(settings: Settings) -> None:
    with serving(settings.model_copy(update={"unowned": "all"})) as stand:
        where = card(stand, asking(stand, "rate"))
        ann = stand.person("ann")
        shown = ann.client.get(where, headers=HTMX)
        assert "only the owner of the execution and operators may answer" in shown.text
        said = ann.client.post(where, data={"stars": "1"}, headers=HTMX)
        assert "only the owner" in said.text


def test_more_than_fifty_questions_come_page_by_page(fresh_panel: Stand) -> None:
    asking(fresh_panel, *(f"question {n}" for n in range(53)))
    first = fresh_panel.get("/waiting").text
    assert first.count("<article") == 50
    (older,) = [line for line in first.splitlines() if 'rel="next"' in line]
    second = fresh_panel.get(older.split('"')[1]).text
    assert second.count("<article") == 3
    assert "question 0</h2>" in second
    assert "53 in all" in second
    assert 'rel="next"' not in second
    assert fresh_panel.get("/waiting/count").text == "53"
    assert fresh_panel.get("/waiting", params={"before": "a'b"}).status_code == 422


def test_without_a_form_one_button_lets_the_run_go_on(panel: Stand) -> None:
    run = asking(panel, "go", form=None)
    assert ">Go on</button>" in panel.get(card(panel, run), headers=HTMX).text
    assert "is answered" in panel.client.post(card(panel, run), headers=HTMX).text


@pytest.fixture
def serviced(settings: Settings) -> Iterator[Stand]:
    used = settings.model_copy(update={"services": [SERVICE], "service_timeout": 2.0})
    with serving(used) as stand:
        yield stand


def of_service(stand: Stand, name: str) -> str:
    base = of_mounted(SERVICE)
    return card(stand, asking(stand, name, form=None, data={"draft": 7}, app_url=base))


def test_a_service_is_asked_for_its_form_apart_from_the_page(serviced: Stand) -> None:
    where = of_service(serviced, "approve")
    page = serviced.get("/waiting").text
    assert f'hx-get="{where}/form" hx-trigger="intersect once"' in page
    assert 'name="field.verdict"' not in page
    assert 'name="field.verdict"' in serviced.get(f"{where}/form", headers=HTMX).text
    assert 'name="field.verdict"' in serviced.get(where).text  # without scripts
    wrong = serviced.client.post(where, data={"verdict": "perhaps"}, headers=HTMX)
    assert (wrong.status_code, "say yes or no" in wrong.text) == (422, True)
    assert 'value="perhaps"' in wrong.text
    assert "is answered" in serviced.client.post(where, data={"verdict": "yes"}, headers=HTMX).text


def test_only_the_first_forms_of_services_are_asked_for_unasked(serviced: Stand) -> None:
    for _ in range(5):
        of_service(serviced, "approve")
    page = serviced.get("/waiting").text
    assert (page.count("intersect once"), page.count("Show the form")) == (3, 5)


def test_a_slow_service_is_named_in_place_and_can_be_asked_again(serviced: Stand) -> None:
    where = of_service(serviced, "slow")
    assert "Show the form" in serviced.get("/waiting").text
    for page in (serviced.get(f"{where}/form", headers=HTMX), serviced.get(where)):
        assert page.status_code == 200
        assert SERVICE.partition(":")[0] in page.text or "did not answer" in page.text
        assert "Try again" in page.text
        assert "intersect once" not in page.text
    said: httpx.Response = serviced.client.post(where, data={"a": "b"}, headers=HTMX)
    assert (said.status_code, "hx-retarget" in said.headers) == (200, True), said.text
