"""Where the value of each setting came from."""

from typing import Any, NamedTuple

from pydantic_settings import SettingsConfigDict

from kodosumi_prefect.settings.fields import PREFIX, Settings
from kodosumi_prefect.settings.of_kodosumi import LABEL, notes


class SettingInForce(NamedTuple):
    """One setting in force: its ``value`` with secrets masked, and where it came from."""

    name: str
    value: str
    source: str
    description: str


_SOURCES = {
    "EnvFilterSettingsSource": "environment",
    "FilteredDotEnvSettingsSource": ".env",
    "PrefectTomlConfigSettingsSource": "prefect.toml",
    "PyprojectTomlConfigSettingsSource": "pyproject.toml",
    "ProfileSettingsTomlLoader": "profile",
    "KodosumiSettingsSource": LABEL,
}


def origins() -> list[SettingInForce]:
    """Every setting in force with the source it was read from, for ``kodosumi-prefect config``."""
    settings = Settings()
    labels = labels_by_name()
    return [
        SettingInForce(
            name,
            str(getattr(settings, name)),
            labels.get(name, "default"),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def labels_by_name() -> dict[str, str]:
    """Of each setting that is set, whether rightly or wrongly, where its value comes from."""
    sources = Settings.settings_customise_sources(
        Settings,
        *(_source(Settings) for _source in _base_sources(Settings.model_config)),
    )
    labels: dict[str, str] = {}
    for source in sources:
        label = _SOURCES.get(type(source).__name__)
        if label is None:
            continue
        for key in source():
            name = key.lower().removeprefix(PREFIX.lower())
            if name in Settings.model_fields:
                labels.setdefault(name, label)
    return labels


def kodosumi_notes() -> list[str]:
    """What became of the settings of Kodosumi itself that are set here, one line each."""
    return notes({row.name: row.source for row in origins()}, PREFIX)


def _base_sources(model: SettingsConfigDict) -> list[Any]:
    from pydantic_settings import (
        DotEnvSettingsSource,
        EnvSettingsSource,
        InitSettingsSource,
        SecretsSettingsSource,
    )

    return [
        lambda cls: InitSettingsSource(cls, {}),
        EnvSettingsSource,
        DotEnvSettingsSource,
        SecretsSettingsSource,
    ]
