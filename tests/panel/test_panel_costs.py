"""What runs took of models, wherever runs are shown; and their budgets."""

import re

from prometheus_client.parser import text_string_to_metric_families

from kodosumi_prefect.spans.span import Usage, begin_payload, end_payload
from tests.panel.panel_runs import Run, Stand
from tests.spooler.recording import execute


def call(run: Run, model: str, cost: float | None, tokens: int = 6000) -> None:
    id_ = f"{model}-{cost}"
    run.say("span", begin_payload(id_, model, "llm", model=model))
    run.say("span", end_payload(id_, usage=Usage(tokens, tokens // 2), cost=cost))


def row(panel: Stand, run: Run) -> str:
    text = panel.get("/executions").text
    [found] = re.findall(rf'<tr [^>]*id="e-{run.fid}".*?</tr>', text, re.S)
    return str(found)


def test_a_row_and_a_page_say_what_a_run_took_if_it_took_anything(fresh_panel: Stand) -> None:
    run, other = fresh_panel.run().begin(), fresh_panel.run().begin()
    call(run, "m-1", 0.25)
    found = row(fresh_panel, run)
    assert re.search(r'class="took" title="([^"]*)">\$0.2500, 9k tokens<', found)
    assert 'title="$0.250000; 6,000 tokens in, 3,000 out"' in found
    assert 'class="took"' not in row(fresh_panel, other)
    assert "$0.2500, 9k tokens" in fresh_panel.get(f"/executions/{run.fid}").text
    call(run, "m-2", None)
    assert ">over $0.2500, 18k tokens<" in row(fresh_panel, run)
    assert "the price of 1 call is not known" in row(fresh_panel, run)


def test_the_page_of_a_run_says_which_budget_is_nearly_spent(fresh_panel: Stand) -> None:
    execute(fresh_panel.database, "INSERT INTO kodosumi.budget (per, dollars) VALUES ('run', 1)")
    run = fresh_panel.run().begin()
    call(run, "m-1", 0.5)
    assert "<dt>Budget</dt>" not in fresh_panel.get(f"/executions/{run.fid}").text
    call(run, "m-2", 0.4)
    assert "$0.9000 of $1.00 for this run" in fresh_panel.get(f"/executions/{run.fid}").text
    call(run, "m-3", 0.4)
    text = fresh_panel.get(f"/executions/{run.fid}").text
    assert '<span class="problem">$1.30 of $1.00 for this run</span>' in text


def test_metrics_are_of_the_models_that_took_most_and_of_all_others_together(
    fresh_panel: Stand,
) -> None:
    run = fresh_panel.run().begin()
    for number in range(25):
        call(run, f"m-{number:02}", None if number == 0 else 0.5, 1000 - number)
    answer = fresh_panel.get("/metrics").text
    samples = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(answer)
        for s in family.samples
    }
    calls = {key[1]: value for key, value in samples.items() if key[0] == "kodosumi_model_calls"}
    assert len(calls) == 21
    assert (calls["m-00"], calls["other"]) == (1, 5)
    assert samples["kodosumi_model_cost_dollars", "other"] == 2.5
    assert samples["kodosumi_model_unpriced_calls", "m-00"] == 1
    assert samples["kodosumi_model_tokens", "input", "m-00"] == 1000
