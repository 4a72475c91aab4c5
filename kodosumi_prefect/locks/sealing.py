"""Answers that hold secrets: encrypted in the database, masked wherever people look."""

import json
from collections.abc import Collection
from typing import Any

from kodosumi_prefect.keys import run_keys
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import SEALED

MASK = "********"


def sealed(result: Any, settings: Settings) -> str:
    """The text that is stored of an answer, which only runs and the panel can read.

    Raises:
        NoKeyError: there is no secret key.
    """
    return SEALED + run_keys(settings).box.encrypt(json.dumps(result).encode()).decode()


def unsealed(stored: str | None, settings: Settings) -> Any:
    """The answer that a stored text, sealed or not, holds.

    Raises:
        NoKeyError: it is sealed, and there is no secret key.
        cryptography.fernet.InvalidToken: it was sealed with another secret key.
    """
    if stored is None:
        return None
    if stored.startswith(SEALED):
        stored = run_keys(settings).box.decrypt(stored.removeprefix(SEALED)).decode()
    return json.loads(stored)


def masked(result: Any, names: Collection[str], typed: Collection[str] = ()) -> Any:
    """``result`` as everybody may see it.

    Arguments:
        names: of password fields; their values are masked, at any depth.
        typed: what was typed into them; masked wherever it occurs.
    """
    if isinstance(result, dict):
        return {
            key: MASK if key in names and value else masked(value, names, typed)
            for key, value in result.items()
        }
    if isinstance(result, list):
        return [masked(item, names, typed) for item in result]
    if isinstance(result, str):
        for secret in sorted(typed, key=len, reverse=True):
            result = result.replace(secret, MASK)
    return result
