"""Agentic services: where they come from, how they are asked and launched."""

from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from kodosumi_prefect.settings.values import MEBIBYTE, Names, check_networks, split_names


class ServiceFields(BaseModel):
    """Agentic services: where they come from, how they are asked and launched."""

    services: Names = Field(
        default=[],
        description=(
            "Agentic services that the panel serves itself, each as module:app; `up --service` "
            "adds to them."
        ),
    )
    register_work_pools: Names | None = Field(
        default=None,
        description=(
            "Work pools whose Prefect deployments are listed among the services, so that people "
            'can launch them from a form. `*` for all, "" for none. Unset, the pools of type '
            "kodosumi-ray."
        ),
    )
    register_tags: Names = Field(
        default=[],
        description="Likewise deployments with any of these tags, in whatever work pool.",
    )
    register_interval: float = Field(
        default=30.0,
        description="Seconds between the panel's looks at its sources of services.",
        gt=0,
    )
    service_timeout: float = Field(
        default=30.0,
        description="Seconds that the panel waits for a service's answer.",
        gt=0,
    )
    launch_key_hours: float = Field(
        default=24.0,
        description=(
            "Hours for which a launch with an `Idempotency-Key` header is remembered: asked again "
            "with the same key, the panel answers the first run instead of launching another one."
        ),
        gt=0,
    )
    service_body_bytes: int = Field(
        default=16 * MEBIBYTE,
        description=(
            "For a service: bytes of a request's body that it reads, on routes of its own too. Its "
            "endpoints and locks read 8 MiB at most."
        ),
        ge=MEBIBYTE,
    )
    trusted_networks: Names = Field(
        default=[],
        description=(
            "For a service: networks whose requests it answers without the panel's signature. "
            "Unset, none; a service in the panel's own process needs none. Who calls from there "
            "without a panel also reads what handlers raise."
        ),
    )
    service_url: Names = Field(
        default=[],
        description=(
            "For a service: where the panel has registered it, such as https://agents.example.org/"
            "digest; several separated by commas. Signatures for any other address are refused. "
            "Unset, the address that a request arrives at counts, if it is registered as an IP "
            "address, localhost or this machine's own name; behind a reverse proxy, a Kubernetes "
            "Service or a mapped port it has to be set."
        ),
    )
    launch_work_pool: str = Field(
        default="kodosumi",
        description="Work pool that launches of services run in.",
    )
    auto_deploy: bool = Field(
        default=True,
        description=(
            "Make the Prefect deployment of an endpoint at its first launch. Off, it has to be "
            "there, and a launch without it is refused."
        ),
    )

    @field_validator("service_url")
    @classmethod
    def _are_addresses(cls, value: list[str]) -> list[str]:
        for url in value:
            try:
                parts = urlsplit(url)
                usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            except ValueError:
                usable = False
            if not usable or parts.username is not None:
                raise ValueError(
                    f"{url[:200]!r} is not the address of a service; write one such as "
                    "http://10.0.0.5:8000/digest"
                )
        return value

    _services_names = field_validator(
        "services",
        "register_work_pools",
        "register_tags",
        "trusted_networks",
        "service_url",
        mode="before",
    )(split_names)
    _services_networks = field_validator("trusted_networks")(check_networks)
