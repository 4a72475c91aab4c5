"""Keys of an installation, all derived from one secret: sessions, signatures, encrypted inputs."""

import base64
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kodosumi_prefect.settings import Settings, make_data_dir

FILE = "secret.key"


class NoKeyError(RuntimeError):
    """There is no secret to derive keys from."""


class RunKeys(NamedTuple):
    """What processes that run flows need.

    Attributes:
        label: key of the HMAC that signs who owns a run.
        box: encrypts secret inputs.
        tokens: encrypts what opens the files and the stream of one execution.
    """

    label: bytes
    box: Fernet
    tokens: Fernet


class PanelKeys(NamedTuple):
    """What the panel needs beside them.

    Attributes:
        session: key of the HMAC that signs sessions.
        identity: signs who the panel calls a service for; services know its public half.
        launch: key of the HMAC by which the bodies of launches are compared.
        answers: encrypts what launches were answered.
    """

    session: bytes
    identity: Ed25519PrivateKey
    launch: bytes
    answers: Fernet


def run_key(settings: Settings) -> str | None:
    """The secret behind ``run_keys``, which travels with runs; None if there is none yet."""
    if settings.run_key is not None:
        return settings.run_key.get_secret_value()
    secret = _secret(settings)
    return base64.urlsafe_b64encode(_derived(secret, "run")).decode() if secret else None


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
    return RunKeys(
        _derived(key, "label"),
        Fernet(base64.urlsafe_b64encode(_derived(key, "inputs"))),
        Fernet(base64.urlsafe_b64encode(_derived(key, "tokens"))),
    )


def panel_keys(settings: Settings) -> PanelKeys:
    """The panel's keys; the secret is made in the data dir if there is none.

    Raises:
        OSError: it cannot be written there.
    """
    secret = make_secret(settings)
    identity = Ed25519PrivateKey.from_private_bytes(_derived(secret, "identity"))
    return PanelKeys(
        _derived(secret, "session"),
        identity,
        _derived(secret, "launch"),
        Fernet(base64.urlsafe_b64encode(_derived(secret, "answers"))),
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


def _derived(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose, from which neither the secret nor the others can be derived."""
    derivation = HKDF(
        algorithm=SHA256(), length=32, salt=None, info=f"kodosumi-prefect {purpose}".encode()
    )
    return derivation.derive(secret.encode())
