"""Which Prefect counts: one order for launches, commands, panel and stack."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.settings import Settings as PrefectSettings

import kodosumi_prefect
from kodosumi_prefect.addresses import (
    NoPrefectError,
    PrefectAccess,
    configured_access,
    no_answer,
    prefect_access,
    require_prefect_access,
)
from kodosumi_prefect.cli.output import CommandError, require_prefect
from kodosumi_prefect.launch.prefect_api import require_access
from kodosumi_prefect.launch.refusal import LaunchError
from kodosumi_prefect.settings import Settings, write_address
from kodosumi_prefect.stack import Stack

pytestmark = pytest.mark.pure

OWN = "http://127.0.0.1:4301/api"
OTHER = "http://prefect.example:4200/api"

EVERYWHERE: list[Callable[[Settings], PrefectAccess | None]] = [
    prefect_access,
    require_prefect_access,
    require_prefect,  # commands, doctor, observer
    require_access,  # launches and schedules
    lambda settings: Stack(settings, on_progress=lambda *_: None).prefect,
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def record_own(settings: Settings) -> PrefectAccess:
    """Write down a server as ``up`` does."""
    path = settings.data_dir / "auth"
    path.write_text("admin:own\n")
    access = PrefectAccess(OWN, "admin:own", path)
    write_address(settings, "prefect", access.recorded(1))
    return access


def configured(url: str | None, auth: str | None = None):  # type: ignore[no-untyped-def]
    return temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: auth})


@pytest.mark.parametrize("counts", EVERYWHERE)
def test_what_is_configured_counts_before_what_up_recorded(
    settings: Settings, counts: Callable[[Settings], PrefectAccess | None]
) -> None:
    own = record_own(settings)
    with configured(f"{OTHER}/", "me:word"):
        assert counts(settings) == PrefectAccess(OTHER, "me:word")
    with configured(None):
        assert counts(settings) == own


@pytest.mark.parametrize("counts", EVERYWHERE)
def test_an_address_without_api_is_used_as_it_is(
    settings: Settings, counts: Callable[[Settings], PrefectAccess | None]
) -> None:
    with configured("http://prefect.example:4200"):
        assert counts(settings) == PrefectAccess("http://prefect.example:4200")


def test_a_running_stack_names_its_own_server_first(settings: Settings) -> None:
    own = record_own(settings)
    with configured(OTHER):
        assert prefect_access(settings, own_first=True) == own
        write_address(settings, "prefect", None)
        assert prefect_access(settings, own_first=True) == PrefectAccess(OTHER)


def test_prefects_settings_are_read_once_for_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    anew = PrefectSettings.copy_with_update

    def noted(self: PrefectSettings, **changes: Any) -> PrefectSettings:
        read.append(changes)
        return anew(self, **changes)

    with configured(OTHER, "somebody:else"):
        monkeypatch.setattr(PrefectSettings, "copy_with_update", noted)
        for access in (PrefectAccess(OWN, "admin:own"), PrefectAccess(OWN, None)) * 3:
            with access.in_force():
                assert configured_access() == access
            assert configured_access() == PrefectAccess(OTHER, "somebody:else")
    assert len(read) == 2


def test_only_what_is_configured_keeps_up_from_starting_a_server(settings: Settings) -> None:
    record_own(settings)
    with configured(None):
        assert configured_access() is None
    with configured(OTHER):
        assert configured_access() == PrefectAccess(OTHER)


def test_without_any_the_way_out_is_said(settings: Settings) -> None:
    with configured(None):
        assert prefect_access(settings) is None
        for require, error in (
            (require_prefect_access, NoPrefectError),
            (require_prefect, CommandError),
            (require_access, LaunchError),
        ):
            with pytest.raises(error, match=r"PREFECT_API_URL is not set.*; set it or start"):
                require(settings)


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (60.0, f"Prefect at {OTHER} did not answer within 60 s"),
        (OSError("two\n lines"), f"Prefect at {OTHER} did not answer: two lines"),
        (OSError(), f"Prefect at {OTHER} did not answer: OSError"),
    ],
)
def test_a_prefect_that_does_not_answer_is_named_in_one_line(
    why: BaseException | float, text: str
) -> None:
    assert no_answer(PrefectAccess(OTHER), why) == text


def test_that_prefect_did_not_answer_is_said_in_one_place() -> None:
    package = Path(kodosumi_prefect.__file__).parent
    places = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"Prefect( at [^ ]+)? did not answer", path.read_text())
    ]
    assert places == []  # it begins with a name in ``addresses.no_answer``
