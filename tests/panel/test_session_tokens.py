"""Tokens of sessions, which are decoded once and then only looked at for the time."""

import time
from uuid import uuid4

import jwt
import pytest

from kodosumi_prefect.panel.accounts import sessions as module
from kodosumi_prefect.panel.accounts.sessions import Sessions

KEY = b"a key of this test's own, 32 bytes"


def test_a_token_that_was_read_before_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(KEY, seconds=60)
    token = sessions.begin(str(uuid4()), 1)
    session = sessions.read(token, "header")
    assert session is not None
    assert sessions.read(token, "header") == session
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 61)
    assert sessions.read(token, "header") is None


def test_a_token_that_was_read_before_is_of_no_other_use() -> None:
    sessions = Sessions(KEY, seconds=60)
    token = sessions.begin(str(uuid4()), 1, use="cookie")
    assert sessions.read(token, "cookie") is not None
    assert sessions.read(token, "header") is None


def test_a_token_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(KEY, seconds=60)
    token = sessions.begin(str(uuid4()), 1)
    first = sessions.read(token, "header")
    monkeypatch.setattr(jwt, "decode", None)
    assert sessions.read(token, "header") == first


def test_tokens_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    sessions = Sessions(KEY, seconds=60)
    tokens = [sessions.begin(str(uuid4()), 1) for _ in range(10)]
    assert all(sessions.read(token, "header") for token in tokens)
    assert len(sessions._read) <= 3
