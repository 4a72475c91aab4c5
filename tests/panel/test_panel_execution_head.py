"""The head of an execution's page: what it does, asks, leaves, and what it is compared with."""

import json
import re
import time
from uuid import uuid4

from kodosumi_prefect import forms
from kodosumi_prefect.events import State, serialize
from kodosumi_prefect.panel.locks.cards import says
from tests.panel.panel_runs import Run, Stand, markdown
from tests.spooler.recording import execute

DECISION = forms.Model(
    forms.Markdown("Is this **fine**?"),
    forms.InputNumber("stars", label="Stars", min_value=1, max_value=5, required=True),
    forms.Submit("Answer"),
)


def asked(run: Run, name: str, *, model: forms.Model = DECISION, hours: float = 1) -> str:
    """Ask a question; the id of its lock."""
    lid = str(uuid4())
    question = {
        "name": name,
        "lid": lid,
        "data": {"draft": "# Hello\n\nTo **all**", "round": 1},
        "expires": time.time() + hours * 3600,
        "elements": model.get_model(),
    }
    run.say("lock", serialize(question))
    return lid


def page(panel: Stand, run: Run, query: str = "") -> str:
    return panel.get(f"/executions/{run.fid}{query}").text


def test_a_run_that_goes_on_shows_its_latest_step_and_the_end_of_its_log(panel: Stand) -> None:
    run = panel.run().begin().lines(*(f"line {n}" for n in range(100)))
    assert "nothing reported yet" in page(panel, run)
    run.say("action", serialize({"tool": "search", "query": "<b>"}))
    text = page(panel, run)
    step = re.search(r'<div id="step">(.*?)</div>', text)
    assert step is not None and "action" in step[1] and "tool search query &lt;b&gt;" in step[1]
    tail = text[text.index('id="tail-list"') : text.index("</aside>")]
    assert "line 99<" in tail and "line 39<" not in tail
    source = json.dumps({"task_run": {"id": "t", "name": "count-1"}})
    run.put(run.event("debug", "task count-1: Running", source=source))
    assert re.search(r">task</span>.*count-1: Running", page(panel, run))
    run.finish()
    text = page(panel, run)
    assert '<div id="step"></div>' in text and "data-over" in text


def test_a_suspended_run_says_that_no_process_runs_and_what_has_it_go_on(panel: Stand) -> None:
    run = panel.run().begin()
    lid = asked(run, "approve")
    assert "no process runs" not in page(panel, run)
    assert "nothing reported yet" in page(panel, run)
    suspend = "UPDATE kodosumi.execution SET suspended_leg = 1 WHERE fid = "
    execute(panel.database, f"{suspend}'{run.fid}'")
    text = page(panel, run)
    assert "Suspended: no process runs while it waits. The answer, or the deadline," in text
    assert "nothing reported yet" not in text
    assert "no process runs" in page(panel, run, "/head")
    assert panel.client.post(f"/lock/{run.fid}/{lid}", json={"stars": 3}).status_code == 200
    text = page(panel, run, "/head")
    assert "It is answered, and goes on as soon as a worker has begun it." in text
    assert "no process runs" not in text


def test_questions_stand_above_the_tabs_with_their_forms_and_markdown(panel: Stand) -> None:
    run = panel.run().begin()
    first, second = asked(run, "approve"), asked(run, "rate")
    text = page(panel, run)
    above = text[: text.index('id="tabs"')]
    for lid in (first, second):
        assert f'id="lock-{lid}"' in above
        assert f'action="/inputs/lock/{run.fid}/{lid}"' in above
    assert above.count("<strong>all</strong>") == 2 and "# Hello" not in above
    assert f'data-locks="{first} {second}"' in text
    run.finish()
    assert "lock-" not in page(panel, run)


def test_an_answer_without_a_script_leads_back_to_the_run(panel: Stand) -> None:
    run = panel.run().begin()
    lid = asked(run, "approve")
    answer = panel.client.post(f"/inputs/lock/{run.fid}/{lid}", data={"field.stars": "4"})
    assert answer.is_redirect and answer.headers["location"].endswith(f"/executions/{run.fid}")
    assert f"lock-{lid}" not in page(panel, run)


def test_who_may_not_answer_is_told_who_may(fresh_panel: Stand) -> None:
    panel = fresh_panel
    panel.app.state.panel.settings.unowned = "all"
    run = panel.run().begin()
    lid = asked(run, "approve")
    mira = panel.person("Mira")
    text = mira.client.get(f"/executions/{run.fid}").text
    assert f"lock-{lid}" not in text and "waits for an answer of its owner" in text


def test_what_a_form_says_itself_is_not_shown_beside_it() -> None:
    said = [{"type": "markdown", "text": "Draft 1\n\n# Hello\nTo  all"}]
    assert says(said, {"draft": "# Hello\nTo all", "round": 1})
    assert not says(said, {"draft": "# Hello\nTo all", "reason": "something else"})
    assert not says(said, {"round": 1}) and not says([], {"draft": "x"}) and not says(said, None)
    assert not says([{"type": "textarea", "text": "x"}], {"draft": "x"})


