"""Guessing passwords is slow; nobody can lock out somebody else."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from kodosumi_prefect.panel.accounts import attempts
from kodosumi_prefect.panel.accounts.attempts import Attempts, TooManyAttemptsError
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader
from kodosumi_prefect.vocabulary import DEVICE_COOKIE
from tests.cheaper import hasher_in_use
from tests.panel.panel_runs import Stand, fetch, serving
from tests.spooler.recording import execute

PASSWORD = "long enough to guess"


@pytest.fixture
def panel(fresh_panel: Stand, monkeypatch: pytest.MonkeyPatch) -> Stand:
    monkeypatch.setattr(attempts, "FREE", 4)
    monkeypatch.setattr(attempts, "FIRST_DELAY", 0.0)
    monkeypatch.setattr(attempts, "FIRST_WAIT", 60.0)
    made = fresh_panel.client.post(
        "/role", json={"name": "Mira", "password": PASSWORD, "email": None}
    )
    assert made.status_code == 201
    return fresh_panel


def login(client: httpx.Client, password: str, name: str = "Mira") -> httpx.Response:
    return client.post("/login", data={"name": name, "password": password})


def earlier(panel: Stand, seconds: float) -> None:
    """Let time pass for the failures that are counted."""
    execute(
        panel.database,
        f"UPDATE kodosumi.login_failure SET failed_at = failed_at - interval '{seconds} s'",
    )


def fail_until_refused(client: httpx.Client, name: str = "Mira") -> httpx.Response:
    for _ in range(20):
        if (answer := login(client, "wrong", name)).status_code != 401:
            return answer
    raise AssertionError("was never refused")


def test_an_address_that_fails_too_often_waits_and_waits_longer_each_time(panel: Stand) -> None:
    client = panel.connect()
    refused = fail_until_refused(client)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= attempts.FIRST_WAIT
    assert login(client, PASSWORD).status_code == 429  # nothing is looked at while it waits
    waits = []
    for _ in range(3):
        earlier(panel, attempts.LONGEST_WAIT)
        assert login(client, "wrong").status_code == 401
        waits.append(int(login(client, "wrong").headers["retry-after"]))
    assert waits[0] < waits[1] < waits[2] <= attempts.LONGEST_WAIT
    earlier(panel, attempts.LONGEST_WAIT)
    assert login(client, PASSWORD).status_code == 200


def test_what_waits_is_not_made_to_wait_longer_by_asking(panel: Stand) -> None:
    client = panel.connect()
    fail_until_refused(client)
    counted = fetch(panel.database, "SELECT key, failures, failed_at FROM kodosumi.login_failure")
    for _ in range(5):
        assert login(client, "wrong").status_code == 429
    after = fetch(panel.database, "SELECT key, failures, failed_at FROM kodosumi.login_failure")
    assert after == counted


def test_other_names_do_not_help_and_a_login_of_ones_own_neither(panel: Stand) -> None:
    client = panel.connect()
    for number in range(4):
        assert login(client, "wrong", f"name {number}").status_code == 401
    assert login(client, "wrong", "another").status_code == 429
    earlier(panel, attempts.LONGEST_WAIT)
    assert login(panel.connect(), PASSWORD).status_code == 200
    assert login(client, "wrong").status_code == 429


def test_several_panels_count_together(panel: Stand, settings: Settings) -> None:
    with serving(panel.settings) as other:
        for _ in range(2):
            assert login(panel.connect(), "wrong").status_code == 401
            assert login(other.connect(), "wrong").status_code == 401
        assert login(panel.connect(), "wrong").status_code == 429
        assert login(other.connect(), "wrong").status_code == 429


def test_of_many_guesses_at_once_few_are_looked_at(panel: Stand) -> None:
    with ThreadPoolExecutor(12) as pool:
        codes = list(pool.map(lambda _: login(panel.connect(), "wrong").status_code, range(24)))
    assert sorted(codes) == [401] * 4 + [429] * 20


def test_a_browser_that_is_known_gets_in_whatever_others_do(panel: Stand) -> None:
    known = panel.connect()
    assert login(known, PASSWORD).status_code == 200
    known.post("/logout")
    assert any(name.startswith(DEVICE_COOKIE) for name in known.cookies)
    fail_until_refused(panel.connect())
    assert login(panel.connect(), PASSWORD).status_code == 429
    assert login(known, PASSWORD).status_code == 200
    # It is known for that account only, and is counted as well.
    assert login(known, "wrong", "admin").status_code == 429
    assert fail_until_refused(known).status_code == 429


async def test_a_name_is_slowed_down_from_everywhere_but_never_refused(settings: Settings) -> None:
    async with Reader(settings.database_url.get_secret_value(), "kodosumi") as reader:
        counting = Attempts(reader)
        delays = []
        for number in range(60):
            attempt = await counting.begin("Mira", f"192.0.2.{number}", None)
            delays.append(attempt.delay)
        assert delays[: attempts.UNHURRIED] == [0.0] * attempts.UNHURRIED
        assert delays == sorted(delays)
        assert delays[-1] == attempts.LONGEST_DELAY
        same = await counting.begin("mIRA", "198.51.100.1", None)
        assert same.delay == attempts.LONGEST_DELAY
        assert (await counting.begin("Noor", "198.51.100.2", None)).delay == 0.0
        assert (await counting.begin("Mira", "198.51.100.3", "known")).delay == 0.0
        await counting.succeeded(same)
        assert (await counting.begin("Mira", "198.51.100.4", None)).delay == 0.0


async def test_addresses_of_one_customer_count_as_one(settings: Settings) -> None:
    async with Reader(settings.database_url.get_secret_value(), "kodosumi") as reader:
        counting = Attempts(reader)
        for number in range(attempts.FREE):
            await counting.begin(f"n{number}", f"2001:db8:0:1::{number}", None)
        with pytest.raises(TooManyAttemptsError):
            await counting.begin("n", "2001:db8:0:1:ffff::1", None)
        await counting.begin("n", "2001:db8:0:2::1", None)
        await counting.begin("n", "::ffff:192.0.2.1", None)
        (seconds,) = await reader.values(
            "login_wait", key="address 192.0.2.1", free=10, first=1, longest=1
        )
        assert seconds <= 1


async def test_failures_are_forgotten_after_an_hour(settings: Settings) -> None:
    url = settings.database_url.get_secret_value()
    async with Reader(url, "kodosumi") as reader:
        counting = Attempts(reader)
        for _ in range(attempts.FREE):
            await counting.begin("Mira", "192.0.2.1", None)
        await asyncio.to_thread(
            execute, url, "UPDATE kodosumi.login_failure SET failed_at = now() - interval '61 min'"
        )
        assert (await counting.begin("Mira", "192.0.2.1", None)).delay == 0.0
        assert {r["failures"] for r in fetch(url, "SELECT * FROM kodosumi.login_failure")} == {1}


def test_what_was_typed_as_a_name_is_not_kept(panel: Stand) -> None:
    login(panel.connect(), "x", "my password in the wrong field")
    kept = str(fetch(panel.database, "SELECT key FROM kodosumi.login_failure"))
    assert "wrong field" not in kept


def test_passwords_are_hashed_as_argon2_is_recommended() -> None:
    assert hasher_in_use().hash("a password").startswith("$argon2id$v=19$m=65536,t=3,p=4$")
