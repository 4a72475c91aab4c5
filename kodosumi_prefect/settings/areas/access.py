"""Who gets into the panel, and what they may see and use."""

from typing import Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from kodosumi_prefect.settings.values import Names, check_networks, split_names

SHORTEST_SECRET = 32  # characters
SHORTEST_PASSWORD = 8  # characters


class AccessFields(BaseModel):
    """Who gets into the panel, and what they may see and use."""

    secret_key: SecretStr | None = Field(
        default=None,
        description=(
            "Secret of at least 32 characters behind sessions, signed identities and encrypted "
            "inputs; the same for panel, services and workers. Changing it ends all sessions. "
            "Unset, the file secret.key in data_dir, which the panel makes."
        ),
    )
    secret_keys_accepted: SecretStr | None = Field(
        default=None,
        description=(
            "While secret_key is changed: the secret before or the next one (several separated by "
            "commas). What was encrypted with them is read, and nothing is encrypted with them. "
            "Unset, the lines of the file secret.key.old in data_dir, if it is there."
        ),
    )
    run_key: SecretStr | None = Field(
        default=None,
        description=(
            "Derived from secret_key; what processes that run flows are given in its place. Not "
            "to be set by hand."
        ),
    )
    run_keys_accepted: SecretStr | None = Field(
        default=None,
        description=(
            "Derived from secret_keys_accepted, as run_key is from secret_key. Not to be set by "
            "hand."
        ),
    )
    run_token: SecretStr | None = Field(
        default=None,
        description=(
            "Token of one execution, as `kodosumi-prefect token` prints it: with panel_url, a "
            "process without a database records into that execution through the panel."
        ),
    )
    answer_links: bool = Field(
        default=True,
        description=(
            "Whether questions that allow it (`tracer.lock(…, link=True)`) may be answered by a "
            "link, without signing in. Off, no link is made and none works."
        ),
    )
    auth: Literal["password", "proxy"] = Field(
        default="password",
        description=(
            "How people sign in to the panel: password, or proxy, which trusts the header "
            "proxy_header from proxy_networks (for oauth2-proxy and the like). API keys work with "
            "both."
        ),
    )
    admin_password: SecretStr | None = Field(
        default=None,
        description=(
            "Password that the operator `admin` gets when the panel first starts. Unset, a random "
            "one, printed once."
        ),
    )
    proxy_header: str = Field(
        default="X-Forwarded-User",
        description="With auth=proxy, the header that names who is signed in.",
    )
    proxy_networks: Names = Field(
        default=[],
        description=(
            "Networks (such as 10.0.0.0/8) that a reverse proxy connects from. Only from there "
            "proxy_header and X-Forwarded-… count."
        ),
    )
    streams_per_user: int = Field(
        default=256,
        description=(
            "Event streams that one account may have open at a panel, those waiting for a run that "
            "is not there yet included; further ones are refused with 429."
        ),
        ge=1,
    )
    connections: int = Field(
        default=4096,
        description=(
            "Connections that a panel keeps open at once, at most. Beyond that, whoever holds most "
            "of them loses one for each new one. Each is an open file."
        ),
        ge=16,
    )
    session_hours: float = Field(
        default=168.0,
        description="Hours after which people have to sign in again.",
        gt=0,
    )
    unowned: Literal["operators", "all"] = Field(
        default="operators",
        description=(
            "Who sees executions that nobody launched by hand, such as those of a cron: operators, "
            "or all who are signed in."
        ),
    )
    cors_origins: Names = Field(
        default=[],
        description=(
            "Origins (such as https://app.example.org) whose pages may call the panel's API with "
            "an API key. Unset, none."
        ),
    )

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"secret_key is shorter than {SHORTEST_SECRET} characters")
        return value

    @field_validator("secret_keys_accepted")
    @classmethod
    def _each_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        secrets = split_names(value.get_secret_value()) if value else []
        if any(len(secret) < SHORTEST_SECRET for secret in secrets):
            raise ValueError(
                f"secret_keys_accepted has one that is shorter than {SHORTEST_SECRET} characters"
            )
        return value

    _access_names = field_validator(
        "proxy_networks",
        "cors_origins",
        mode="before",
    )(split_names)
    _access_networks = field_validator("proxy_networks")(check_networks)
