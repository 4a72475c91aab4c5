"""How events reach Postgres, and how long they are kept."""

from pydantic import BaseModel, Field

from kodosumi_prefect.settings.values import MEBIBYTE


class RecordingFields(BaseModel):
    """How events reach Postgres, and how long they are kept."""

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
    run_artifacts: bool = Field(
        default=True,
        description=(
            "Show files that a run leaves, and its result if that is markdown, among its artifacts "
            "in Prefect."
        ),
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
