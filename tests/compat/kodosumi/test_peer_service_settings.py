"""Settings of Kodosumi itself, ``KODO_…``: read where ours are not set, and named."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kodosumi_prefect.cli import config, up
from kodosumi_prefect.secret_variables import without_secret_variables
from kodosumi_prefect.settings import PREFIX, Settings, kodosumi_notes, origins, panel_url

SECRET = "a-secret-of-at-least-32-characters"
Set = Callable[..., None]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """A folder without files, and an environment without settings; sets some for Kodosumi."""
    for name in [name for name in os.environ if name.startswith((PREFIX, "KODO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def given(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"KODO_{name}", value)

    return given


def secret(settings: Settings, name: str) -> str | None:
    value = getattr(settings, name)
    return None if value is None else str(value.get_secret_value())


def test_what_has_a_counterpart_is_read_and_ours_is_named(elsewhere: Set) -> None:
    elsewhere(
        APP_SERVER="http://0.0.0.0:4000",
        RAY_SERVER="localhost:6379",
        SECRET_KEY=SECRET,
        ADMIN_PASSWORD="long-enough",
        PROXY_TIMEOUT="12.5",
        CORS_ORIGINS='["https://a.example", "https://b.example"]',
    )
    settings = Settings()
    assert (settings.host, settings.port) == ("0.0.0.0", 4000)
    assert settings.ray_address == "localhost:6379"
    assert settings.service_timeout == 12.5
    assert settings.cors_origins == ["https://a.example", "https://b.example"]
    assert secret(settings, "secret_key") == SECRET
    assert secret(settings, "admin_password") == "long-enough"
    lines = kodosumi_notes()
    assert len(lines) == 6
    assert (f"KODO_RAY_SERVER is read as ray_address; set {PREFIX}RAY_ADDRESS instead") in lines
    assert f"{PREFIX}HOST and {PREFIX}PORT" in "\n".join(lines)
    assert SECRET not in str(lines) and "long-enough" not in str(lines)
    sources = {row.name: row.source for row in origins()}
    assert sources["ray_address"] == "KODO_…" and sources["warm_runners"] == "default"


def test_behind_https_the_address_is_where_people_reach_the_panel(elsewhere: Set) -> None:
    elsewhere(APP_SERVER="https://panel.example.org")
    settings = Settings()
    assert panel_url(settings) == "https://panel.example.org"
    assert (settings.host, settings.port) == ("127.0.0.1", 3370)


def test_ours_win_wherever_they_are_set(
    elsewhere: Set, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere(RAY_SERVER="theirs:1", SECRET_KEY=SECRET, PROXY_TIMEOUT="5")
    monkeypatch.setenv(f"{PREFIX}RAY_ADDRESS", "auto")
    (tmp_path / "prefect.toml").write_text("[integrations.kodosumi]\nservice_timeout = 7\n")
    settings = Settings()
    assert (settings.ray_address, settings.service_timeout) == ("auto", 7)
    assert [line.partition(" ")[0] for line in kodosumi_notes()] == ["KODO_SECRET_KEY"]
    assert Settings(secret_key="b" * 32).secret_key != settings.secret_key  # type: ignore[arg-type]


def test_a_file_is_read_as_kodosumi_reads_it(elsewhere: Set, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KODO_RAY_SERVER=of-file:1\nKODO_PROXY_TIMEOUT=9\n")
    elsewhere(PROXY_TIMEOUT="8")
    settings = Settings()
    assert (settings.ray_address, settings.service_timeout) == ("of-file:1", 8)


@pytest.mark.parametrize(
    ("name", "value", "field", "why"),
    [
        ("SECRET_KEY", "short-secret", "secret_key", "shorter than 32 characters"),
        ("ADMIN_PASSWORD", "admin", "admin_password", "shorter than 8 characters"),
        ("CORS_ORIGINS", "*", "cors_origins", "origins have to be named"),
        ("PROXY_TIMEOUT", "soon", "service_timeout", "it cannot be read"),
        ("PROXY_TIMEOUT", "0", "service_timeout", "no number of seconds"),
        ("APP_SERVER", "here:1", "host", "not an http address"),
        ("APP_SERVER", "http://a:99999", "host", "it cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named_without_its_value(
    elsewhere: Set, name: str, value: str, field: str, why: str
) -> None:
    untouched = getattr(Settings(), field)
    elsewhere(**{name: value})
    assert getattr(Settings(), field) == untouched
    [line] = kodosumi_notes()
    assert line.startswith(f"KODO_{name} is not used: ") and why in line
    assert f"{PREFIX}{field.upper()}" in line
    assert value == "*" or f" {value}" not in line


def test_what_has_no_counterpart_is_named_in_one_line(elsewhere: Set) -> None:
    elsewhere(EXEC_DIR="./data", SPOOLER_INTERVAL="1", MASUMI0="a b token-of-mine")
    elsewhere(BUCKET="of another program")
    [line] = kodosumi_notes()
    assert line == (
        "without a counterpart here, and ignored: KODO_EXEC_DIR, KODO_MASUMI0, "
        "KODO_SPOOLER_INTERVAL"
    )


@pytest.mark.parametrize("command", [config.show, up.say_what_kodosumi_had])
def test_commands_warn_on_stderr(
    elsewhere: Set, command: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(SECRET_KEY=SECRET, EXEC_DIR="x")
    command()
    told = capsys.readouterr()
    assert f"KODO_SECRET_KEY is read as secret_key; set {PREFIX}SECRET_KEY instead" in told.err
    assert "ignored: KODO_EXEC_DIR" in told.err
    assert SECRET not in told.out + told.err


def test_runs_do_not_get_the_secrets() -> None:
    given = {"KODO_SECRET_KEY": SECRET, "kodo_admin_password": "x", "KODO_RAY_SERVER": "auto"}
    assert without_secret_variables(given) == {"KODO_RAY_SERVER": "auto"}
