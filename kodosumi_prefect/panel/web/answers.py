"""Models of the panel's answers, for its OpenAPI document; the answers are built as plain JSON."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from kodosumi_prefect.events import Kind, Status
from kodosumi_prefect.stream.rows import ModelUse, StoredSpan

Envelope = dict[str, Any]  # a single key, the name of the value's type

SECONDS = "Seconds since the epoch."


class Links(BaseModel):
    """Pages of Prefect; null where there is none."""

    flow_run: str | None
    deployment: str | None
    work_pool: str | None


class Usage(BaseModel):
    """What an execution's spans add up to."""

    model_calls: int
    tool_calls: int
    errors: int = Field(description="Spans that failed.")
    input_tokens: int
    output_tokens: int
    cost: float = Field(description="US dollars, of the calls whose price is known.")
    unpriced_calls: int = Field(description="Calls whose price is not known.")


class ExecutionStatus(BaseModel):
    """One execution as it stands."""

    status: Status
    timestamp: float = Field(description="Its last heartbeat. " + SECONDS)
    final: str | None = Field(description="The stored envelope; in a failed run the error's.")
    fid: UUID
    summary: str | None
    description: str | None
    tags: list[str]
    deprecated: bool
    author: str | None
    organization: str | None
    version: str | None
    kodosumi_version: str
    app_url: str | None
    entry_point: str | None
    username: str | None
    locks: list[str] = Field(description="Ids of its open locks.")
    usage: Usage
    links: Links


class StoredEvent(BaseModel):
    """An event of a stream."""

    seq: int = Field(description="From 1, without a gap.")
    timestamp: float = Field(description=SECONDS)
    kind: Kind
    payload: str
    attempt: int
    source: dict[str, Any] | None = Field(description="Task run, subflow, node and process.")


class EventPage(BaseModel):
    """Events behind a cursor."""

    fid: UUID
    items: list[StoredEvent]
    next: int
    more: bool
    reset: bool


class Trace(BaseModel):
    """Spans behind a cursor, and what all spans took."""

    fid: UUID
    usage: Usage
    models: list[ModelUse] = Field(description="The dearest first.")
    items: list[StoredSpan]
    next: int
    more: bool


class Span(BaseModel):
    """A span, and what went in and came out."""

    fid: UUID
    span: StoredSpan
    input: Any = Field(description="Null where nothing was kept.")
    output: Any = Field(description="Null where nothing was kept, or before its end.")


class StreamedEvent(BaseModel):
    """A server-sent event."""

    event: str = Field(description="A kind of event, or `alive`, `reset`, `eof`.")
    id: str | None = Field(None, description="Its seq.")
    data: str = Field(description="`{timestamp}:{payload}`")


class TaskRun(BaseModel):
    """A Prefect task run."""

    id: str
    name: str
    task: str = Field(description="The task's name, without what tells its runs apart.")
    state_type: str | None
    state_name: str | None
    start_time: str | None
    end_time: str | None
    duration: float | None
    run_count: int | None
    retries: int | None
    subflow: dict[str, Any] | None
    child_flow_run: str | None
    node: str | None
    pid: int | None


class TaskRuns(BaseModel):
    """The task runs of an execution."""

    fid: UUID
    items: list[TaskRun]
    complete: bool
    detail: str | None


class Listed(BaseModel):
    """An execution in a list."""

    fid: UUID
    tags: list[str]
    summary: str | None
    inputs: Envelope | None
    status: Status
    startup: str
    finish: str | None
    runtime: float | None = Field(description="Seconds, so far if it still runs.")
    locks: list[str]


class Timeline(BaseModel):
    """A page of executions."""

    items: list[Listed]
    query: str | None
    offset: UUID | None


class Changes(BaseModel):
    """What changed in a list of executions."""

    update: list[Listed]
    delete: list[UUID]
    timestamp: int
    query: str | None


class ChangedExecution(BaseModel):
    """An execution as it is now; times in seconds since the epoch."""

    kind: Literal["execution"]
    fid: UUID
    status: Status
    cancelled: bool = Field(description="`status` is error, since it was cancelled.")
    state: str | None = Field(description="The name of its state in Prefect.")
    attempt: int
    summary: str | None
    flow: str | None
    service: str | None = Field(description="Address of the service that launched it.")
    tags: list[str]
    username: str | None
    error: str | None
    open_locks: int
    files: int
    cost: float = Field(description="US dollars, of the calls whose price is known.")
    input_tokens: int
    output_tokens: int
    archived: bool
    created: float
    started: float | None
    ended: float | None


class ChangedLock(BaseModel):
    """A lock as it is now; times in seconds since the epoch."""

    kind: Literal["lock"]
    fid: UUID
    lid: str
    name: str
    title: str | None
    status: Literal["open", "leased", "expired", "void"]
    summary: str | None
    flow: str | None
    service: str | None
    opened: float
    expires: float
    answered: float | None
    answered_by: str | None


class Deletion(BaseModel):
    """An execution that is no longer there; told for 7 days."""

    kind: Literal["deletion"]
    fid: UUID


class StreamedChange(BaseModel):
    """A server-sent event of the changes."""

    event: str = Field(description="The item's `kind`, or `alive`, `reset`.")
    id: str = Field(description="The position behind it.")
    data: str = Field(description="The item, as JSON.")


class ChangePage(BaseModel):
    """Changes behind a position."""

    items: list[ChangedExecution | ChangedLock | Deletion]
    next: str = Field(description="The position behind them.")
    more: bool
    reset: bool = Field(description="The database was restored to before `since`.")


