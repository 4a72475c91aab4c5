"""Secrets of webhooks, and the headers of https://www.standardwebhooks.com made with them."""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook as Signer

PREFIX = "whsec_"
BYTES = 32  # of a secret; the specification has 24 to 64
GRACE = 86_400.0  # seconds for which the secret before signs, too


def new_secret() -> str:
    """A secret, as receivers configure it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(BYTES)).decode()


def signed_headers(uid: str, body: str, secrets_: Sequence[str], now: float) -> dict[str, str]:
    """Headers that name a message and prove who sent it.

    Arguments:
        uid: of what is told; the same at each try.
        secrets_: a signature is made with each; the receiver needs to know one of them.
        now: epoch seconds of this try, which receivers compare with their own clock.
    """
    id_ = f"msg_{uid.replace('-', '')}"
    at = datetime.fromtimestamp(int(now), UTC)
    signatures = [Signer(secret).sign(id_, at, body) for secret in secrets_]
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(signatures),
        "content-type": "application/json",
    }
