"""Whether executions are kept, in which database and folder."""

from contextvars import ContextVar
from pathlib import Path

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator

from kodosumi_prefect.settings.postgres_urls import database_url_fault

DATABASE_URLS = ("database_url", "database_listen_url")

# Whether a database's URL that is none is let through, as `read_settings` does.
lenient: ContextVar[bool] = ContextVar("kodosumi_lenient", default=False)


class DatabaseFields(BaseModel):
    """Whether executions are kept, in which database and folder."""

    enabled: bool = Field(
        default=True,
        description="Record executions. Off, flows run as plain Prefect flows and nothing is kept.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description=(
            "Postgres that keeps the event streams, as postgresql://user:password@host:port/name; "
            "sslmode and passfile parameters are passed through. Unset, the embedded Postgres "
            "that `kodosumi-prefect up` runs for data_dir is used."
        ),
    )
    database_listen_url: SecretStr | None = Field(
        default=None,
        description=(
            "A direct connection to the same database, for LISTEN and for the observer's lock. Set "
            "it when database_url goes through a transaction pooler such as PgBouncer."
        ),
    )
    database_schema: str = Field(
        default="kodosumi",
        description="Postgres schema that holds Kodosumi's tables; also names the NOTIFY channel.",
    )
    data_dir: Path = Field(
        default=Path("~/.kodosumi-prefect"),
        description=(
            "Folder for the embedded Postgres, spill files and the addresses that "
            "`kodosumi-prefect up` writes down for other processes."
        ),
    )

    @field_validator("database_schema")
    @classmethod
    def _plain_identifier(cls, value: str) -> str:
        plain = value.isidentifier() and value.isascii() and value == value.lower()
        if not plain or len(value) > 40:
            raise ValueError(
                f"database_schema is {value!r}; use at most 40 lowercase letters, digits and _"
            )
        return value

    @field_validator(*DATABASE_URLS)
    @classmethod
    def _of_postgres(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None or lenient.get():
            return value
        if (fault := database_url_fault(value.get_secret_value())) is not None:
            raise ValueError(f"{info.field_name} {fault}")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()
