"""Prefect's events of what happens here, and the automations that follow them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect.blocks.notifications import SendgridEmail
from prefect.client.orchestration import get_client
from prefect.settings import temporary_settings
from pydantic import SecretStr

from kodosumi_prefect import automations
from kodosumi_prefect.cancelling import cancel_all
from kodosumi_prefect.cli import main
from kodosumi_prefect.locks.answering import Locks
from kodosumi_prefect.observer import prefect_events
from kodosumi_prefect.observer.api import Api
from kodosumi_prefect.observer.outbox_bell import OutboxBell
from kodosumi_prefect.observer.prefect_events import PrefectEvents
from kodosumi_prefect.outbox.kinds import TellKind
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from tests.https_receiver import HttpsReceiver
from tests.outbox.receivers import Receiver, until
from tests.outbox.test_outbox import asked, listen, outbox
from tests.panel.panel_runs import Run
from tests.prefect_http import ask_prefect
from tests.services import in_force
from tests.spooler.recording import execute

Emitting = Callable[..., Any]


@pytest.fixture
def prefect(prefect_server: str) -> Iterator[str]:
    with temporary_settings(in_force(prefect_server)):
        yield prefect_server


def ask(prefect: str, path: str, **body: Any) -> Any:
    answer = ask_prefect("POST", f"{prefect}{path}", json=body).raise_for_status()
    return answer.json() if answer.content else None


def events(prefect: str, fid: str) -> list[dict[str, Any]]:
    """What Prefect holds of an execution, in order."""
    related = {"resources_in_roles": [[f"prefect.flow-run.{fid}", "flow-run"]]}
    found = ask(
        prefect,
        "/events/filter",
        filter={"event": {"prefix": ["kodosumi."]}, "related": related, "order": "ASC"},
    )
    return list(found["events"])


async def heard(prefect: str, url: str, fid: str, count: int) -> list[dict[str, Any]]:
    """What Prefect holds of an execution once it has all that is in the outbox.

    Prefect stores events once it has 20 of them, or after 5 seconds, so further ones are sent.
    """
    await until(lambda: all(row["emitted_at"] for row in outbox(url)))
    noise = {"event": "noise", "resource": {"prefect.resource.id": "noise"}}
    now = datetime.now(UTC).isoformat()
    rest = [noise | {"id": str(uuid4()), "occurred": now} for _ in range(20)]
    ask_prefect("POST", f"{prefect}/events", json=rest).raise_for_status()
    return list(await until(lambda: len(got := events(prefect, fid)) == count and got))


@pytest.fixture
def emitting(reader: Reader, settings: Settings) -> Emitting:
    @asynccontextmanager
    async def emit() -> AsyncIterator[PrefectEvents]:
        bell = OutboxBell(settings)
        async with Api() as api:
            emitter = PrefectEvents(settings, reader, api, bell)
            tasks = [asyncio.create_task(bell.run()), asyncio.create_task(emitter.run())]
            try:
                yield emitter
            finally:
                await cancel_all(tasks)

    return emit


def deployed_run(prefect: str) -> tuple[str, dict[str, str]]:
    """A flow run of a deployment in a work pool, and what an event of it is related to."""
    tag = f"told-{uuid4().hex[:8]}"
    pool = ask(prefect, "/work_pools/", name=tag, type="process")
    flow = ask(prefect, "/flows/", name=f"flow-{tag}")
    deployment = ask(
        prefect, "/deployments/", name="nightly", flow_id=flow["id"], work_pool_name=tag, tags=[tag]
    )
    run = ask(prefect, f"/deployments/{deployment['id']}/create_flow_run")
    return run["id"], {
        "flow-run": f"prefect.flow-run.{run['id']}",
        "flow": f"prefect.flow.{flow['id']}",
        "deployment": f"prefect.deployment.{deployment['id']}",
        "work-pool": f"prefect.work-pool.{pool['id']}",
        "tag": f"prefect.tag.{tag}",
    }


async def test_prefect_hears_of_a_run_in_order_with_all_that_it_is_related_to(
    database: str, reader: Reader, prefect: str, emitting: Emitting
) -> None:
    listen(database)
    fid, related = await asyncio.to_thread(deployed_run, prefect)
    deployment = related["deployment"].removeprefix("prefect.deployment.")
    run = Run(database, summary="Invoices", deployment_id=deployment)
    run.fid = fid
    run.begin().say("lock", asked("l1", title="Approve it", question="Pay **5**?"))
    await Locks(reader).answer(fid, "l1", {"secret": "sesame"}, by="ann")
    run.finish().close()
    async with emitting():
        found = await heard(prefect, database, fid, 3)
    assert [event["event"] for event in found] == [
        "kodosumi.lock.opened",
        "kodosumi.lock.answered",
        "kodosumi.execution.finished",
    ]
    opened, _, finished = found
    assert opened["resource"]["prefect.resource.id"] == f"kodosumi.lock.{fid}.l1"
    assert finished["resource"]["prefect.resource.id"] == f"kodosumi.execution.{fid}"
    for event in found:
        roles = {
            one["prefect.resource.role"]: one["prefect.resource.id"] for one in event["related"]
        }
        assert roles.items() >= related.items()
    assert opened["payload"]["title"] == "Approve it"
    assert opened["payload"]["link"].endswith(f"/waiting/{fid}/l1")
    assert "Pay" not in str(found)
    assert "sesame" not in str(found)


async def test_a_run_with_more_tags_than_an_event_may_have_is_told_of_all_the_same(
    database: str, prefect: str, emitting: Emitting
) -> None:
    listen(database)
    fid, related = await asyncio.to_thread(deployed_run, prefect)
    async with get_client() as client:
        await client.update_flow_run(UUID(fid), tags=[f"tag-{n}" for n in range(120)])
    run = Run(database, deployment_id=related["deployment"].removeprefix("prefect.deployment."))
    run.fid = fid
    run.begin().finish().close()
    async with emitting():
        [event] = await heard(prefect, database, fid, 1)
    roles = [one["prefect.resource.role"] for one in event["related"]]
    assert {"flow-run", "flow", "deployment", "work-pool", "tag"} <= set(roles)


async def test_an_event_that_is_sent_twice_counts_once(
    database: str, prefect: str, emitting: Emitting
) -> None:
    """As after the observer was killed once Prefect had it, and before that was noted."""
    listen(database)
    run = Run(database).begin()
    run.finish()
    async with emitting():
        await until(lambda: outbox(database)[0]["emitted_at"])
        execute(database, "UPDATE kodosumi.outbox SET emitted_at = NULL")
        await until(lambda: outbox(database)[0]["emitted_at"])
        run.attempt = 2
        run.status("running").finish()  # comes behind it
        found = await heard(prefect, database, run.fid, 2)
    assert [event["payload"]["attempt"] for event in found] == [1, 2]
    run.close()


async def test_what_prefect_did_not_hear_it_hears_later_and_in_order(
    database: str, prefect: str, emitting: Emitting
) -> None:
    listen(database)
    run = Run(database).begin()
    with temporary_settings(in_force("http://127.0.0.1:9/api")):
        async with emitting():
            run.say("lock", asked("l1")).finish()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(
                    until(lambda: any(row["emitted_at"] for row in outbox(database))), 0.3
                )
    async with emitting():
        found = await heard(prefect, database, run.fid, 2)
    assert [event["event"].split(".")[2] for event in found] == ["opened", "finished"]
    run.close()


async def test_an_event_that_prefect_refuses_holds_up_no_other(
    database: str, prefect: str, emitting: Emitting, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen(database)
    runs = [Run(database, summary=name).begin() for name in ("good", "bad", "better")]
    for run in runs:
        run.finish().close()
    whole = prefect_events._resource

    def without_id(word: Any) -> dict[str, str]:
        return {} if word.summary == "bad" else whole(word)

    monkeypatch.setattr(prefect_events, "_resource", without_id)
    monkeypatch.setattr(
        prefect_events.logger, "error", lambda line, *values: refused.append(line % values)
    )
    refused: list[str] = []
    async with emitting():
        for run in (runs[0], runs[2]):
            await heard(prefect, database, run.fid, 1)
    assert len(refused) == 1
    assert events(prefect, runs[1].fid) == []


# What happens, for each automation that can be installed, and what people then read.
HAPPENS: dict[str, tuple[TellKind, dict[str, Any], str]] = {
    "question": (TellKind.LOCK_OPENED, {}, "Invoices waits for an answer until 20"),
    "reminder": (TellKind.LOCK_REMINDED, {}, "Invoices still waits for an answer until 20"),
    "expired": (TellKind.LOCK_EXPIRED, {}, "Nobody answered in time what Invoices asked"),
    "failure": (
        TellKind.FAILED,
        {"attempt": 2, "state": "Failed"},
        "Invoices is Failed, in its attempt 2.",
    ),
    "silence": (
        TellKind.SILENT,
        {"why": "no_run", "since": "2026-01-31T06:00:00+00:00", "title": "Nightly"},
        "A run was due at 2026-01-31T06:00:00+00:00 and did not begin.",
    ),
    "budget": (
        TellKind.OVER_BUDGET,
        {"spent": 2, "allowed": 1, "unit": "dollars", "per": "run"},
        "Invoices spent 2 of 1 dollars (budget per run).",
    ),
}


def happens(url: str, kind: TellKind, facts: dict[str, Any]) -> None:
    """Something comes into the outbox, as the database's triggers put it there."""
    run = Run(url, summary="Invoices").begin().say("lock", asked("l1", title="Approve it"))
    run.close()
    about = "lock" if kind.startswith("lock.") else "execution"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM kodosumi.outbox")
        connection.execute(
            "INSERT INTO kodosumi.outbox (uid, kind, execution_id, lid, facts, for_prefect)"
            " SELECT gen_random_uuid(), %s, CASE WHEN %s <> 'execution.silent' THEN id END,"
            " CASE WHEN %s = 'lock' THEN 'l1' END, %s, true"
            " FROM kodosumi.execution ORDER BY id DESC LIMIT 1",
            (kind.value, kind.value, about, json.dumps(facts)),
        )


