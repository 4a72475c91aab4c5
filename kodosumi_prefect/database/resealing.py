"""What is encrypted in the database, encrypted anew when the secret key was changed."""

from typing import NamedTuple

from cryptography.fernet import InvalidToken

from kodosumi_prefect.database.connection import connect
from kodosumi_prefect.database.sql import Queries
from kodosumi_prefect.keys import Box, panel_keys, run_keys
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.vocabulary import SEALED


class Resealed(NamedTuple):
    """How many encrypted values there are.

    Attributes:
        changed: were encrypted with an accepted key, and are with the newest now.
        current: were encrypted with it already.
        unreadable: were encrypted with a key that is not known.
    """

    changed: int = 0
    current: int = 0
    unreadable: int = 0


def reseal(url: str, settings: Settings) -> Resealed:
    """Encrypt with the secret key in force whatever was encrypted with one that is accepted.

    Safe beside everything that runs: a value that was changed meanwhile stays as it is.

    Raises:
        OSError: there is no secret key, and none can be made.
        psycopg.Error: the database is away.
    """
    panel = panel_keys(settings)  # makes the secret if there is none
    boxes = dict.fromkeys(("inputs", "answers", "given_answers"), run_keys(settings).box)
    boxes["launches"] = panel.answers
    boxes["webhooks"] = panel.webhooks
    queries = Queries(settings.database_schema)
    total = Resealed()
    with connect(url) as reading, connect(url) as writing:
        for name, box in boxes.items():
            with reading.transaction(), reading.cursor(name) as rows:
                rows.execute(queries[f"sealed_{name}"])
                for id_, token in rows:
                    new = _anew(token, box)
                    if isinstance(new, Resealed):
                        counted = new
                    else:
                        parameters = {"id": id_, "old": token, "new": new}
                        done = writing.execute(queries[f"reseal_{name}"], parameters)
                        counted = Resealed(changed=done.rowcount)
                    total = Resealed(*map(sum, zip(total, counted, strict=True)))
    return total


def _anew(token: str | bytes, box: Box) -> str | bytes | Resealed:
    """The token for the first key of ``box``, or why there is none."""
    prefix = SEALED if isinstance(token, str) else ""
    sealed = token.removeprefix(SEALED).encode() if isinstance(token, str) else token
    if box.is_current(sealed):
        return Resealed(current=1)
    try:
        new = box.rotate(sealed)
    except InvalidToken:
        return Resealed(unreadable=1)
    return prefix + new.decode() if isinstance(token, str) else new
