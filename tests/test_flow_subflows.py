"""Subflows: whose stream they write into, and as what."""

import asyncio

import prefect

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.events import Kind
from tests.services import Place


def test_subflows_write_into_the_roots_stream(place: Place) -> None:
    @flow
    def child(word: str, tracer: Tracer) -> str:
        tracer.debug(f"child says {word}")
        print(f"child prints {word}")
        return word

    @flow
    def parent(tracer: Tracer) -> str:
        tracer.debug("parent begins")
        word = child("hello")
        tracer.debug("parent ends")
        return f"{word}!"

    recorded = place.run(parent)
    assert recorded.told == [
        ("status", "starting"),
        ("status", "running"),
        ("debug", "parent begins"),
        ("debug", "child says hello"),
        ("stdout", "child prints hello"),
        ("debug", "parent ends"),
        ("final", '{"str": "hello!"}'),
        ("status", "finished"),
    ]
    named = [event.source.get("subflow") for event in recorded.events if event.kind == "debug"]
    assert named[0] is None
    assert named[1] is not None
    assert named[2] is None
    assert place.fids("child") == []


def test_a_failing_subflow_that_is_caught_does_not_end_the_root(place: Place) -> None:
    @flow
    def bad_child() -> None:
        raise ValueError("in the child")

    @flow
    def tolerant(tracer: Tracer) -> str:
        try:
            bad_child()
        except ValueError:
            tracer.debug("caught")
        return "fine"

    recorded = place.run(tolerant)
    assert recorded.row["status"] == "finished"
    assert recorded.of("error") == []
    assert recorded.of("debug")[0].endswith("ValueError: in the child")
    assert recorded.of("debug")[1] == "caught"


def test_a_subflow_of_a_plain_flow_writes_into_the_plain_ones_stream(place: Place) -> None:
    @flow
    def ours(tracer: Tracer) -> None:
        tracer.debug("from ours")

    @prefect.flow
    def middle() -> None:
        ours()

    @prefect.flow
    def plain_parent() -> str:
        middle()
        return "plain result"

    recorded = place.run(plain_parent)
    assert recorded.row["flow_name"] == "plain-parent"
    (event,) = [event for event in recorded.events if event.kind == Kind.DEBUG]
    assert event.payload == "from ours"
    assert event.source["subflow"]["name"]
    assert recorded.of("status") == ["starting", "running", "finished"]
    assert recorded.final == {"str": "plain result"}


async def test_async_subflows_at_once_keep_their_sources(place: Place) -> None:
    @flow(flow_run_name="one-{word}")
    async def one(word: str, tracer: Tracer) -> None:
        tracer.debug(f"says {word}")
        await asyncio.sleep(0)
        print(f"prints {word}")

    @flow
    async def together() -> None:
        await asyncio.gather(one("a"), one("b"))

    recorded = await place.run_async(together)
    said = {
        event.payload: event.source["subflow"]["name"]
        for event in recorded.events
        if event.kind in ("debug", "stdout")
    }
    assert said == {"says a": "one-a", "says b": "one-b", "prints a": "one-a", "prints b": "one-b"}