def test_steps_tell_of_questions_in_words(panel: Stand) -> None:
    run = panel.run().begin()
    answered, open_, late = asked(run, "approve"), asked(run, "rate"), asked(run, "hurry")
    execute(
        panel.database,
        f"UPDATE kodosumi.lock SET opened_at = now() - interval '2 hours' WHERE lid = '{answered}'",
    )
    done = panel.client.post(f"/lock/{run.fid}/{answered}", json={"stars": 4})
    assert done.json() == {"result": {"stars": 4}}
    ended = {"name": "hurry", "lid": late, "result": None, "state": "expired"}
    run.say("lease", serialize(ended))
    html = panel.get(f"/executions/{run.fid}/steps").text
    words = [
        " ".join(re.sub("<.*?>", "", card).split())
        for card in re.findall(r'<p class="asked".*?</p>', html)
    ]
    assert words == [
        "Asked “approve”, answered by admin after 2 h 0 min",
        "Asked “rate”, waits for an answer",
        "Asked “hurry”, expired",
    ]
    assert html.count("<li") == 3  # each answer in the card of its question
    visible = re.sub("<.*?>", "", html)
    for lid in (answered, open_, late):
        assert lid not in visible
    assert "elements" not in visible and "expires" not in visible and "min_value" not in visible
    assert "<strong>all</strong>" in html and re.search(r"stars.*4", visible, re.DOTALL)
    run.finish()
    html = panel.get(f"/executions/{run.fid}/steps").text
    assert "no longer asked" in html and "waits for an answer" not in html


def test_an_answer_whose_question_is_not_known_is_told_by_itself(panel: Stand) -> None:
    run = panel.run().begin()
    run.say("lease", serialize({"name": "lost", "lid": str(uuid4()), "result": {"a": 1}}))
    html = panel.get(f"/executions/{run.fid}/steps").text
    assert '“lost” <span class="how">answered' in html


def test_the_live_stream_has_words_and_kodosumis_has_what_it_had(panel: Stand) -> None:
    run = panel.run().begin()
    lid = asked(run, "approve")
    run.finish()
    (own,) = (f for f in panel.whole(f"/executions/{run.fid}/live") if f.event == "lock")
    assert own.data.startswith(f'<p class="asked" data-lid="{lid}">Asked “approve”')
    (theirs,) = (f for f in panel.whole(f"/outputs/main/{run.fid}") if f.event == "lock")
    assert "min_value" in theirs.data and "Asked" not in theirs.data


def test_the_result_is_a_file_of_its_kind(panel: Stand) -> None:
    results = {
        markdown("# Report"): ("Markdown", "text/markdown", "# Report\n", "md"),
        '{"HTML": {"body": "<b>x</b>"}}': ("HTML", "text/html", "<b>x</b>\n", "html"),
        serialize("a word"): ("text", "text/plain", "a word\n", "txt"),
        serialize({"n": 1}): ("JSON", "application/json", '{\n  "n": 1\n}\n', "json"),
    }
    for result, (words, kind, content, ending) in results.items():
        run = panel.run(summary='Bericht für Kunde "X"/7').begin().finish(result)
        assert f"Download the result as {words}" in page(panel, run)
        answer = panel.get(f"/executions/{run.fid}/result")
        assert answer.text == content and answer.headers["content-type"].startswith(kind)
        name = re.search(
            r'attachment; filename="([a-z0-9.-]+)"', answer.headers["content-disposition"]
        )
        assert name is not None and name[1].startswith("bericht-f-r-kunde-x-7-")
        assert name[1].endswith(f"-{run.fid[:8]}.{ending}")
    assert panel.get(f"/executions/{panel.run().begin().fid}/result").status_code == 409


def test_reruns_are_linked_both_ways_by_name_as_far_as_they_may_be_seen(fresh_panel: Stand) -> None:
    panel = fresh_panel
    mira = panel.person("Mira")
    old = panel.run(summary="Report for X", owner=mira.id).begin().finish()
    new = panel.run(summary="Report for Y").begin().finish()
    execute(
        panel.database,
        f"UPDATE kodosumi.execution SET again_of = '{old.fid}' WHERE fid = '{new.fid}'",
    )
    assert re.search(rf"Rerun of</dt>.*{old.fid}\">Report for X", page(panel, new))
    assert re.search(rf"Rerun as</dt>.*{new.fid}\">Report for Y", page(panel, old))
    assert "Report for Y" not in mira.client.get(f"/executions/{old.fid}").text