def test_each_automation_has_something_that_happens() -> None:
    assert {template.name for template in automations.templates()} == HAPPENS.keys()


async def test_each_automation_fires_and_is_installed_once(
    database: str, prefect: str, emitting: Emitting, receiver: Receiver
) -> None:
    """By a notification of Prefect's Slack block, which says it in JSON to who listens here."""
    async with automations_client() as client:
        address = receiver.url.removeprefix("http://")
        block = await automations.slack_block(f"json://{address}")
        for _ in range(2):
            installed = await automations.install(client, [], block)
        assert len({one.id for one in installed}) == len(HAPPENS)
        assert all(one.id and one.enabled for one in await automations.listed(client))
        try:
            async with emitting():
                for name, (kind, facts, words) in HAPPENS.items():
                    happens(database, kind, facts)
                    await until_said(receiver, words, name, database)
        finally:
            assert len(await automations.remove(client, [])) == len(HAPPENS)
        assert not any(one.id for one in await automations.listed(client))
    said = [got.json["message"] for got in receiver.got]
    assert len(said) == len(HAPPENS), said
    assert "/waiting/" in said[0]


async def test_an_automation_can_call_a_webhook_with_json(
    database: str, prefect: str, emitting: Emitting, receiver: Receiver
) -> None:
    async with automations_client() as client:
        block = await automations.webhook_block(receiver.url)
        await automations.install(client, ["failure"], block)
        try:
            async with emitting():
                happens(database, *HAPPENS["failure"][:2])
                [got] = await until(lambda: receiver.got, 30)
        finally:
            await automations.remove(client, ["failure"])
    assert got.json["type"] == "kodosumi.execution.failed"
    assert got.json["data"]["attempt"] == 2
    assert got.json["data"]["link"].startswith("http")


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked")
def test_automations_from_the_command_line(
    prefect: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["kodosumi-prefect", "automations", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    slack = "https://hooks.slack.com/services/T0/B0/X0"
    assert run("install", "failure", "--slack", slack) == (
        0,
        "failure: installed as “Kodosumi: a run failed”\n",
    )
    code, out = run("install", "failure", "--block", "slack-webhook/kodosumi")
    assert code == 0, out
    code, out = run("list", "-o", "json")
    there = [row["name"] for row in json.loads(out) if row["enabled"]]
    assert there == ["failure"]
    assert run("remove") == (0, "failure: removed\n")
    assert run("remove") == (0, "none of them is installed\n")
    assert run("install") == (1, "give one of --block, --slack and --webhook\n")
    assert "there is no automation 'victory'" in run("remove", "victory")[1]


async def test_an_automation_sends_mail_by_sendgrid(
    database: str, prefect: str, emitting: Emitting, https_receiver: HttpsReceiver
) -> None:
    """By Prefect's own block, to SendGrid's own address, at which somebody else answers here."""
    block = SendgridEmail(
        api_key=SecretStr("SG.none"), sender_email="a@example.org", to_emails=["b@example.org"]
    )
    await block.save("team", overwrite=True)
    kind, facts, words = HAPPENS["failure"]
    async with automations_client() as client:
        await automations.install(client, ["failure"], "sendgrid-email/team")
        try:
            async with emitting():
                happens(database, kind, facts)
                [mail] = await until(lambda: https_receiver.got, 30)
        finally:
            await automations.remove(client, ["failure"])
    assert (mail.host, mail.path) == ("api.sendgrid.com", "/v3/mail/send")
    assert mail.headers["authorization"] == "Bearer SG.none"
    assert mail.json["from"]["email"] == "a@example.org"
    assert mail.json["personalizations"][0]["to"] == [{"email": "b@example.org"}]
    assert words in mail.json["content"][0]["value"]
    assert "Invoices" in mail.json["subject"]


async def test_an_automation_needs_a_block_that_is_there(prefect: str) -> None:
    async with automations_client() as client:
        with pytest.raises(automations.UnknownBlockError, match="slack-webhook/nowhere"):
            await automations.install(client, ["failure"], "slack-webhook/nowhere")
        with pytest.raises(automations.UnknownTemplateError, match="use budget, expired"):
            await automations.install(client, ["victory"], "slack-webhook/nowhere")


def automations_client() -> Any:
    return get_client()


async def until_said(receiver: Receiver, words: str, name: str, url: str) -> None:
    def said() -> bool:
        return any(words in got.json["message"] for got in receiver.got)

    try:
        await until(said, 30)
    except AssertionError:
        raise AssertionError(
            f"{name}: {[got.body for got in receiver.got]} {outbox(url)}"
        ) from None
