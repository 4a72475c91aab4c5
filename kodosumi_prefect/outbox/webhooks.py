"""The webhooks that accounts have: kept in Postgres, their secrets encrypted."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from kodosumi_prefect.database.rows.outbox import Delivery, Webhook
from kodosumi_prefect.keys import Box
from kodosumi_prefect.outbox.kinds import TellKind
from kodosumi_prefect.outbox.signing import GRACE, new_secret
from kodosumi_prefect.refusals import ConflictError, InvalidError, NotFoundError
from kodosumi_prefect.stream.reader import Reader

MOST = 20  # webhooks of an account
LONGEST_NAME = 200  # characters
LONGEST_URL = 2000  # characters


class NewWebhook(NamedTuple):
    """A webhook that was just made, or has a new secret, which cannot be read again."""

    webhook: Webhook
    secret: str


class Webhooks:
    """The table ``webhook``; who may do what is for its callers to know.

    Arguments:
        box: encrypts secrets.
    """

    def __init__(self, reader: Reader, box: Box) -> None:
        self._reader = reader
        self._box = box

    async def of(self, owner: str | None) -> list[Webhook]:
        """Those of an account, or all, the newest first."""
        return await self._reader.rows_of(Webhook, "webhooks", owner=owner, id=None)

    async def one(self, id_: str, owner: str | None) -> Webhook:
        """One of them.

        Raises:
            NotFoundError: there is none, or it is another account's than ``owner``.
        """
        rows = await self._reader.rows_of(Webhook, "webhooks", owner=owner, id=id_)
        if not rows:
            raise NotFoundError(f"there is no webhook {id_}")
        return rows[0]

    async def add(
        self,
        owner: str,
        *,
        name: str,
        url: str,
        kinds: Sequence[str],
        everyone: bool = False,
        with_data: bool = False,
        with_links: bool = False,
    ) -> NewWebhook:
        """Make one, with a secret of its own.

        Raises:
            InvalidError: it cannot be like that.
            ConflictError: the account has as many as it may have.
        """
        [count] = await self._reader.values("count_webhooks", owner=owner)
        if count >= MOST:
            raise ConflictError(f"an account has at most {MOST} webhooks; delete one first")
        secret = new_secret()
        [id_] = await self._reader.values(
            "add_webhook",
            owner=owner,
            name=checked_name(name),
            url=checked_url(url),
            kinds=checked_kinds(kinds),
            everyone=everyone,
            with_data=with_data,
            with_links=with_links,
            secret=self._box.encrypt(secret.encode()),
        )
        return NewWebhook(await self.one(id_, owner), secret)

    async def change(
        self,
        id_: str,
        *,
        name: str | None = None,
        url: str | None = None,
        kinds: Sequence[str] | None = None,
        everyone: bool | None = None,
        with_data: bool | None = None,
        with_links: bool | None = None,
        active: bool | None = None,
    ) -> Webhook:
        """Change what is not None.

        Raises:
            InvalidError: it cannot be like that.
            NotFoundError: there is none.
        """
        changed = await self._reader.execute(
            "change_webhook",
            id=id_,
            name=None if name is None else checked_name(name),
            url=None if url is None else checked_url(url),
            kinds=None if kinds is None else checked_kinds(kinds),
            everyone=everyone,
            with_data=with_data,
            with_links=with_links,
            active=active,
        )
        if not changed:
            raise NotFoundError(f"there is no webhook {id_}")
        return await self.one(id_, None)

    async def rotate(self, id_: str) -> NewWebhook:
        """Give it a new secret; the one before signs too for ``GRACE`` seconds.

        Raises:
            NotFoundError: there is none.
        """
        secret = new_secret()
        sealed = self._box.encrypt(secret.encode())
        if not await self._reader.execute("rotate_webhook", id=id_, secret=sealed, grace=GRACE):
            raise NotFoundError(f"there is no webhook {id_}")
        return NewWebhook(await self.one(id_, None), secret)

    async def remove(self, id_: str) -> None:
        """Delete it, with what was to be sent to it.

        Raises:
            NotFoundError: there is none.
        """
        if not await self._reader.execute("remove_webhook", id=id_):
            raise NotFoundError(f"there is no webhook {id_}")

    async def deliveries(
        self, id_: str, *, state: str | None = None, before: int | None = None, limit: int = 50
    ) -> list[Delivery]:
        """What was, or is to be, sent to it, the newest first, behind one of them."""
        return await self._reader.rows_of(
            Delivery, "deliveries", webhook=id_, state=state, before=before, limit=limit
        )

    async def send_again(self, id_: str, delivery: int | None = None) -> int:
        """Send what was set aside, one or all; how many those are."""
        return await self._reader.execute("send_again", webhook=id_, id=delivery)


def checked_name(name: str) -> str:
    """A name that people can read; raises InvalidError."""
    text = name.strip()
    if not 0 < len(text) <= LONGEST_NAME or not text.isprintable():
        raise InvalidError(f"name has 1 to {LONGEST_NAME} visible characters")
    return text


def checked_kinds(kinds: Sequence[str]) -> list[str]:
    """Kinds by their short names, each once; raises InvalidError."""
    known = {name: kind for kind in TellKind for name in (kind.value, kind.full)}
    if wrong := [kind for kind in kinds if kind not in known]:
        raise InvalidError(f"kinds: {wrong[0][:80]!r} is none; use {', '.join(TellKind)}")
    if not kinds:
        raise InvalidError(f"kinds: name at least one of {', '.join(TellKind)}")
    return list(dict.fromkeys(known[kind].value for kind in kinds))


def checked_url(url: str) -> str:
    """An address that can be posted to; raises InvalidError.

    Where it leads is looked at when it is connected to: names change.
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise InvalidError(f"url is not an address: {exc}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InvalidError("url is not an address such as https://example.org/hook")
    if parts.username is not None or parts.password is not None:
        raise InvalidError("url has a user or password in it; receivers know us by the signature")
    if len(text) > LONGEST_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidError(f"url has at most {LONGEST_URL} characters, of ASCII")
    return text.partition("#")[0]
