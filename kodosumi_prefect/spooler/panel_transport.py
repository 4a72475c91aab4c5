"""The way of a process without a database: through the panel, with a token of the execution."""

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from kodosumi_prefect.database.connection import ANSWER_TIMEOUT
from kodosumi_prefect.files.access import FileAccess, access_to, given_access
from kodosumi_prefect.files.tokens import TOKEN_HEADER, fid_of
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spooler.batch import Batch, pack
from kodosumi_prefect.spooler.outcome import check
from kodosumi_prefect.spooler.refused import RefusedError
from kodosumi_prefect.spooler.standing import Standing
from kodosumi_prefect.spooler.transport import NoDatabaseError, SpoolerAwayError

PATH = "/ingest"
MOST_BYTES = 16 * 1024 * 1024  # of a delivery, packed; the panel takes no more
TOGETHER_BYTES = 6_000_000  # beyond this the batches of one execution go in several requests
CONNECT = 5.0  # seconds for a connection to the panel
SMALL = 8 * 1024  # bytes that are not worth compressing
LEVEL = 1  # of zlib: lines that are alike shrink to a tenth by the quickest one
PATIENCE = 600.0  # seconds for which a token that is not taken may be replaced by another one
HERE = ("127.0.0.1", "::1", "localhost")


class TokenRefusedError(SpoolerAwayError):
    """The panel does not take the token of an execution; another one may do."""


