"""Tokens that open the files of one execution, and its event stream, to a process of its run.

Such a process needs neither a database password nor an account. The panel takes a token for its
own execution only: for files as long as that is not over, for events an hour longer.
"""

import json
import time
from typing import NamedTuple

from cryptography.fernet import InvalidToken

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.keys import run_keys
from kodosumi_prefect.settings import Settings

DAYS = 30  # for which a token is good at most; its execution's end comes first
MOST_MINUTES = DAYS * 24 * 60
TOKEN_HEADER = "kodosumi-run-token"


class TokenError(KodosumiError):
    """It is no token, or one of another installation, or too old."""


class RunToken(NamedTuple):
    """What a token says.

    Attributes:
        fid: the execution that it is good for.
        until: epoch seconds.
    """

    fid: str
    until: float


def token_for(fid: str, settings: Settings, minutes: float = MOST_MINUTES) -> str:
    """A token for an execution; one that nobody knows yet will do. It begins with the fid.

    Arguments:
        minutes: for which it is good; 30 days at most.

    Raises:
        NoKeyError: there is no secret to make it with.
    """
    content = RunToken(fid, time.time() + min(minutes, MOST_MINUTES) * 60)
    sealed = run_keys(settings).tokens.encrypt(json.dumps(content).encode()).decode()
    return f"{fid}.{sealed}"


def fid_of(token: str) -> str | None:
    """The execution that a token names, unchecked; None if it names none."""
    fid, dot, _ = token.partition(".")
    return fid if dot else None


def read_token(token: str, settings: Settings) -> RunToken:
    """What a token says.

    Raises:
        TokenError: it is none, or its time is up.
        NoKeyError: there is no secret to read it with.
    """
    try:
        sealed = token.rpartition(".")[2].encode()
        fid, until = json.loads(run_keys(settings).tokens.decrypt(sealed))
    except (InvalidToken, ValueError, TypeError) as exc:
        raise TokenError("this is no token of a run of this installation") from exc
    if fid_of(token) not in (None, fid):
        raise TokenError("this is no token of a run of this installation")
    if until < time.time():
        raise TokenError("this token of a run is too old")
    return RunToken(fid, until)
