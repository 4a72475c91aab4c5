"""A process that launches."""

from collections.abc import Iterator

import pytest
from anyio.from_thread import start_blocking_portal

from kodosumi_prefect.keys import make_secret
from tests.serve.launches import Launcher
from tests.services import Place


@pytest.fixture(scope="session")
def service_loop() -> Iterator[object]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def launcher(place: Place, service_loop: object) -> Launcher:
    """Launches against the session's Prefect and database."""
    make_secret(place.settings)
    made = Launcher(place, service_loop)  # type: ignore[arg-type]
    made.pool()
    return made