def test_attempts_are_compared(panel: Stand) -> None:
    run = (
        panel.run(summary="Report").begin(customer="X").lines("at 10:00:01 read 5 rows", "wrote 3")
    )
    run.fail("Traceback (most recent call last):\nOSError: gone")
    run.attempt = 2
    run.status("running").lines("at 11:30:59 read 5 rows", "wrote 4").finish(markdown("**well**"))
    text = panel.get(f"/executions/{run.fid}/compare").text
    rows = re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', text, re.DOTALL)
    told = {name: " ".join(re.sub("<.*?>", " ", cells).split()) for name, cells in rows}
    assert told["Status"] == "error finished"
    assert told["Error"].startswith("OSError: gone") and told["Error"].endswith("none")
    assert told["Inputs"] == "the same, as of every attempt"
    assert re.fullmatch(r"Line \d+ wrote 3 Line \d+ wrote 4", told["First line that differs"])
    assert told["Result"] == "none Result well"
    assert f'href="/executions/{run.fid}/compare"' in page(panel, run)


def test_the_time_until_a_retry_belongs_to_no_attempt(panel: Stand) -> None:
    run = panel.run(summary="Rests").begin().fail()
    run.status("starting")  # of the retry, which Prefect counts with the attempt before
    run.attempt = 2
    run.status("running").finish()
    execute(
        panel.database,
        f"""UPDATE kodosumi.event v SET ts = ts + interval '500 s' FROM kodosumi.execution e
        WHERE e.id = v.execution_id AND e.fid = '{run.fid}' AND v.seq > (
            SELECT max(seq) FROM kodosumi.event f WHERE f.execution_id = e.id AND kind = 'error')
            + 1""",
    )
    text = panel.get(f"/executions/{run.fid}/compare").text
    took = re.search(r'<th scope="row">(?:Took|Duration)</th>(.*?)</tr>', text, re.DOTALL)
    assert took is not None
    first, _ = re.sub("<.*?>", " ", took[1].replace("</td>", "|")).split("|")[:2]
    assert "min" not in first and " s" in first


def test_an_execution_is_compared_with_what_it_is_a_rerun_of(panel: Stand) -> None:
    old = panel.run(summary="Report").begin(customer="X", days=7).lines("same").finish("done")
    new = panel.run(summary="Report").begin(customer="Y", days=7, more=True).lines("same")
    new.finish("done")
    execute(
        panel.database,
        f"UPDATE kodosumi.execution SET again_of = '{old.fid}' WHERE fid = '{new.fid}'",
    )
    text = panel.get(f"/executions/{new.fid}/compare").text
    changed = re.findall(
        r'<tr class="changed"><th.*?<code>(.*?)</code></th>(.*?)</tr>', text, re.DOTALL
    )
    told = {name: re.sub("<.*?>", " ", cells).split() for name, cells in changed}
    assert told == {"customer": ["X", "Y"], "more": ["not", "given", "true"]}
    assert "none, but for ids and times" in text and "<summary>the same</summary>" in text
    pair = f"{new.fid} 1"
    text = panel.get(f"/executions/{old.fid}/compare", params={"pair": pair}).text
    assert text.index(f"{new.fid[:8]}, attempt 1") < text.index(f"{old.fid[:8]}, attempt 1")


def test_a_comparison_shows_nobody_more_than_they_may_see(fresh_panel: Stand) -> None:
    mira = fresh_panel.person("Mira")
    own = fresh_panel.run(owner=mira.id).begin().finish()
    secret = fresh_panel.run(summary="secret").begin().finish()
    answer = mira.client.get(f"/executions/{own.fid}/compare", params={"pair": f"{secret.fid} 1"})
    assert answer.status_code == 404 and "secret" not in answer.text
    for odd in ("x", "x 1", f"{own.fid} x", " ", f"{own.fid} 99"):
        assert mira.client.get(f"/executions/{own.fid}/compare", params={"pair": odd}).is_success


def test_a_cancelled_run_says_so_everywhere_and_not_that_it_failed(panel: Stand) -> None:
    old = panel.run(summary="Stopped").begin()
    state = State(str(uuid4()), "CANCELLED", "Cancelled", "", time.time())
    old.say("error", "Cancelled: by somebody")
    old.put(old.event("status", "error", state=state))
    new = panel.run(summary="Again").begin().finish()
    execute(
        panel.database,
        f"UPDATE kodosumi.execution SET again_of = '{old.fid}' WHERE fid = '{new.fid}'",
    )
    text = page(panel, old)
    result = text[text.index('id="result"') : text.index('id="output-list"')]
    assert "<h2>Cancelled</h2>" in result and "by somebody" in result and "failure" not in result
    assert '<span class="chip-word cancelled">cancelled</span>' in page(panel, new)
    assert 'class="chip cancelled"' in page(panel, new, "/compare")
    old.attempt = 2
    old.status("running").finish()
    chips = re.findall(r'class="chip (\w+)"', page(panel, old, "/compare"))
    assert chips == ["cancelled", "finished"]


def test_archive_stands_apart_and_links_say_where_they_lead(panel: Stand) -> None:
    run = panel.run().begin()
    text = page(panel, run)
    acts = text[text.index('class="toolbar acts"') : text.index('class="facts"')]
    assert (
        acts.index('data-ask="cancel"') < acts.index("<details") < acts.index('data-ask="archive"')
    )
    assert f'data-copy="fid-text" aria-label="Copy the id {run.fid}"' in text
    assert f">{run.fid[:8]}</code>" in text
