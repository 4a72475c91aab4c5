"""What can be configured: the class ``Settings``, a field for each setting."""

import json
from contextvars import ContextVar
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kodosumi_prefect.settings.postgres_urls import database_url_fault

MEBIBYTE = 1024 * 1024
SHORTEST_SECRET = 32  # characters
PREFIX = "PREFECT_INTEGRATIONS_KODOSUMI_"
DATABASE_URLS = ("database_url", "database_listen_url")

# Whether a database's URL that is none is let through, as `read_settings` does.
lenient: ContextVar[bool] = ContextVar("kodosumi_lenient", default=False)

Names = Annotated[list[str], NoDecode]  # also as text, separated by commas


class Settings(PrefectBaseSettings):
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
    host: str = Field(
        default="127.0.0.1",
        description=(
            "Address the panel listens on; 0.0.0.0 for all. Where others can reach it, put a "
            "reverse proxy with https before it."
        ),
    )
    port: int = Field(default=3370, description="Port the panel listens on.", ge=0, le=65535)
    panel_url: str | None = Field(
        default=None,
        description=(
            "Where people reach the panel, for links. Unset, the address that `up` wrote down."
        ),
    )
    ray_address: str | None = Field(
        default=None,
        description=(
            "Ray cluster that tasks run on: `auto` inside the cluster, `ray://head:10001` outside. "
            "Unset, the cluster that `up` runs for data_dir."
        ),
    )
    ray_local: bool = Field(
        default=False,
        description="Start a local Ray in this process if no cluster is configured or recorded.",
    )
    ray_autoscaling: bool | None = Field(
        default=None,
        description=(
            "Whether something adds nodes to the Ray cluster. If so, a run waits for resources "
            "that no node has yet; if not, it is refused. Unset, what Ray's autoscaler says counts."
        ),
    )
    warm_runners: int = Field(
        default=1,
        description=(
            "Runners that a worker keeps ready on the Ray cluster, with Prefect imported and no "
            "user code, so that runs start in under a second. Each costs about 250 MB of memory."
        ),
        ge=0,
    )
    cancel_grace: float = Field(
        default=30.0,
        description=(
            "Seconds that a cancelled run on Ray has to clean up before its worker kills it."
        ),
        ge=0,
    )
    exit_grace: float = Field(
        default=30.0,
        description=(
            "Seconds that the process of a run on Ray has to end once the run is over, for its "
            "atexit functions and its threads that are no daemons; then it is killed."
        ),
        ge=0,
    )
    worker_lease: float = Field(
        default=15.0,
        description=(
            "Seconds after which a worker on Ray that died no longer answers for its runs; another "
            "of its pool takes them over then. It itself does so at once when it is started again "
            "under the same name."
        ),
        gt=0,
    )
    flush_timeout: float = Field(
        default=30.0,
        description=(
            "Seconds a flow waits at its end for its events to be stored. After that they stay in "
            "a spill file, which the next process or `kodosumi-prefect spool replay` delivers."
        ),
        ge=0,
    )
    linger: float = Field(
        default=0.002,
        description="Seconds the spool client waits for more events before it sends a batch.",
        ge=0,
    )
    buffer_bytes: int = Field(
        default=64 * MEBIBYTE,
        description="Bytes of undelivered events kept in memory before they spill to a file.",
        ge=MEBIBYTE,
    )
    spill_bytes: int = Field(
        default=1024 * MEBIBYTE,
        description=(
            "Bytes of undelivered events kept in a process's spill file. Past that, stdio events "
            "are replaced by one event counting what is missing; main events are kept."
        ),
        ge=0,
    )
    heartbeat_interval: float = Field(
        default=10.0,
        description="Seconds between heartbeats of a process that runs an execution.",
        gt=0,
    )
    heartbeat_timeout: float = Field(
        default=25.0,
        description="Seconds without a heartbeat after which a process counts as gone.",
        gt=0,
    )
    reconcile_interval: float = Field(
        default=2.0,
        description=(
            "Seconds between the observer's looks into Postgres at executions whose process may "
            "have gone; it asks Prefect about those only."
        ),
        gt=0,
    )
    idle_connection: float = Field(
        default=10.0,
        description="Seconds after which a flow process gives an unused connection back.",
        gt=0,
    )
    capture: bool = Field(
        default=True,
        description="Record print, stderr and logging of flows as stdout, stderr, debug events.",
    )

    retention_days: float | None = Field(
        default=None,
        description=(
            "Days after its end for which an execution is kept; the observer and `kodosumi-prefect "
            "clean` delete older ones with all their events. Unset, they are kept for ever."
        ),
        gt=0,
    )
    retention_stdio_days: float | None = Field(
        default=None,
        description=(
            "Days after an execution's end for which its stdout, stderr, debug and upload events "
            "are kept; set it lower than retention_days to keep results longer than logs. Unset, "
            "they are kept as long as the execution."
        ),
        gt=0,
    )

    audit_retention_days: float | None = Field(
        default=None,
        description=(
            "Days for which the audit (who did what in the panel, from which address) is kept; the "
            "observer and `kodosumi-prefect clean` delete older entries. At least 7. Unset, it is "
            "kept for ever."
        ),
        ge=7,
    )

    observe_work_pools: Names | None = Field(
        default=None,
        description=(
            "Work pools whose flow runs become executions even if their code never heard of us: "
            "their states, logs and task runs are recorded from outside. Names separated by "
            'commas or a JSON list, `*` for all runs, in a pool or not, "" for none. Unset, the '
            "pools of type kodosumi-ray."
        ),
    )
    observe_tags: Names | None = Field(
        default=None,
        description=(
            "Likewise flow runs with any of these tags, wherever they run. Unset, tags choose none."
        ),
    )
    observe_deployments: Names | None = Field(
        default=None,
        description=(
            "Likewise flow runs of these deployments, each as flow-name/deployment-name. Unset, "
            "deployments choose none."
        ),
    )
    observe_tasks: bool = Field(
        default=True,
        description=(
            "Record when Prefect task runs of an execution start and end, as debug events. Off, "
            "streams are shorter; task runs are still on the execution's page."
        ),
    )
    link_artifacts: bool = Field(
        default=True,
        description=(
            "Have the observer put a link to the panel on each execution's flow run in Prefect, "
            "as an artifact. Turn it off if nobody who looks at Prefect can open the panel."
        ),
    )

    secret_key: SecretStr | None = Field(
        default=None,
        description=(
            "Secret of at least 32 characters behind sessions, signed identities and encrypted "
            "inputs; the same for panel, services and workers. Changing it ends all sessions. "
            "Unset, the file secret.key in data_dir, which the panel makes."
        ),
    )
    run_key: SecretStr | None = Field(
        default=None,
        description=(
            "Derived from secret_key; what processes that run flows are given in its place. Not "
            "to be set by hand."
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
            "Unset, none; a service in the panel's own process needs none."
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

    log_json: bool = Field(
        default=False,
        description=(
            "Write the log of `panel`, `observer`, `up` and its worker as one JSON object a line, "
            "with `fid` where a line is about one execution; for log collectors."
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

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"secret_key is shorter than {SHORTEST_SECRET} characters")
        return value

    @field_validator(
        "observe_work_pools",
        "observe_tags",
        "observe_deployments",
        "proxy_networks",
        "cors_origins",
        "services",
        "register_work_pools",
        "register_tags",
        "trusted_networks",
        "service_url",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [name.strip() for name in value.split(",") if name.strip()]

    @field_validator("proxy_networks", "trusted_networks")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        for name in value:
            try:
                ip_network(name, strict=False)
            except ValueError as exc:
                raise ValueError(
                    f"{name!r} is not a network; write one such as 10.0.0.0/8"
                ) from exc
        return value

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

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def run_dir(self) -> Path:
        """Folder where running services of this data dir write down their addresses."""
        return self.data_dir / "run"

    @property
    def spool_dir(self) -> Path:
        """Folder of spill files."""
        return self.data_dir / "spool"
