"""What the panel has to show: executions, questions, services and people, plain and awkward."""

import json
import time
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

from kodosumi_prefect import forms
from kodosumi_prefect.events import Event, serialize
from tests.http_services import served_app
from tests.panel import traced_runs
from tests.panel.faulty_services import Faulty, document, operation
from tests.panel.panel_runs import Run, Stand, markdown
from tests.panel.test_panel_system_page import tell
from tests.spooler.recording import execute

WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2
NAMES = "Отчёт за неделю · 週報 · تقرير الأسبوع · 🦕"
TAGS = [f"team-{n}" for n in range(14)] + [WORD[:60], "ежедневно"]
TABS = ("output", "trace", "tasks", "log", "inputs", "raw")
TABLE = [{"city": f"City {n}", "people": n * 12345.5, "note": "a word or two"} for n in range(6)]
WIDE = [{f"column {n}": f"value {n} of the row" for n in range(14)} for _ in range(3)]
REPORT = f"""# Weekly report

All went **well**, see [the list](https://example.org/{WORD}).

- one `thing`
- {WORD}

| Day | Runs | Share |
|---|---:|---:|
| Monday | 12 | 4.2 |
| Tuesday | 7 | 2.1 |

```python
def long() -> str:
    return "{"x" * 160}"
```

> A word of somebody else.
"""
TRACEBACK = "\n".join(
    [
        "Traceback (most recent call last):",
        *(f'  File "/app/flows/step_{n}.py", line {n}, in step_{n}' for n in range(12)),
        f"ValueError: cannot read {WORD}",
    ]
)
QUESTION = forms.Model(
    forms.Markdown("Read the **draft** first."),
    forms.InputNumber("stars", label="Stars", min_value=1, max_value=5, required=True),
    forms.InputArea("why", label=f"Why, in the words of {WORD[:40]}"),
    forms.Checkbox("loud", option="Tell everyone"),
)
FIELDS = forms.Model(
    forms.Markdown("## Report\n\nFill in what it is about."),
    forms.InputText("name", label="Name", required=True, placeholder="Anything"),
    forms.InputNumber("days", label="Days", value=7),
    forms.InputDate("since", label="Since"),
    forms.InputArea("points", label="Points"),
    forms.Select(
        "kind", label="Kind", option=[forms.InputOption("short"), forms.InputOption(WORD)]
    ),
    forms.Checkbox("loud", option="Tell everyone"),
    forms.Submit("Go"),
    forms.Cancel("Back"),
)


def of_task(run: Run, name: str, *texts: str) -> None:
    """What a task run of that name wrote."""
    source = json.dumps({"task_run": {"id": str(uuid4()), "name": name}, "node": "n1", "pid": 7})
    run.put(*(Event(time.time(), "stdout", text, 1, source=source) for text in texts))


def full(stand: Stand) -> Run:
    """A run of many tags that wrote all there is to write, and finished."""
    run = stand.run(summary=f"{NAMES} {WORD}", tags=TAGS, author="Ada Example").begin(
        topic=NAMES, word=WORD, points=["one", "two"], nested={"deep": {"deeper": WORD}}
    )
    run.say("agent", serialize({"name": f"Researcher {WORD}", "role": "reads everything"}))
    run.say("action", serialize({"tool": "search", "query": NAMES, "url": WORD}))
    run.say("progress", serialize({"done": 7, "total": 12, "text": f"reading {WORD}"}))
    run.say("result", serialize(TABLE)).say("result", serialize(WIDE))
    run.say("result", markdown(REPORT)).say("result", serialize({"word": WORD, "n": 1.5}))
    run.lines("\x1b[32mgreen\x1b[0m and \x1b[31mred\x1b[0m", WORD * 3, NAMES, "  indented")
    run.say("stderr", "a warning").say("debug", "a detail")
    for n in range(5):
        of_task(run, f"count-words-{n}", "counted", "counted again")
    of_task(run, WORD, "counted")
    return run.finish(markdown(REPORT))


