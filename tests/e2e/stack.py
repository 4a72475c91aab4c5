"""One `kodosumi-prefect up` for all tests that drive it as users do."""

from collections.abc import Iterator

import pytest

from tests.e2e.running import FLOWS, Up, running_up


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A stack with the flows of this folder deployed on it."""
    apps = ("flows.review:app", "flows.document_digest:app", "tests.samples.file_service:app")
    services = [word for app in apps for word in ("--service", app)]
    with running_up(tmp_path_factory.mktemp("up"), *services) as running:
        running.command("prefect", "--no-prompt", "deploy", "--all")
        running.command("python", str(FLOWS))
        yield running
