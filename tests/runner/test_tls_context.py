"""Prefect's clients in the process of a run: what they verify by is read once."""

import shutil
import ssl
from pathlib import Path
from typing import Any

import certifi
import pytest
from prefect.client.orchestration import PrefectClient, SyncPrefectClient, get_client
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_API_TLS_INSECURE_SKIP_VERIFY,
    PREFECT_API_URL,
    temporary_settings,
)

from kodosumi_prefect._compat import prefect_tls


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Which certificates were read since clients share a context."""
    files: list[str | None] = []
    create = ssl.create_default_context

    def created(*args: Any, **options: Any) -> ssl.SSLContext:
        files.append(options.get("cafile"))
        return create(*args, **options)

    for kind in (PrefectClient, SyncPrefectClient):
        monkeypatch.setattr(kind, "__init__", kind.__init__)  # to be put back
    monkeypatch.setattr(prefect_tls, "_contexts", {})
    prefect_tls.share_tls_context()
    monkeypatch.setattr(ssl, "create_default_context", created)
    return files


def make_clients() -> None:
    with temporary_settings({PREFECT_API_URL: "https://prefect.example/api"}):
        for sync in (True, False, True):
            get_client(sync_client=sync)


def test_clients_share_what_they_verify_by(read: list[str | None]) -> None:
    make_clients()
    assert read == []


def test_another_file_of_certificates_is_read_and_again_once_it_changed(
    read: list[str | None], tmp_path: Path
) -> None:
    own = tmp_path / "authority.pem"
    shutil.copy(certifi.where(), own)
    with temporary_settings({PREFECT_API_SSL_CERT_FILE: str(own)}):
        make_clients()
        assert read == [str(own)]
        own.write_text(own.read_text() + "\n")
        make_clients()
    assert read == [str(own)] * 2


def test_who_verifies_nothing_or_brings_a_context_has_their_own(read: list[str | None]) -> None:
    with temporary_settings({PREFECT_API_TLS_INSECURE_SKIP_VERIFY: True}):
        make_clients()
    assert read == [None] * 3
    own = ssl.create_default_context()
    read.clear()
    with temporary_settings({PREFECT_API_URL: "https://prefect.example/api"}):
        get_client(httpx_settings={"verify": own})
    assert read == []


def test_sharing_twice_changes_nothing(read: list[str | None]) -> None:
    before = PrefectClient.__init__
    prefect_tls.share_tls_context()
    assert PrefectClient.__init__ is before