class PanelTransport:
    """Sends deliveries to the panel's ``/ingest``. Used by one thread at a time.

    A token is good for one execution, so those of several go in a request each. An execution that
    this process has no token for, or that takes no more events, blocks none of the others: its
    batches are refused, and kept.

    Arguments:
        settings: where the panel is, and what was given to this process.
        own_tokens: whether to make tokens with the installation's key, where there is one.
    """

    def __init__(self, settings: Settings, *, own_tokens: bool = False) -> None:
        self._settings = settings
        self._own_tokens = own_tokens
        self._http: httpx.Client | None = None
        self._reached: set[str] = set()  # panels that have answered
        self._last: tuple[str, FileAccess] | None = None
        self._not_taken: dict[str, float] = {}  # since when, by execution
        self.instance: str | None = None

    def takes(self, fid: str) -> bool:
        """Whether there is a token for it here."""
        return self._access(fid) is not None

    def append(self, batches: Sequence[Batch]) -> None:
        """Store one delivery; raises as ``Transport.append``.

        Raises:
            TokenRefusedError: the panel does not take a token.
        """
        by_fid: dict[str, list[Batch]] = {}
        for batch in batches:
            by_fid.setdefault(batch.fid, []).append(batch)
        refused: list[Batch] = []
        reasons: list[str] = []
        for fid, own in by_fid.items():
            try:
                self._append(fid, own)
            except RefusedError as exc:
                refused += [batch for batch in own if exc.of(batch)]
                reasons.append(exc.reason)
            except TokenRefusedError as exc:
                since = self._not_taken.setdefault(fid, time.monotonic())
                if len(by_fid) == 1 and time.monotonic() - since < PATIENCE:
                    raise
                refused += own
                reasons.append(str(exc))
        if refused:
            names = [(batch.fid, batch.writer, batch.number) for batch in refused]
            raise RefusedError(names, "; ".join(dict.fromkeys(reasons)))

    def heartbeat(self, fids: Sequence[str]) -> None:
        """Say that the process of these executions is alive; raises as ``append``."""
        for fid in fids:
            if (access := self._access(fid)) is not None:
                self._post(access, fid, f"{PATH}/heartbeat", b"")

    def standings(self, fids: Sequence[str]) -> dict[str, Standing]:
        """How executions stand against their budgets; raises as ``append``."""
        found = {}
        for fid in fids:
            if (access := self._access(fid)) is None:
                continue
            said = self._post(access, fid, f"{PATH}/standing", b"")
            if isinstance(standing := said.get("standing"), list):
                found[fid] = Standing(*standing)
        return found

    def prepare(self) -> None:
        """Have a connection to the panel, if it is known which; raises as ``append``."""
        fid, access = self._last or (None, None)
        if access is None and (token := self._settings.run_token) is not None:
            fid = fid_of(token.get_secret_value())
            access = self._access(fid) if fid is not None else None
        if fid is not None and access is not None:
            self._post(access, fid, f"{PATH}/hello", b"")

    def close(self) -> None:
        """Give the connection back; the next call opens another."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def close_if_idle(self, seconds: float) -> None:
        """Nothing: httpx closes what was idle for long, and the panel does."""

    def abandon(self) -> None:
        """Forget the connection: after a fork it is the parent's."""
        self._http = None

    def _append(self, fid: str, batches: list[Batch]) -> None:
        access = self._access(fid)
        if access is None:
            raise _refusal(batches, f"there is no token of execution {fid} here")
        for part, packed in _packed(batches):
            if len(packed) > MOST_BYTES:
                raise _refusal(part, f"{len(packed):,} bytes are more than a panel takes at once")
            self._post(access, fid, PATH, packed, part)

    def _access(self, fid: str) -> FileAccess | None:
        if self._own_tokens:
            return access_to(fid, self._settings)
        return given_access(fid, self._settings)

    def _post(
        self, access: FileAccess, fid: str, path: str, body: bytes, batches: Sequence[Batch] = ()
    ) -> dict[str, Any]:
        headers = {TOKEN_HEADER: access.token, "content-type": "application/json"}
        base = access.panel_url.rstrip("/")
        if len(body) > SMALL and not _is_here(base):
            body = zlib.compress(body, LEVEL)
            headers["content-encoding"] = "deflate"
        with self._reaching(base):
            answer = self._client().post(base + path, content=body, headers=headers)
        self._reached.add(base)
        self._last = fid, access
        said = _document(answer)
        if answer.status_code == 200 or "outcome" in said:
            self.instance = said.get("instance") or self.instance
            self._not_taken.pop(fid, None)
            self._check(said.get("outcome"))
            return said
        detail = str(said.get("detail") or f"status {answer.status_code}")
        if answer.status_code == 401:
            raise TokenRefusedError(
                f"the panel at {base} does not take the token of execution {fid}: {detail}; set "
                f"run_token to what `kodosumi-prefect token {fid}` prints"
            )
        # What will not be taken the next time either; anything else may be a proxy's, or a passing
        # state of the panel.
        if answer.status_code in (403, 413, 422) and "path" in said:
            if not batches:
                return {}
            raise _refusal(batches, f"the panel refuses it: {detail}")
        raise SpoolerAwayError(f"the panel at {base} takes no events now: {detail}")

    def _check(self, outcome: Any) -> None:
        try:
            check(None if outcome is None else (outcome[0], tuple(outcome[1])))
        except RefusedError:
            raise
        except (TypeError, ValueError, IndexError, KeyError) as exc:
            raise SpoolerAwayError(f"the panel's answer is not understood: {exc}") from exc

    def _client(self) -> httpx.Client:
        if self._http is None:
            self._http = httpx.Client(
                timeout=httpx.Timeout(ANSWER_TIMEOUT, connect=CONNECT),
                limits=httpx.Limits(max_connections=2, keepalive_expiry=10.0),
                trust_env=False,
            )
        return self._http

    @contextmanager
    def _reaching(self, base: str) -> Iterator[None]:
        try:
            yield
        except httpx.InvalidURL as exc:
            raise NoDatabaseError(f"panel_url {base!r} is no URL: {exc}") from exc
        except httpx.HTTPError as exc:
            self.close()
            text = (
                f"the panel at {base} is not reached: {str(exc) or type(exc).__name__}; "
                "panel_url says where it is from here"
            )
            # A tracer from another machine may name a panel that is reached on that machine only.
            if base not in self._reached and _is_here(base) and not self._settings.panel_url:
                raise NoDatabaseError(text) from exc
            raise SpoolerAwayError(text) from exc


def _packed(batches: list[Batch]) -> Iterator[tuple[list[Batch], bytes]]:
    """Batches packed together, in parts that are not too large for the panel."""
    packed = pack(batches)
    if len(packed) <= TOGETHER_BYTES or len(batches) == 1:
        yield batches, packed
        return
    for batch in batches:
        yield [batch], pack([batch])


def _refusal(batches: Sequence[Batch], reason: str) -> RefusedError:
    return RefusedError([(batch.fid, batch.writer, batch.number) for batch in batches], reason)


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _is_here(base: str) -> bool:
    try:
        return urlsplit(base).hostname in HERE
    except ValueError:
        return False
