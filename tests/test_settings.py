"""Settings: what is in force, where it came from, and what is never shown."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from kodosumi_prefect.carried import carried
from kodosumi_prefect.settings import (
    PREFIX,
    Settings,
    database_url,
    get_settings,
    listen_url,
    origins,
    panel_url,
    read_address,
    reset_settings,
    use_settings,
    write_address,
)


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working folder and profile, and none of our variables."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "profiles.toml"))
    monkeypatch.chdir(tmp_path)
    reset_settings()
    yield
    reset_settings()


def origin(name: str) -> tuple[str, str]:
    found = {row.name: row for row in origins()}[name]
    return found.value, found.source


def test_every_setting_is_described() -> None:
    for row in origins():
        assert row.description.endswith("."), row.name
        assert row.source == "default", row


def test_a_value_from_the_environment_is_in_force_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(f"{PREFIX}PORT", "4711")
    assert Settings().port == 4711
    assert origin("port") == ("4711", "environment")


def test_a_value_from_a_dotenv_file_says_so(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{PREFIX}PORT=4712\n")
    assert origin("port") == ("4712", ".env")


def test_a_value_from_prefect_toml_says_so(tmp_path: Path) -> None:
    (tmp_path / "prefect.toml").write_text("[integrations.kodosumi]\nport = 4713\n")
    assert origin("port") == ("4713", "prefect.toml")


def test_a_value_from_pyproject_toml_says_so(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.prefect.integrations.kodosumi]\nport = 4714\n")
    assert origin("port") == ("4714", "pyproject.toml")


def test_a_value_from_the_profile_says_so(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text(
        f'active = "here"\n[profiles.here]\n{PREFIX}PORT = "4715"\n'
    )
    assert origin("port") == ("4715", "profile")


def test_the_environment_wins_over_files_and_origins_agree_with_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"{PREFIX}PORT=1\n{PREFIX}HOST=127.0.0.2\n")
    (tmp_path / "prefect.toml").write_text(
        "[integrations.kodosumi]\nport = 2\nhost = '127.0.0.3'\nlinger = 0.5\n"
    )
    monkeypatch.setenv(f"{PREFIX}PORT", "3")
    assert origin("port") == ("3", "environment")
    assert origin("host") == ("127.0.0.2", ".env")
    assert origin("linger") == ("0.5", "prefect.toml")
    assert (Settings().port, Settings().host, Settings().linger) == (3, "127.0.0.2", 0.5)


def test_secrets_are_masked_wherever_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "DATABASE_LISTEN_URL"):
        monkeypatch.setenv(f"{PREFIX}{name}", "postgresql://app:hunter2@db/app")
    shown = " ".join(map(str, origins())) + repr(Settings()) + Settings().model_dump_json()
    assert "hunter2" not in shown
    assert origin("database_url")[1] == "environment"


def test_what_is_carried_to_another_node_makes_the_same_settings_there() -> None:
    mine = Settings(database_url=SecretStr("postgresql://app:hunter2@db/app"), linger=0.5)
    theirs = Settings(**carried(mine))
    assert theirs == mine
    assert database_url(theirs) == "postgresql://app:hunter2@db/app"


def test_the_recorded_embedded_database_is_carried_too(tmp_path: Path) -> None:
    mine = Settings(data_dir=tmp_path)
    write_address(mine, "postgres", {"url": "postgresql://recorded/db"})
    assert database_url(Settings(**carried(mine))) == "postgresql://recorded/db"


@pytest.mark.parametrize("name", ["a-b", "1a", "a.b", "sch ema", 'a"b', "schéma", "x" * 41, ""])
def test_a_schema_that_is_no_plain_identifier_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="database_schema is"):
        Settings(database_schema=name)


LISTS = [
    name
    for name, schema in Settings.model_json_schema()["properties"].items()
    if any(kind.get("type") == "array" for kind in schema.get("anyOf", [schema]))
]


@pytest.mark.parametrize("name", LISTS)
def test_every_list_may_be_text_separated_by_commas_or_json(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    special = {
        "service_url": ["http://10.0.0.5/a", "http://10.0.0.5/b"],
        "span_sources_off": ["crewai", "openai"],
    }
    texts = special.get(name, ["10.0.0.0/8", "10.1.0.0/16"])
    for text in (" , ".join(texts), json.dumps(texts)):
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", text)
        assert getattr(Settings(), name) == texts


def test_a_source_of_spans_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="'crewAI' is none of opentelemetry, crewai"):
        Settings(span_sources_off=["crewAI"])


@pytest.mark.parametrize("name", ["proxy_networks", "trusted_networks"])
def test_what_is_no_network_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="'here' is not a network"):
        Settings(**{name: ["10.0.0.0/8", "here"]})


def test_data_dir_is_made_absolute() -> None:
    assert Settings(data_dir=Path("~/x")).data_dir == Path.home() / "x"
    assert Settings(data_dir=Path("x")).data_dir == Path.cwd() / "x"


def test_surrounding_settings_win_over_the_processs_own() -> None:
    own = get_settings()
    assert get_settings() is own
    inner = Settings(port=1)
    with use_settings(inner):
        assert get_settings() is inner
    assert get_settings() is own


def test_the_environment_is_read_once_until_it_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    before = get_settings().port
    monkeypatch.setenv(f"{PREFIX}PORT", str(before + 1))
    assert get_settings().port == before
    reset_settings()
    assert get_settings().port == before + 1


def test_an_address_is_private_to_its_user_and_can_be_forgotten(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert read_address(settings, "panel") is None
    write_address(settings, "panel", {"url": "http://127.0.0.1:1"})
    path = settings.run_dir / "panel.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_address(settings, "panel") == {"url": "http://127.0.0.1:1"}
    assert panel_url(settings) == "http://127.0.0.1:1"
    write_address(settings, "panel", None)
    write_address(settings, "panel", None)
    assert read_address(settings, "panel") is None
    assert panel_url(settings) == f"http://{settings.host}:{settings.port}"


def test_a_damaged_address_file_is_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    settings.run_dir.mkdir()
    (settings.run_dir / "postgres.json").write_text("{")
    with pytest.raises(ValueError, match=r"postgres\.json is not JSON; delete it"):
        database_url(settings)


def test_configured_urls_win_over_recorded_ones(tmp_path: Path) -> None:
    recorded = Settings(data_dir=tmp_path)
    assert database_url(recorded) is None
    write_address(recorded, "postgres", {"url": "postgresql://recorded/db"})
    assert database_url(recorded) == listen_url(recorded) == "postgresql://recorded/db"
    configured = Settings(data_dir=tmp_path, database_url=SecretStr("postgresql://given/db"))
    assert database_url(configured) == listen_url(configured) == "postgresql://given/db"
    direct = configured.model_copy(update={"database_listen_url": SecretStr("postgresql://d/db")})
    assert (database_url(direct), listen_url(direct)) == (
        "postgresql://given/db",
        "postgresql://d/db",
    )
    assert panel_url(Settings(panel_url="https://panel.example/")) == "https://panel.example"


PRICES = '{"my-model": {"input": 0.5, "output": 2, "cached": 0.05}}'


def test_prices_of_models_are_json_wherever_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}MODEL_PRICES", PRICES)
    own = Settings().model_prices["my-model"]
    assert (own.input, own.output, own.cached) == (0.5, 2.0, 0.05)
    assert Settings(model_prices=json.loads(PRICES)).model_prices["my-model"] == own


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cheap", "model_prices"),
        ('{"m": 1}', "model_prices"),
        ('{"m": {"input": -1}}', "greater than or equal to 0"),
        ('{"m": {"output": 1}}', "input"),
        ('{"m": {"input": 1, "ouput": 1}}', "ouput"),
    ],
)
def test_what_is_no_price_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}MODEL_PRICES", text)
    with pytest.raises(ValidationError, match=words):
        Settings()


def test_the_day_of_budgets_begins_in_a_zone_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}BUDGET_ZONE", "Europe/Berlin")
    assert Settings().budget_zone == "Europe/Berlin"
    monkeypatch.setenv(f"{PREFIX}BUDGET_ZONE", "Berlin/Europe")
    with pytest.raises(ValidationError, match="write one such as Europe/Berlin"):
        Settings()
