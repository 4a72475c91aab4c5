"""What is told of locks and executions, and to whom."""

from pydantic import BaseModel, Field, field_validator

from kodosumi_prefect.settings.values import Names, check_networks, split_names


class TellingFields(BaseModel):
    """What is told of locks and executions. The observer reads these."""

    prefect_events: bool = Field(
        default=True,
        description=(
            "Emit events in Prefect of questions and ends of executions, kodosumi.lock.opened "
            "and so on, for its automations. This and the settings below are set where the "
            "observer runs."
        ),
    )
    webhook_networks: Names = Field(
        default_factory=list,
        description=(
            "Addresses inside your network that webhooks may be sent to, such as 10.1.0.0/16: "
            "names separated by commas or a JSON list, `*` for any. Otherwise only addresses of "
            "the public internet."
        ),
    )
    webhook_timeout: float = Field(
        default=15.0,
        description="Seconds that a webhook's receiver may take to answer.",
        gt=0,
        le=60,
    )
    outbox_retention_days: float = Field(
        default=30.0,
        description="Days after which what was told, or set aside, is forgotten.",
        gt=0,
    )
    silent_minutes: float = Field(
        default=30.0,
        description=(
            "Minutes after which a schedule counts as silent whose run was due and did not begin. "
            "0: never."
        ),
        ge=0,
    )
    silent_hours: float = Field(
        default=24.0,
        description=(
            "Hours after which a schedule counts as silent whose run was due and of which none "
            "has succeeded since. 0: never."
        ),
        ge=0,
    )

    _networks_list = field_validator("webhook_networks", mode="before")(split_names)

    @field_validator("webhook_networks")
    @classmethod
    def _known_networks(cls, names: list[str]) -> list[str]:
        check_networks([name for name in names if name != "*"])
        return names
