"""Links with which one recipient answers one question without signing in.

A token is random, or derived from a secret key, given to one recipient and kept as a hash. A link
is used up by an answer that is accepted, and ends with its question, or when that is handed on.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
from typing import NamedTuple
from urllib.parse import urlsplit

from kodosumi_prefect.database.rows.locks import AccountName, LockQuestion, StoredLink
from kodosumi_prefect.forms import InputFiles
from kodosumi_prefect.locks.answering import AnsweredError, closed
from kodosumi_prefect.locks.held import Held, UnknownLockError, hold
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.reader import Reader

ANSWER_PATH = "answer"  # below the panel's root
TOKEN_BYTES = 32
CODE_DIGITS = 6
WRONG_CODES = 5  # after which a link is revoked
LONGEST_RECIPIENT = 200  # characters


class NoLinkError(Exception):
    """No link is made, for a reason in one line."""


class Link(NamedTuple):
    """A link that was made; neither part is ever shown again.

    Attributes:
        url: where its recipient answers.
        code: what they type beside the form; None if none is asked for.
        recipient: in words.
    """

    url: str
    code: str | None
    recipient: str


async def make_link(
    reader: Reader,
    settings: Settings,
    fid: str,
    lid: str,
    *,
    account: str | None = None,
    recipient: str | None = None,
    with_code: bool = False,
    made_by: str | None = None,
) -> Link:
    """Make a link for one question and one recipient.

    Arguments:
        account: the name of the recipient's account, who has to be asked or an operator.
        recipient: in words, of somebody without an account; only where one answer is enough.
        with_code: ask for a short code, which goes another way than the link.
        made_by: id of the account that makes it; None for a program of ours.

    Raises:
        NoLinkError: links are not allowed by the question, the settings, or the recipient; or
            `panel_url` is not an address that others reach.
        UnknownLockError: there is no such lock.
        AnsweredError: it is no longer open, with the reason.
    """
    base = _public_url(settings)
    async with hold(reader, fid, lid) as held:
        lock = held.lock
        if (reason := closed(lock)) is not None:
            raise AnsweredError(lock, reason)
        _require_linkable(lock)
        if account is not None:
            known = await _recipient(held, account)
            id_, words = known.id, known.name
        else:
            id_, words = None, (recipient or "").strip()[:LONGEST_RECIPIENT]
            if not words:
                raise NoLinkError("name whom the link is for: an account, or a recipient in words")
            if lock.quorum > 1:
                raise NoLinkError(
                    f"lock {lock.name!r} needs {lock.quorum} people, so its links are for accounts"
                )
        token = secrets.token_urlsafe(TOKEN_BYTES)
        code = _code() if with_code else None
        await held.execute(
            "add_lock_link",
            hash=hash_of(token),
            account=id_,
            recipient=words,
            code_hash=None if code is None else _code_hash(token, code),
            made_by=made_by,
        )
    return Link(f"{base}/{ANSWER_PATH}/{token}", code, words)


async def sent_link(
    reader: Reader,
    settings: Settings,
    key: bytes,
    fid: str,
    lid: str,
    *,
    account: AccountName,
    message: str,
) -> str | None:
    """The link in a message to an account that is asked; None if there is to be none.

    Its token is derived from the message, so that it is the same however often that is sent, and is
    kept nowhere: neither does the database let it be known, nor does a further try make another.

    Arguments:
        key: of the HMAC that derives it.
        message: names the message and its receiver, and nothing else ever.
    """
    try:
        base = _public_url(settings)
        async with hold(reader, fid, lid, account.id) as held:
            _require_linkable(held.lock)
            if closed(held.lock) is not None or not held.lock.is_asked:
                return None
            token = _derived_token(key, f"{fid} {lid} {account.id} {message}")
            if not await _is_kept(held, hash_of(token), account):
                return None
    except (NoLinkError, UnknownLockError):
        return None
    return f"{base}/{ANSWER_PATH}/{token}"


def why_no_link(settings: Settings, lock: LockQuestion) -> str | None:
    """Why nobody can make a link for a question that allows them, in one line; None if one can."""
    try:
        _public_url(settings)
        _require_linkable(lock)
    except NoLinkError as exc:
        return str(exc)
    return None


async def find_link(reader: Reader, token: str) -> StoredLink | None:
    """The link of a token; None if there is none."""
    found = await reader.rows_of(StoredLink, "lock_link", hash=hash_of(token))
    return found[0] if found else None


async def is_right_code(reader: Reader, link: StoredLink, token: str, code: str) -> bool:
    """Whether a code is the link's; the last wrong one that is allowed revokes it.

    It is counted before it is looked at: of a thousand guesses at once, five are looked at.
    """
    if link.code_hash is None:
        return True
    hash_ = hash_of(token)
    if not await reader.execute("count_code", hash=hash_, most=WRONG_CODES):
        return False
    right = hmac.compare_digest(_code_hash(token, "".join(code.split())), link.code_hash)
    await reader.execute("settle_code", hash=hash_, right=right, most=WRONG_CODES)
    return right


def hash_of(token: str) -> str:
    """What is kept of a token, which is too random to be guessed from it."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _public_url(settings: Settings) -> str:
    if not settings.answer_links:
        raise NoLinkError("links to answer with are switched off (the setting answer_links)")
    if not settings.panel_url:
        raise NoLinkError("no link is made: set panel_url to where people reach the panel")
    if is_loopback(settings.panel_url):
        raise NoLinkError(
            f"no link is made: panel_url is {settings.panel_url}, which nobody else reaches; set "
            "it to where people reach the panel"
        )
    return settings.panel_url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether only this machine reaches an address."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if not host or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or address.is_unspecified


def _require_linkable(lock: LockQuestion) -> None:
    if not lock.link:
        raise NoLinkError(f"lock {lock.name!r} allows no links; its run says so by link=True")
    elements = json.loads(lock.elements) if lock.elements else []
    if has_files(elements):
        raise NoLinkError(f"the form of lock {lock.name!r} takes files, which need an account")


def has_files(elements: list[dict[str, object]]) -> bool:
    """Whether a form takes files, whose sender has to have an account."""
    return any(element.get("type") == InputFiles.type for element in elements)


async def _recipient(held: Held, account: str) -> AccountName:
    known = await held.rows_of(AccountName, "active_account", name=account.strip())
    if not known:
        raise NoLinkError(f"there is no active account {account[:80]!r}")
    if not (await held.values("may_answer_lock", account=known[0].id))[0]:
        raise NoLinkError(f"{known[0].name} is not asked; hand the question on to them first")
    return known[0]


async def _is_kept(held: Held, hash_: str, account: AccountName) -> bool:
    """Keep a link unless it is; False if it is used or revoked."""
    of_link = {"hash": hash_, "account": account.id, "recipient": account.name}
    if await held.values("add_lock_link", **of_link, code_hash=None, made_by=None):
        await held.audit("link_create", recipient=account.name, code=False)
        return True
    [link] = await held.rows_of(StoredLink, "lock_link", hash=hash_)
    return not link.used and not link.revoked


def _derived_token(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _code() -> str:
    return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"


def _code_hash(token: str, code: str) -> str:
    # The token is a salt that is not in the database.
    return hashlib.sha256(f"{token} {code}".encode(errors="replace")).hexdigest()
