"""Keys of an installation, all derived from one secret: sessions, signatures, encrypted inputs.

While the secret is changed, further ones are accepted: what was sealed or signed with them can be
read, and nothing is sealed or signed with them any more.
"""

import base64
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kodosumi_prefect.settings import Settings, make_data_dir, split_names

FILE = "secret.key"
ACCEPTED_FILE = "secret.key.old"  # one secret a line


class NoKeyError(RuntimeError):
    """There is no secret to derive keys from."""


class Box(MultiFernet):
    """Encrypts with the first of several keys, and reads what any of them has encrypted."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        fernets = [Fernet(base64.urlsafe_b64encode(key)) for key in keys]
        super().__init__(fernets)
        self._newest = fernets[0]

    def is_current(self, token: bytes) -> bool:
        """Whether the first key has encrypted it."""
        try:
            self._newest.decrypt(token)
        except InvalidToken:
            return False
        return True


class RunKeys(NamedTuple):
    """What processes that run flows need.

    Attributes:
        labels: keys of the HMAC that signs who owns a run; the first one signs.
        box: encrypts secret inputs.
        tokens: encrypts what opens the files and the stream of one execution.
    """

    labels: tuple[bytes, ...]
    box: Box
    tokens: Box


class PanelKeys(NamedTuple):
    """What the panel needs beside them.

    Attributes:
        session: key of the HMAC that signs sessions.
        identity: signs who the panel calls a service for; services know its public half.
        launches: keys of the HMAC by which the bodies of launches are compared; new ones get
            that of the first.
        answers: encrypts what launches were answered.
        webhooks: encrypts the secrets of webhooks.
        links: key of the HMAC that makes the tokens of links which webhooks get.
    """

    session: bytes
    identity: Ed25519PrivateKey
    launches: tuple[bytes, ...]
    answers: Box
    webhooks: Box
    links: bytes


def run_key(settings: Settings) -> str | None:
    """The secret behind ``run_keys``, which travels with runs; None if there is none yet."""
    if settings.run_key is not None:
        return settings.run_key.get_secret_value()
    secret = _secret(settings)
    return _run_key_of(secret) if secret else None


def accepted_run_keys(settings: Settings) -> list[str]:
    """What belongs to ``run_key`` in the same way, of the secrets that are accepted, too."""
    given = settings.run_keys_accepted
    keys = split_names(given.get_secret_value()) if given else []
    own = [] if settings.run_key is not None else [_run_key_of(one) for one in _accepted(settings)]
    return list(dict.fromkeys([*keys, *own]))


def run_keys(settings: Settings) -> RunKeys:
    """The keys of processes that run flows, and of those that launch them.

    Raises:
        NoKeyError: no secret is configured or was made in the data dir.
    """
    key = run_key(settings)
    if key is None:
        raise NoKeyError(
            f"there is no secret key: set secret_key to the panel's, or use its data_dir "
            f"(now {settings.data_dir})"
        )
    keys = [key, *accepted_run_keys(settings)]
    return RunKeys(
        tuple(_derived(one, "label") for one in keys), _box(keys, "inputs"), _box(keys, "tokens")
    )


def panel_keys(settings: Settings) -> PanelKeys:
    """The panel's keys; the secret is made in the data dir if there is none.

    Raises:
        OSError: it cannot be written there.
    """
    secret = make_secret(settings)
    secrets_ = [secret, *_accepted(settings)]
    # Who has an accepted one, which may be known to others, signs nobody in with it.
    identity = Ed25519PrivateKey.from_private_bytes(_derived(secret, "identity"))
    return PanelKeys(
        _derived(secret, "session"),
        identity,
        tuple(_derived(one, "launch") for one in secrets_),
        _box(secrets_, "answers"),
        _box(secrets_, "webhooks"),
        _derived(secret, "links"),
    )


def make_secret(settings: Settings) -> str:
    """The configured secret, or that of the data dir, made once and readable by this user only.

    Raises:
        OSError: it cannot be written there.
    """
    path = settings.data_dir / FILE
    while (secret := _secret(settings)) is None:
        make_data_dir(settings.data_dir)
        draft = path.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)  # the first of several processes wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return secret


def _secret(settings: Settings) -> str | None:
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    try:
        return Path(settings.data_dir / FILE).read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None


def _accepted(settings: Settings) -> list[str]:
    """Further secrets, to read with."""
    if (given := settings.secret_keys_accepted) is not None:
        return list(split_names(given.get_secret_value()))
    try:
        lines = (settings.data_dir / ACCEPTED_FILE).read_text().split("\n")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return [line.strip() for line in lines if line.strip()]


def _run_key_of(secret: str) -> str:
    return base64.urlsafe_b64encode(_derived(secret, "run")).decode()


def _box(secrets_: list[str], purpose: str) -> Box:
    return Box([_derived(secret, purpose) for secret in secrets_])


def _derived(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose, from which neither the secret nor the others can be derived."""
    derivation = HKDF(
        algorithm=SHA256(), length=32, salt=None, info=f"kodosumi-prefect {purpose}".encode()
    )
    return derivation.derive(secret.encode())