def many_tasks(stand: Stand, tasks: int = 80) -> Run:
    """A run of many mapped task runs and some others, which finished."""
    run = stand.run(summary="Maps").begin()
    began = time.time() - 600
    names = [f"summarise-one-of-many-customer-records-{n}" for n in range(tasks)]
    for n, name in enumerate([*names, "load-records-0", WORD]):
        task = {"task_run": {"id": str(uuid4()), "name": name}, "node": f"node-{n % 3}", "pid": 7}
        told = json.dumps(task)
        ends = began + n / 2, began + n / 2 + 1 + (n * 7) % 40
        run.put(*(Event(at, "stdout", f"line of {n}", 1, source=told) for at in ends))
    return run.finish()


def asking(stand: Stand, name: str, **header: Any) -> tuple[Run, str]:
    """A run that waits, and the id of its lock."""
    run, lid = stand.run(**header).begin(topic="x"), str(uuid4())
    told = {
        "name": name,
        "lid": lid,
        "data": {"draft": REPORT, "word": WORD},
        "expires": time.time() + 3600,
        "elements": QUESTION.get_model(),
    }
    run.say("lock", serialize(told))
    return run, lid


def heard_of(database: str) -> None:
    """Workers as they report themselves, one of them of a long name, and a cluster of two nodes."""
    known = {"pool": "some-pool", "runs": 4, "warm": 1, "draining": False, "ray": True, "limit": 8}
    resources = {"CPU": 8.0, "GPU": 1.0, "memory": 2.0**34}
    cluster = [{"host": host, "resources": resources} for host in ("node-1", WORD)]
    tell(database, "worker", "worker-1", **known, cluster=cluster)
    tell(database, "worker", WORD, **known)
    now = time.time()
    for n in range(110):
        if n in range(40, 52):
            continue  # nobody reported
        figures = {"runs": n % 7, "places": 16, "cpu": (n * 3) % 11 + 2, "cpus": 16}
        row = f"(to_timestamp({now - 30 * n - 60}), '{json.dumps(figures)}')"
        execute(database, f"INSERT INTO kodosumi.utilisation VALUES {row}")


