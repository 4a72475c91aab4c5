"""Answering locks over HTTP: by whom, with whose form, once."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kodosumi_prefect import forms
from kodosumi_prefect import settings as settings_module
from kodosumi_prefect.events import serialize
from kodosumi_prefect.locks.sealing import unsealed
from kodosumi_prefect.panel.services.register.address import of_mounted
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import SIGNATURE_HEADER
from tests.answering import locks
from tests.http_services import served_app
from tests.panel.panel_runs import Run, Stand, serving

FORM = forms.Model(forms.InputNumber("stars", min_value=1, max_value=5, required=True))
SERVICE = "tests.samples.asking_service:app"


def asking(stand: Stand, *names: str, form: forms.Model | None = None, **header: Any) -> Run:
    """A run that waits; its locks are called as it names them."""
    run = stand.run(**header).begin(topic="x")
    for name in names:
        told = {
            "name": name,
            "lid": str(uuid4()),
            "data": {"draft": 7},
            "expires": time.time() + 60,
        }
        if form is not None:
            told["elements"] = form.get_model()
        run.say("lock", serialize(told))
    return run


def paths(stand: Stand, run: Run) -> list[str]:
    return [f"/lock/{run.fid}/{lock['lid']}" for lock in locks(stand.database, run.fid)]


def path(stand: Stand, run: Run) -> str:
    return paths(stand, run)[0]


def test_a_form_of_the_run_s_own_is_shown_checked_and_answered(panel: Stand) -> None:
    run = asking(panel, "rate", form=FORM)
    where = path(panel, run)
    lid = where.rpartition("/")[2]
    status = panel.json(f"/outputs/status/{run.fid}")
    assert (status["status"], status["locks"]) == ("awaiting", [lid])
    assert panel.json("/timeline/list", params={"q": run.fid})["items"][0]["locks"] == [lid]
    assert panel.json(where) == FORM.get_model()
    refused = panel.client.post(where, json={"stars": 9})
    assert refused.status_code == 200
    assert list(refused.json()) == ["errors", "elements"]
    assert refused.json()["errors"].keys() == {"stars", "_global_"}
    assert panel.json(f"/outputs/status/{run.fid}")["locks"] == [lid]
    done = panel.client.post(where, data={"stars": "4"})
    assert (done.status_code, done.json()) == (200, {"result": {"stars": 4}})
    status = panel.json(f"/outputs/status/{run.fid}")
    assert (status["status"], status["locks"]) == ("running", [])
    for late, code in ((panel.client.post(where, json={"stars": 4}), 409), (panel.get(where), 404)):
        assert late.status_code == code
        assert late.json()["detail"] == "lock 'rate' was answered already"
    lease = panel.json(f"/outputs/events/{run.fid}", params={"kinds": "lease"})["items"][0]
    assert lease["source"]["answered_by"]["name"] == "admin"


def test_of_ten_answers_at_once_one_wins(panel: Stand) -> None:
    run = asking(panel, "rate", form=FORM)
    where = path(panel, run)
    with ThreadPoolExecutor(10) as pool:
        codes = list(
            pool.map(lambda _: panel.client.post(where, json={"stars": 3}).status_code, range(10))
        )
    assert sorted(codes) == [200] + [409] * 9


def test_without_form_and_service_what_was_posted_is_the_result(panel: Stand) -> None:
    run = asking(panel, "anything")
    assert panel.json(path(panel, run)) == []
    answer = panel.client.post(path(panel, run), json={"a": [1, None]})
    assert answer.json() == {"result": {"a": [1, None]}}
    (lock,) = locks(panel.database, run.fid, None)
    assert json.loads(lock["result"]) == {"a": [1, None]}


def test_only_owner_and_operators_may_answer(panel: Stand) -> None:
    ann, bob = panel.person("ann-who-owns"), panel.person("bob-who-does-not")
    run = asking(panel, "rate", form=FORM, owner=ann.id)
    where = path(panel, run)
    lid = where.rpartition("/")[2]
    for method in ("GET", "POST"):
        assert bob.client.request(method, where, json={}).status_code == 404
    assert lid not in [item["lid"] for item in bob.client.get("/locks").json()["items"]]
    assert lid in [item["lid"] for item in panel.json("/locks")["items"]]
    (item,) = ann.client.get("/locks").json()["items"]
    assert (item["fid"], item["lid"], item["name"]) == (run.fid, lid, "rate")
    assert item["elements"] == FORM.get_model()
    assert item["expires"] > time.time() > item["opened"]
    assert ann.client.post(where, json={"stars": 1}).status_code == 200
    assert locks(panel.database, run.fid, None)[0]["answered_by"] == ann.id
    assert panel.connect().get("/locks").status_code == 401


def test_who_sees_an_execution_of_nobody_may_not_answer_it(settings: Settings) -> None:
    with serving(settings.model_copy(update={"unowned": "all"})) as stand:
        run = asking(stand, "rate", form=FORM)
        ann = stand.person("ann")
        assert ann.client.get(f"/outputs/status/{run.fid}").status_code == 200
        assert ann.client.get(path(stand, run)).status_code == 403
        assert ann.client.post(path(stand, run), json={"stars": 1}).status_code == 403
        assert ann.client.get("/locks").json()["items"] == []


def test_open_locks_are_listed_page_by_page(fresh_panel: Stand) -> None:
    run = asking(fresh_panel, *(str(n) for n in range(5)), summary="Five questions")
    first = fresh_panel.json("/locks", params={"pp": 3})
    second = fresh_panel.json("/locks", params={"pp": 3, "offset": first["offset"]})
    names = [item["name"] for item in first["items"] + second["items"]]
    assert (names, second["offset"]) == (["4", "3", "2", "1", "0"], None)
    assert first["items"][0]["summary"] == "Five questions"
    run.finish()
    assert fresh_panel.json("/locks")["items"] == []


def test_what_cannot_be_answered_says_why(panel: Stand) -> None:
    run = asking(panel, "rate")
    where = path(panel, run)
    assert panel.get(f"/lock/{run.fid}/unknown").status_code == 404
    assert panel.get(f"/lock/{uuid4()}/unknown").status_code == 404
    assert panel.get("/lock/nonsense/unknown").status_code == 404
    assert panel.client.post(where, content=b"{", headers=JSON).status_code == 400
    assert panel.client.post(where, content=b"[1]", headers=JSON).status_code == 400
    run.finish()
    for answer in (panel.get(where), panel.client.post(where, json={})):
        assert answer.status_code == 404
        assert answer.json()["detail"] == "lock 'rate' is of a run that is over"


JSON = {"content-type": "application/json"}


def test_a_password_goes_to_the_run_and_nowhere_else(settings: Settings) -> None:
    form = forms.Model(forms.InputText("name"), forms.InputPassword("secret"))
    with serving(settings) as stand:
        run = asking(stand, "sign in", form=form)
        answer = stand.client.post(path(stand, run), json={"name": "ann", "secret": "hush-hush"})
        assert answer.json() == {"result": {"name": "ann", "secret": "********"}}
        (lock,) = locks(stand.database, run.fid, None)
        assert "hush-hush" not in lock["result"]
        assert unsealed(lock["result"], settings) == {"name": "ann", "secret": "hush-hush"}
        assert "hush-hush" not in stand.get(f"/outputs/events/{run.fid}").text
        run.finish()
        assert locks(stand.database, run.fid, None)[0]["result"] is None


@contextmanager
def over_http(settings: Settings) -> Iterator[tuple[Stand, str]]:
    """A panel, and the service elsewhere that it has registered."""
    from tests.samples.asking_service import app

    with serving(settings) as stand, served_app(app) as url:
        settings_module.reset_settings(settings.model_copy(update={"panel_url": stand.url}))
        made = stand.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
        assert made.status_code in (200, 201), made.text
        yield stand, made.json()[0]["base_url"]


@contextmanager
def mounted(settings: Settings) -> Iterator[tuple[Stand, str]]:
    """A panel that runs the service itself."""
    with serving(settings.model_copy(update={"services": [SERVICE]})) as stand:
        base = of_mounted(SERVICE)
        yield stand, base


@pytest.mark.parametrize("place", [over_http, mounted])
def test_a_service_s_functions_make_form_and_result(settings: Settings, place: Any) -> None:
    with place(settings) as (stand, base):
        run = asking(stand, "approve", app_url=base)
        where = path(stand, run)
        text, verdict = stand.json(where)
        assert (text["text"], verdict["name"]) == ("Is 7 good?", "verdict")
        refused = stand.client.post(where, json={"verdict": "perhaps"}).json()
        assert refused["errors"] == {"verdict": ["say yes or no"], "_global_": []}
        assert refused["elements"][1]["name"] == "verdict"
        assert len(locks(stand.database, run.fid)) == 1
        done = stand.client.post(where, json={"verdict": "yes"})
        assert done.json() == {"result": {"approved": True, "of": 7}}
        assert stand.client.post(where, json={"verdict": "yes"}).status_code == 409
        unknown = asking(stand, "no such function", app_url=base)
        answer = stand.get(path(stand, unknown))
        assert answer.status_code == 502
        assert base in answer.json()["detail"]


def test_a_service_that_hangs_is_away_or_unknown_is_named(settings: Settings) -> None:
    patient = settings.model_copy(update={"service_timeout": 2.0})
    with over_http(patient) as (stand, base):
        slow = asking(stand, "slow", app_url=base)
        answer = stand.get(path(stand, slow))
        assert (answer.status_code, base in answer.json()["detail"]) == (504, True)
        elsewhere = asking(stand, "approve", app_url="http://127.0.0.1:9/elsewhere")
        answer = stand.get(path(stand, elsewhere))
        assert answer.status_code == 502
        assert "is not registered here" in answer.json()["detail"]
        assert len(locks(stand.database, slow.fid)) == 1


def test_facts_are_for_who_may_answer_and_for_the_service_that_was_called(panel: Stand) -> None:
    ann, bob = panel.person("ann-of-facts"), panel.person("bob-of-facts")
    run = asking(panel, "approve", owner=ann.id)
    where = path(panel, run)
    lid = where.rpartition("/")[2]
    facts = ann.client.get(f"{where}/facts").json()
    assert (facts["name"], facts["data"], facts["inputs"]) == (
        "approve",
        {"draft": 7},
        {"dict": {"topic": "x"}},
    )
    assert facts["expires"] > time.time()
    assert bob.client.get(f"{where}/facts").status_code == 404
    nobody = panel.connect()
    assert nobody.get(f"{where}/facts").status_code == 401

    def signed(path: str, who: str = ann.id, key: Any = None, **more: Any) -> httpx.Response:
        claims = {"sub": who, "name": "x", "path": path, "exp": time.time() + 30}
        claims |= {"purpose": "lock"} | more
        token = jwt.encode(claims, key or panel.app.state.panel.services.key, algorithm="EdDSA")
        return nobody.get(f"{where}/facts", headers={SIGNATURE_HEADER: token})

    right = f"/service/_lock_/{run.fid}/{lid}"
    assert signed(right).json() == facts
    assert signed(right, bob.id).status_code == 404
    assert signed(right, bob.id, operator=True).json() == facts
    assert signed(f"/_lock_/{run.fid}/another").status_code == 401
    assert signed(right, key=Ed25519PrivateKey.generate()).status_code == 401
    assert signed(right, exp=time.time() - 60).status_code == 401
    assert signed(right, purpose="endpoint").status_code == 401
    # The signature opens nothing else.
    token = {SIGNATURE_HEADER: "x"}
    assert nobody.get(where, headers=token).status_code == 401
