"""The panel's OpenAPI document is true, and nothing that fits it or not breaks the panel."""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kodosumi_prefect.panel.web import parameters
from kodosumi_prefect.vocabulary import API_KEY_HEADER
from tests.panel.panel_runs import Stand

EXAMPLES = 12  # of each operation; a few that fit, the rest from what is usual to break
# They end the session they are called with, or wait for something that nobody does here.
LEFT_OUT = {"GET /logout", "POST /logout"}
TRUE = [status_code_conformance, content_type_conformance, response_schema_conformance]
AWAY = {502, 503, 504}  # names a service, Prefect or Ray that this panel does not have


@pytest.fixture(scope="module")
def document(shared_panel: Stand) -> dict[str, Any]:
    return dict(shared_panel.client.get("/openapi.json").raise_for_status().json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_has_a_summary_a_name_of_its_own_and_an_area(document: dict[str, Any]):
    found = dict(operations(document))
    assert len(found) > 40
    assert [name for name, operation in found.items() if not operation.get("summary")] == []
    assert [name for name, operation in found.items() if not operation.get("tags")] == []
    ids = [operation["operationId"] for operation in found.values()]
    assert sorted(ids) == sorted(set(ids))


def test_errors_have_one_shape_and_each_closed_operation_tells_of_them(document: dict[str, Any]):
    open_ones = {"POST /login", "POST /api/login", "POST /logout", "GET /livez", "GET /readyz"}
    open_ones |= {"GET /.well-known/kodosumi/key", "GET /logout"}
    for name, operation in operations(document):
        answers = operation["responses"]
        assert any(code.startswith("2") for code in answers), name
        assert ("401" in answers) == (name not in open_ones - {"POST /login", "POST /api/login"})
        for code, answer in answers.items():
            assert answer["description"], (name, code)
            if int(code) >= 400 and (name, code) != ("GET /health", "503"):
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (name, code)
    said = {"error", "path", "detail", "status_code"}
    assert set(document["components"]["schemas"]["Problem"]["required"]) == said
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_what_the_contract_names_is_in_the_document(document: dict[str, Any]):
    named = {
        *("GET /logout", "POST /logout", "GET /deploy", "GET /deploy/{name}"),
        *("POST /login", "POST /api/login", "GET /flow", "GET /flow/tags", "POST /flow/register"),
        *("POST /flow/unregister", "GET /flow/register", "PUT /flow/register"),
        *("GET /outputs/status/{fid}", "GET /outputs/stream/{fid}", "GET /outputs/main/{fid}"),
        *("GET /outputs/stdio/{fid}", "GET /outputs/raw/{fid}", "GET /outputs/html/{fid}"),
        *("POST /outputs/{fid}/cancel", "GET /outputs/events/{fid}", "DELETE /outputs/{fid}"),
        *("DELETE /outputs", "GET /timeline/list", "GET /timeline/changes"),
        *("GET /lock/{fid}/{lid}", "POST /lock/{fid}/{lid}", "GET /locks"),
        *("GET /role", "POST /role", "GET /role/{name}", "PUT /role/{id}", "DELETE /role/{id}"),
        *("GET /api/dashboard/running-agents", "GET /api/dashboard/errors"),
        *("GET /api/dashboard/timeline", "GET /api/dashboard/agent-stats"),
        "GET /api/dashboard/execution/{fid}/details",
        "GET /api/dashboard/execution/{fid}/files",
        *("GET /health", "GET /livez", "GET /readyz", "GET /metrics", "GET /schedules"),
    }
    assert named - {name for name, _ in operations(document)} == set()


@pytest.mark.timeout(900)
def test_nothing_that_is_sent_makes_a_server_error(
    fresh_panel: Stand, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parameters, "EXTENDED_WAIT", 0.3)  # for executions that never come
    run = fresh_panel.run().begin(word="x").finish()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=fresh_panel.url)
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.label in LEFT_OUT:
            continue

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def send(case: Any) -> None:
            nonlocal tried
            tried += 1
            if tried % 2 and "fid" in case.path_parameters:
                case.path_parameters["fid"] = run.fid  # one that is there
            response = case.call(headers={API_KEY_HEADER: fresh_panel.token}, timeout=60)
            broken = response.status_code >= 500 and response.status_code not in AWAY
            assert not broken, f"{case.as_curl_command()}\n{response.text}"
            case.validate_response(response, checks=TRUE)
            if response.status_code in AWAY:
                assert response.json()["detail"], case.as_curl_command()

        send()
    assert fresh_panel.client.get("/timeline/list").status_code == 200
    assert tried > 300
