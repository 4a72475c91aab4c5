"""Webhooks reach no address inside the network, whatever names and redirects lead to it."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kodosumi_prefect.outbox.outside import Outside
from kodosumi_prefect.outbox.posting import Posted, Poster
from tests.outbox.receivers import Receiver, receiving, until

INSIDE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.3.4",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "::127.0.0.1",
    "2001:db8::1",
    "3fff::1",
    "fec0::1",
    "5f00::1",
    "64:ff9b:1::7f00:1",
    "::ffff:0:127.0.0.1",
    "192.0.0.192",
    "192.88.99.1",
    "168.63.129.16",
]
NOWHERE: list[str] = []


async def post(url: str, *allowed: str, timeout: float = 5.0) -> Posted:
    async with Poster(Outside(allowed), timeout, 10) as poster:
        return await poster.post(url, {"content-type": "application/json"}, '{"a": 1}')


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has names resolve as the test says, one answer after the other."""

    def resolve(*answers: list[str]) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: str, port: int, **kwargs: Any) -> list[Any]:
            asked.append(host)
            addresses = answers[min(len(asked), len(answers)) - 1]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return resolve


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside(address: str) -> None:
    assert address not in Outside([])


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_outside(address: str) -> None:
    assert address in Outside([])


def test_what_is_allowed_is_no_more_than_that() -> None:
    allowed = Outside(["10.1.0.0/16", "fd00:1::/32"])
    assert "10.1.2.3" in allowed
    assert "::ffff:10.1.2.3" in allowed
    assert "fd00:1::5" in allowed
    assert "10.2.0.1" not in allowed
    assert "127.0.0.1" not in allowed
    assert "127.0.0.1" in Outside(["*"])


async def test_nothing_is_sent_inside(receiver: Receiver) -> None:
    port = receiver.url.split(":")[2]
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"):
        posted = await post(f"http://{host}:{port}")
        assert posted.status is None
        assert "inside the network" in (posted.trouble or ""), (host, posted)
    assert receiver.got == []
    assert (await post(receiver.url, "127.0.0.1")).status == 200


async def test_a_name_is_connected_to_at_the_address_that_was_looked_at(
    receiver: Receiver, resolved: Any
) -> None:
    """An answer of DNS that changes after it was looked at leads nowhere else."""
    port = receiver.url.split(":")[2]
    asked = resolved(["127.0.0.1"], ["10.0.0.1"])
    posted = await post(f"http://rebound.example:{port}", "127.0.0.1")
    assert posted.status == 200
    assert asked == ["rebound.example"]
    assert receiver.got[0].headers["host"] == f"rebound.example:{port.split('/')[0]}"


async def test_names_that_nobody_answers_for_hold_up_no_other(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, asked = threading.Event(), set[str]()

    def getaddrinfo(host: str, port: int, **kwargs: Any) -> list[Any]:
        if host != "quick.example":
            asked.add(host)
            answered.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    port = receiver.url.split(":")[2]
    silent: list[asyncio.Task[Posted]] = []
    try:
        async with Poster(Outside(["127.0.0.1"]), 30, 20) as poster:
            for number in range(5):
                waiting = poster.post(f"http://{number}.example", {}, "")
                silent.append(asyncio.create_task(waiting))
            await until(lambda: len(asked) == 5)
            assert (await poster.post(f"http://quick.example:{port}", {}, "")).status == 200
            assert await asyncio.to_thread(lambda: True)
    finally:
        answered.set()
        await asyncio.gather(*silent)


async def test_of_several_addresses_only_those_outside_are_tried(
    receiver: Receiver, resolved: Any
) -> None:
    port = receiver.url.split(":")[2]
    resolved(["10.0.0.1", "127.0.0.1"])
    assert (await post(f"http://both.example:{port}", "127.0.0.0/8")).status == 200
    resolved(["10.0.0.1", "192.168.0.1"])
    assert "inside" in (await post(f"http://both.example:{port}", "127.0.0.0/8")).trouble


@pytest.mark.parametrize("status", [307, 308])
async def test_each_redirect_is_looked_at(receiver: Receiver, status: int) -> None:
    with receiving() as inner:
        receiver.answer = lambda got: (
            status,
            {"location": inner.url.replace("127.0.0.1", "127.0.0.2")},
        )
        posted = await post(receiver.url, "127.0.0.1")
        assert "inside the network" in (posted.trouble or "")
        assert inner.got == []
        receiver.answer = lambda got: (status, {"location": inner.url})
        assert (await post(receiver.url, "127.0.0.1")).status == 200
        assert [got.body for got in inner.got] == ['{"a": 1}']


async def test_redirects_that_make_no_sense_count_as_failed(receiver: Receiver) -> None:
    receiver.answer = lambda got: (302, {"location": "/elsewhere"})
    assert await post(receiver.url, "*") == Posted(302, "it answered 302")
    receiver.answer = lambda got: (307, {"location": "/hook"})
    assert (await post(receiver.url, "*")).trouble == "it redirects more than 3 times"
    receiver.answer = lambda got: (307, {"location": "file:///etc/passwd"})
    assert "cannot be requested" in ((await post(receiver.url, "*")).trouble or "")


async def test_an_answer_without_an_end_is_not_read_to_its_end() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async with await asyncio.start_server(endless, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await post(f"http://127.0.0.1:{port}/", "*")).status == 200


async def test_a_receiver_that_is_silent_or_not_there_is_said_to_be(receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        posted = await post(f"http://127.0.0.1:{port}/", "*", timeout=0.2)
        assert posted == Posted(None, "it did not answer within 0.2 s")
    posted = await post(f"http://127.0.0.1:{port}/", "*")
    assert posted.status is None
    assert posted.trouble
