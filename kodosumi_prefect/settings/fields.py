"""What can be configured: the class ``Settings``, with the fields of all areas."""

from pathlib import Path
from typing import ClassVar

from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from kodosumi_prefect.settings.areas.access import AccessFields
from kodosumi_prefect.settings.areas.costs import CostFields
from kodosumi_prefect.settings.areas.database import DatabaseFields
from kodosumi_prefect.settings.areas.files import FileFields
from kodosumi_prefect.settings.areas.observer import ObserverFields
from kodosumi_prefect.settings.areas.panel import PanelFields
from kodosumi_prefect.settings.areas.ray import RayFields
from kodosumi_prefect.settings.areas.recording import RecordingFields
from kodosumi_prefect.settings.areas.services import ServiceFields
from kodosumi_prefect.settings.areas.spans import SpanFields
from kodosumi_prefect.settings.areas.telling import TellingFields
from kodosumi_prefect.settings.areas.waiting import WaitingFields
from kodosumi_prefect.settings.of_kodosumi import KodosumiSettingsSource
from kodosumi_prefect.vocabulary import SETTING_PREFIX

PREFIX = SETTING_PREFIX


class Settings(
    # Fields are listed in the order of these classes from the last one up.
    ServiceFields,
    AccessFields,
    TellingFields,
    ObserverFields,
    FileFields,
    CostFields,
    SpanFields,
    WaitingFields,
    RecordingFields,
    RayFields,
    PanelFields,
    DatabaseFields,
    PrefectBaseSettings,
):
    """Everything that changes how kodosumi-prefect behaves.

    Example:
        ```bash
        export PREFECT_INTEGRATIONS_KODOSUMI_DATABASE_URL=postgresql://app@db.internal/app
        kodosumi-prefect config
        ```
    """

    # Without what was set: it may be a password.
    model_config: ClassVar[SettingsConfigDict] = build_settings_config(
        ("integrations", "kodosumi")
    ) | SettingsConfigDict(hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Prefect's, and behind them what is set for Kodosumi itself."""
        sources = super().settings_customise_sources(
            settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
        )
        return (*sources, KodosumiSettingsSource(settings_cls))

    log_json: bool = Field(
        default=False,
        description=(
            "Write the log of `panel`, `observer`, `up` and its worker as one JSON object a line, "
            "with `fid` where a line is about one execution; for log collectors."
        ),
    )

    @property
    def run_dir(self) -> Path:
        """Folder where running services of this data dir write down their addresses."""
        return self.data_dir / "run"

    @property
    def spool_dir(self) -> Path:
        """Folder of spill files."""
        return self.data_dir / "spool"
