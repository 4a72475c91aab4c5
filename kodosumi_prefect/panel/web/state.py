"""What all routes of a running panel share."""

from dataclasses import dataclass, field

from kodosumi_prefect.panel.accounts.identification import Identification
from kodosumi_prefect.panel.audit.content_reads import ContentReads
from kodosumi_prefect.panel.audit.trail import Trail
from kodosumi_prefect.panel.executions.cancellation import Cancelled
from kodosumi_prefect.panel.executions.family import Subflows
from kodosumi_prefect.panel.executions.streams import Streams
from kodosumi_prefect.panel.executions.task_trees import TaskTrees
from kodosumi_prefect.panel.files.depot import Depot
from kodosumi_prefect.panel.ingest.actions import Ingest
from kodosumi_prefect.panel.locks.resuming import Resuming
from kodosumi_prefect.panel.services.calls import Services
from kodosumi_prefect.panel.services.launch_keys import LaunchKeys
from kodosumi_prefect.panel.services.register.register import Register
from kodosumi_prefect.panel.system.metrics import Metrics
from kodosumi_prefect.panel.system.rates import Rates
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.stream.changes import Changes
from kodosumi_prefect.stream.feed import Feed
from kodosumi_prefect.stream.reader import Reader


@dataclass(frozen=True, slots=True)
class State:
    """The open connections of a running panel."""

    settings: Settings
    reader: Reader
    feed: Feed
    changes: Changes
    streams: Streams
    metrics: Metrics
    identification: Identification
    services: Services
    register: Register
    trail: Trail
    launch_keys: LaunchKeys
    files: Depot
    ingest: Ingest
    rates: Rates = field(default_factory=Rates)
    content_reads: ContentReads = field(default_factory=ContentReads)
    task_trees: TaskTrees = field(default_factory=TaskTrees)
    cancelled: Cancelled = field(default_factory=Cancelled)
    subflows: Subflows = field(default_factory=Subflows)
    resuming: Resuming = field(default_factory=Resuming)