class DashboardRow(BaseModel):
    """An execution on Kodosumi's analytics page."""

    fid: UUID
    user_id: str | None = Field(description="The owner's; null if nobody owns it.")
    agent_name: str
    status: Status
    meta: Envelope | None
    error: str | None = Field(description="The traceback; of a long one the end.")
    error_timestamp: float | None
    start_time: float = Field(description="When it was recorded first. " + SECONDS)
    end_time: float = Field(description="Its last event's, if it still runs. " + SECONDS)
    runtime: float = Field(description="Seconds between the two.")
    upload_count: int
    download_count: int


class DashboardAgent(DashboardRow):
    """An execution, with its owner's name."""

    user_name: str | None


class DashboardFilters(BaseModel):
    """What was asked for."""

    hours: int
    agent_name: str | None
    user: str | None
    status: str | None
    search: str | None


class DashboardAgents(BaseModel):
    """Executions, newest first."""

    total: int
    agents: list[DashboardAgent]
    filters: DashboardFilters


class DashboardError(BaseModel):
    """A failure; `error` holds the traceback under the same name."""

    fid: UUID
    user_id: str | None
    timestamp: float
    error: dict[str, str | None]


class DashboardErrors(BaseModel):
    """Failures, latest first."""

    total: int
    errors: list[DashboardError]


class DashboardTimeline(BaseModel):
    """Executions, oldest first."""

    total: int
    executions: list[DashboardRow]


class DashboardStats(BaseModel):
    """Figures of executions; `error_rate` is from 0 to 1."""

    total_executions: int
    by_status: dict[Status, int]
    by_user: dict[str, int]
    avg_runtime: float
    error_rate: float


class DashboardEvent(BaseModel):
    """An event of an execution."""

    id: int = Field(description="Its seq.")
    timestamp: float = Field(description=SECONDS)
    kind: Kind
    message: str


class DashboardDetails(BaseModel):
    """An execution and its events."""

    metadata: DashboardRow
    events: list[DashboardEvent]
    total_events: int


class DashboardFiles(BaseModel):
    """The files of an execution."""

    fid: UUID
    uploads: list[dict[str, Any]]
    downloads: list[dict[str, Any]]
    upload_count: int
    download_count: int


class OpenLock(BaseModel):
    """A question of a run to people."""

    fid: UUID
    lid: str
    name: str
    title: str | None = Field(description="What people call it, in place of its name.")
    question: str | None = Field(description="What is asked, in markdown.")
    summary: str | None
    opened: float
    expires: float | None
    elements: list[dict[str, Any]] | None
    asked: list[str] | None = Field(
        description="`owner`, `team:` and its name, `@` and the id of an account, or its name; "
        "null: the owner."
    )
    quorum: int = Field(description="How many people have to answer.")


class OpenLocks(BaseModel):
    """A page of open locks."""

    items: list[OpenLock]
    offset: str | None


class Answered(BaseModel):
    """`result`, and the run goes on; or `errors` by field and the form's `elements`."""

    result: Any = None
    errors: dict[str, list[str]] | None = None
    elements: list[dict[str, Any]] | None = None
    answers: int | None = Field(None, description="How many there are, where several are needed.")
    quorum: int | None = Field(None, description="How many are needed, if it is more than one.")


class Asked(BaseModel):
    """Who is asked now."""

    asked: str


class AnswerLink(BaseModel):
    """A link, and its code, which are not shown again."""

    url: str
    code: str | None
    recipient: str


class LockDone(BaseModel):
    """What was done about a lock."""

    step: str = Field(
        description="`asked`, `reminded`, `escalated`, `delegated` or `answered`; `joined` or "
        "`left` for who is, or is not, asked any more as their team is."
    )
    at: float
    by: str | None = Field(
        description="The account; null: the lock's own schedule, or a change of a team."
    )
    means: str | None = Field(description="`session`, `key`, `proxy` or `link`.")
    asked: list[str]
    reached: list[str] = Field(description="The accounts that these were then, by name.")


class LockHistory(BaseModel):
    """Who is asked a lock, and what was done about it, in its order."""

    state: str
    asked: list[str] | None
    quorum: int
    steps: list[LockDone]


class Facts(BaseModel):
    """What a service has to know about a lock."""

    name: str
    data: Any
    inputs: Any
    expires: float | None


class Deployment(BaseModel):
    """A Prefect deployment."""

    id: str
    name: str


class LastRun(BaseModel):
    """The newest execution of a schedule."""

    fid: str
    status: Status
    started_at: float | None
    cancelled: bool = Field(description="`status` is error, since it was cancelled.")
    cost: float = Field(0.0, description="US dollars of its model calls whose price is known.")
    input_tokens: int = 0
    output_tokens: int = 0
    unpriced_calls: int = 0


class Schedule(BaseModel):
    """A schedule."""

    id: str
    summary: str | None
    deployment: Deployment
    tags: list[str]
    endpoint: str | None
    cron: str | None
    interval: float | None
    rrule: str | None
    timezone: str
    active: bool
    paused_because: str | None
    next: list[float]
    last_run: LastRun | None
    owner: str | None
    username: str | None
    created_at: float


class Schedules(BaseModel):
    """All that somebody may see."""

    items: list[Schedule]


class Health(BaseModel):
    """The state of everything around the panel; `down` names what does not answer."""

    status: str
    down: list[str]
    versions: dict[str, str | None]
    postgres: dict[str, Any]
    spooler: dict[str, Any]
    prefect: dict[str, Any]
    ray: dict[str, Any]
    observer: dict[str, Any]
    services: dict[str, Any]