def fill(stand: Stand, stack: ExitStack) -> dict[str, str]:
    """Write all of it; addresses of pages by what they show."""
    rich, failed = full(stand), stand.run(summary="Fails", tags=["a"]).begin(x=1).fail(TRACEBACK)
    mapped = many_tasks(stand)
    bare = stand.run(flow_name=WORD).begin()
    running = stand.run(summary="Runs").begin(a=1).lines("one")
    running.say("progress", serialize({"done": 3, "total": 10, "text": "three of ten"}))
    asker, lid = asking(stand, f"approve {WORD}", summary=f"Asks {NAMES}")
    asking(stand, "rate", summary="Asks as well", owner="somebody")
    gone = stand.run(summary="Put away").begin().finish()
    assert stand.client.post(f"/executions/{gone.fid}/archive").is_redirect
    heard_of(stand.database)
    traced = traced_runs.agent(stand.run(summary="Asks models").begin()).finish()
    odd = traced_runs.odd(stand)

    paths = {
        "/go": {"get": operation("Weekly report", description=REPORT, tags=["reports", "b"])},
        "/long": {"get": operation(f"{NAMES} {WORD}", description=WORD, tags=TAGS)},
        "/broken": {"get": operation("Shows no form", deprecated=True)},
    }
    service = Faulty(**{"openapi.json": document(paths)})
    model = {"elements": FIELDS.get_model()}
    service.answers |= {"/go": model, "/long": model, "/broken": {"elements": [{"type": "odd"}]}}
    url = stack.enter_context(served_app(service.app))
    found = stand.client.post("/flow/register", json={"url": f"{url}/openapi.json"})
    uids = {item["summary"]: item["uid"] for item in found.raise_for_status().json()}
    # One source that was read, and is away since.
    with ExitStack() as early:
        away = early.enter_context(served_app(Faulty(**{"openapi.json": document()}).app))
        read = stand.client.post("/flow/register", json={"url": f"{away}/openapi.json"})
        (lost,) = read.raise_for_status().json()
    assert stand.client.put("/flow/register").status_code < 500

    mira = stand.person(f"mira-{uuid4().hex[:6]}")
    stand.person(f"noor.{'long' * 20}"[:60])
    mira.client.post("/account/keys", data={"name": "laptop"})
    for budget in (
        {"per": "owner", "name": mira.name, "dollars": "5"},
        {"per": "run", "tokens": "9"},
    ):
        stand.client.post("/budgets", data=budget)
    pages = {
        "services": "/services",
        "services, nothing found": "/services?q=no-such-thing",
        "launch": f"/services/{uids['Weekly report']}",
        "launch of a long name": f"/services/{uids[f'{NAMES} {WORD}']}",
        "form that cannot be shown": f"/services/{uids['Shows no form']}",
        "service that is away": f"/services/{lost['uid']}",
        "executions": "/executions",
        "executions, nothing found": "/executions?q=no-such-thing",
        "print": f"/outputs/html/{rich.fid}",
        "failed": f"/executions/{failed.fid}",
        "failed log": f"/executions/{failed.fid}?tab=log",
        "failed print": f"/outputs/html/{failed.fid}",
        "running": f"/executions/{running.fid}",
        "asking": f"/executions/{asker.fid}",
        "many tasks": f"/executions/{mapped.fid}?tab=tasks",
        "many tasks, one by one": f"/executions/{mapped.fid}/tasks?single=true&sort=took",
        "many tasks, one opened": f"/executions/{mapped.fid}/tasks?"
        "open=summarise-one-of-many-customer-records",
        "cancel asked": f"/executions/{running.fid}?ask=cancel",
        "waiting": "/waiting",
        "one question": f"/waiting/{asker.fid}/{lid}",
        "schedules without Prefect": "/schedules",
        "account": "/account",
        "webhooks": "/account/webhooks",
        "webhook": f"/account/webhooks/{webhook_with_deliveries(stand)}",
        "users": "/users",
        "user": f"/users/{mira.id}",
        "budgets": "/budgets",
        "one budget": "/budgets?per=owner&name=" + mira.id,
        "audit": "/audit",
        "audit, nothing found": "/audit?target=no-such-thing",
        "system": "/system",
        "trace": f"/executions/{traced.fid}?tab=trace",
        "trace with details": f"/executions/{traced.fid}?tab=trace&span=m2",
        "trace of odd spans": f"/executions/{odd.fid}?tab=trace",
        "one span": f"/executions/{traced.fid}/trace/of/m1",
        "archived": f"/executions/{gone.fid}",
        "not there": f"/executions/{uuid4()}",
        "no such page": "/no/such/page",
    }
    pages |= {f"full {tab}": f"/executions/{rich.fid}?tab={tab}" for tab in TABS}
    pages |= {
        f"bare {tab}": f"/executions/{bare.fid}?tab={tab}" for tab in ("output", "tasks", "log")
    }
    return pages


def webhook_with_deliveries(stand: Stand) -> str:
    """The id of a webhook to which something was sent, is to be sent, and was set aside."""
    new = {"name": "On call", "url": f"https://example.org/{'long/' * 30}", "everyone": True}
    made = stand.client.post("/webhooks", json=new | {"kinds": ["execution.failed"]}).json()
    states = ("delivered", "waiting", "set_aside")
    for _ in states:
        stand.run(summary="Invoices of " + "January " * 12).begin().fail()
    execute(
        stand.database,
        "UPDATE kodosumi.webhook_delivery SET tries = 3, trouble = 'it did not answer within 15 s',"
        f" state = ('{{{','.join(states)}}}'::text[])[1 + id % 3];"
        " UPDATE kodosumi.webhook SET failures = 3",
    )
    return str(made["id"])
