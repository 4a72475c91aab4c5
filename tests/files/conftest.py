"""Storages that tests use: folders, and a bucket of a real S3 server."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from kodosumi_prefect.files.storage import Storage
from tests.files.s3_server import S3Server, serving_s3


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests."""
    with serving_s3(tmp_path_factory.mktemp("s3") / "buckets") as server:
        yield server


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A storage of its own; of each kind that our tests reach."""
    if request.param == "folder":
        return Storage((tmp_path / "files").as_uri())
    server: S3Server = request.getfixturevalue("s3_server")
    return server.storage(f"test-{uuid4().hex}")
