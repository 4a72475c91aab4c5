"""Tokens that open the files of one execution, and its event stream, to a process of its run.

Such a process needs neither a database password nor an account. The panel takes a token for its
own execution only, and only as long as that is not over.
"""

import json
import time
from typing import NamedTuple

from cryptography.fernet import InvalidToken

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.keys import run_keys
from kodosumi_prefect.settings import Settings

DAYS = 30  # for which a token is good at most; its execution's end comes first
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


def token_for(fid: str, settings: Settings) -> str:
    """A token for an execution.

    Raises:
        NoKeyError: there is no secret to make it with.
    """
    said = RunToken(fid, time.time() + DAYS * 86400)
    return run_keys(settings).tokens.encrypt(json.dumps(said).encode()).decode()


def read_token(token: str, settings: Settings) -> RunToken:
    """What a token says.

    Raises:
        TokenError: it is none, or its time is up.
        NoKeyError: there is no secret to read it with.
    """
    try:
        fid, until = json.loads(run_keys(settings).tokens.decrypt(token.encode()))
    except (InvalidToken, ValueError, TypeError) as exc:
        raise TokenError("this is no token of a run of this installation") from exc
    if until < time.time():
        raise TokenError("this token of a run is too old")
    return RunToken(fid, until)
