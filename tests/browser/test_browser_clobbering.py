"""Fields that are called like properties of the browser's own break no page."""

import json
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from kodosumi_prefect import forms
from tests.answering import locks
from tests.http_services import served_app
from tests.panel.faulty_services import Faulty, document
from tests.panel.panel_runs import Stand, fetch
from tests.panel.test_panel_waiting_page import asking

# Each is one of a form, of its prototype, or of what scripts keep there.
NAMES = [
    *("getAttribute", "closest", "submit", "action", "id", "querySelector", "querySelectorAll"),
    *("children", "elements", "method", "parentNode", "hasAttribute", "matches", "remove"),
    *("addEventListener", "dispatchEvent", "tagName", "nodeName", "attributes", "classList"),
    *("htmx-internal-data", "length", "reset", "innerHTML", "contains", "isConnected", "__proto__"),
]


def clobbering() -> forms.Model:
    return forms.Model(
        *(forms.InputText(name, label=f"Field {name}") for name in NAMES),
        forms.Action("requestSubmit", "go", text="Send it"),
    )


@pytest.mark.parametrize("shown", ["list", "arriving"])
def test_one_question_does_not_break_the_others(page: Page, stand: Stand, shown: str) -> None:
    mark = uuid4().hex[:8]
    if shown == "arriving":
        page.goto("/waiting")
        page.wait_for_load_state("load")
    plain = asking(stand, f"plain {mark}", form=forms.Model(forms.InputText("word", label="Word")))
    odd = asking(stand, f"odd {mark}", form=clobbering())
    if shown == "list":
        page.goto("/waiting")
        page.wait_for_load_state("load")
    card = page.locator(".lock", has_text=f"plain {mark}")
    card.get_by_label("Word").fill("fine")
    card.get_by_role("button", name="Answer").click()
    expect(page.locator(".lock.done", has_text=f"plain {mark}")).to_be_visible()
    expect(page).to_have_url(f"{stand.url}/waiting")  # by htmx, the rest stays
    card = page.locator(".lock", has_text=f"odd {mark}")
    for name in NAMES:
        card.get_by_label(f"Field {name}", exact=True).fill(f"of {name}")
    card.get_by_role("button", name="Send it").click()
    expect(page.locator(".lock.done", has_text=f"odd {mark}")).to_be_visible()
    for run, given in (
        (plain, {"word": "fine"}),
        (odd, {name: f"of {name}" for name in NAMES} | {"requestSubmit": "go"}),
    ):
        lid = locks(stand.database, run.fid, None)[0]["lid"]
        query = f"SELECT result FROM kodosumi.lock WHERE lid = '{lid}'"
        assert json.loads(fetch(stand.database, query)[0]["result"]) == given


def test_a_launch_form_works_too(page: Page, stand: Stand) -> None:
    service, model = Faulty(**{"openapi.json": document()}), clobbering()
    service.answers["/go"] = {"elements": model.get_model()}
    bodies: list[bytes] = []
    with served_app(service.app) as url:
        made = stand.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
        page.goto(f"/services/{made.raise_for_status().json()[0]['uid']}")
        page.wait_for_load_state("load")
        for name in NAMES:
            page.locator("#launch").get_by_label(f"Field {name}", exact=True).fill(f"of {name}")

        async def complain(request):  # type: ignore[no-untyped-def]
            from starlette.responses import JSONResponse

            bodies.append(await request.body())
            wrong = {"errors": {"closest": ["not this"]}, "elements": model.get_model()}
            return JSONResponse(wrong)

        service.answers["/go"] = complain
        page.locator("#launch").get_by_role("button", name="Send it").click()
        expect(page.locator("#launch .wrong")).to_contain_text("not this")
        wrong = page.locator("#launch").get_by_label("Field closest", exact=True)
        expect(wrong).to_have_value("of closest")
        expect(wrong).to_be_focused()
        sent = json.loads(bodies[0])
        assert {name: sent[name] for name in NAMES} == {name: f"of {name}" for name in NAMES}
        stand.client.post("/flow/unregister", json={"url": f"{url}/openapi.json"})
