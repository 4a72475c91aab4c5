"""What can be set for the runs of a ``kodosumi-ray`` work pool, and how it is applied."""

from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.settings import get_current_settings
from prefect.workers.base import BaseJobConfiguration, BaseVariables
from pydantic import Field

from kodosumi_prefect.carried import carried
from kodosumi_prefect.process.order import Order
from kodosumi_prefect.runner.arrival import Demand
from kodosumi_prefect.runner.cluster import Spec
from kodosumi_prefect.secret_variables import without_secret_variables
from kodosumi_prefect.settings import get_settings
from kodosumi_prefect.suspension.leg import leg_of

MEBIBYTE = 2**20
RUNNER_MEMORY = 500  # MiB

_RESOURCES = "Amounts of custom Ray resources that the Runner takes, by name."
_DESCRIPTIONS = {
    "num_cpus": (
        "CPUs that the Runner, the process of the flow itself, takes of the Ray cluster. 0 lets "
        "flows that mostly wait for their Ray tasks never starve them."
    ),
    "num_gpus": "GPUs that the Runner takes; tasks ask for their own.",
    "memory": "MiB of memory that the Runner takes of its node; limits how many run at once.",
    "runtime_env": (
        "Ray's runtime_env of the Runner and its tasks: working_dir, py_modules, pip, uv, conda, "
        "image_uri … Code that is not on the cluster arrives by it; a local folder of the "
        "worker's machine is uploaded. Everyone who can use the cluster can read it: put secrets "
        "into env."
    ),
    "env": (
        "Environment variables of the run. They travel as a call argument and are not shown by Ray."
    ),
    "labels": (
        "Labels that the Runner's Ray node must have, as Ray's label_selector: "
        '{"ray.io/accelerator-type": "A100"}; the values !v, in(a, b) and !in(a, b) work, too.'
    ),
    "schedule_timeout": (
        "Seconds that the cluster has to make room for the Runner; then the run is reported as "
        "crashed. Empty, it waits as long as some node, or an autoscaler, can ever take it."
    ),
}


_last: tuple[object, dict[str, str]] | None = None  # Prefect's settings as variables


class KodosumiRayVariables(BaseVariables):
    """What can be set per work pool, deployment and flow run."""

    env: dict[str, str | None] = Field(
        default_factory=dict, title="Environment Variables", description=_DESCRIPTIONS["env"]
    )
    labels: dict[str, str] = Field(
        default_factory=dict, title="Node Labels", description=_DESCRIPTIONS["labels"]
    )
    num_cpus: float = Field(default=0, ge=0, title="CPUs", description=_DESCRIPTIONS["num_cpus"])
    num_gpus: float = Field(default=0, ge=0, title="GPUs", description=_DESCRIPTIONS["num_gpus"])
    memory: int = Field(
        default=RUNNER_MEMORY, ge=0, title="Memory (MiB)", description=_DESCRIPTIONS["memory"]
    )
    resources: dict[str, float] = Field(
        default_factory=dict, title="Ray Resources", description=_RESOURCES
    )
    runtime_env: dict[str, Any] = Field(
        default_factory=dict, title="Runtime Environment", description=_DESCRIPTIONS["runtime_env"]
    )
    schedule_timeout: float | None = Field(
        default=None,
        gt=0,
        title="Schedule Timeout (s)",
        description=_DESCRIPTIONS["schedule_timeout"],
    )


class KodosumiRayJobConfiguration(BaseJobConfiguration):
    """One run's job, with every variable resolved."""

    node_labels: dict[str, str] = Field(
        default_factory=dict, json_schema_extra={"template": "{{ labels }}"}
    )
    num_cpus: float = Field(default=0, ge=0)
    num_gpus: float = Field(default=0, ge=0)
    memory: int = Field(default=RUNNER_MEMORY, ge=0)
    resources: dict[str, float] = Field(default_factory=dict)
    runtime_env: dict[str, Any] = Field(default_factory=dict)
    schedule_timeout: float | None = Field(default=None, gt=0)

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        # All Prefect settings of this worker, but for a server's, which no run needs. They are the
        # same objects for each run, and take a twentieth of a second of a processor.
        global _last
        settings = get_current_settings()
        if _last is None or _last[0] is not settings:
            _last = settings, without_secret_variables(super()._base_environment())
        return dict(_last[1])

    def spec(self) -> Spec:
        """What its Runner needs of the cluster."""
        return Spec(
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
            memory=self.memory * MEBIBYTE,
            resources=self.resources,
            runtime_env=self.runtime_env,
            labels=self.node_labels,
        )

    def demand(self) -> Demand:
        """What its run asks of the cluster."""
        return Demand(self.spec(), self.schedule_timeout)

    def order(self, flow_run: FlowRun, instance: str | None) -> Order:
        """What its Runner is told."""
        variables = {name: value for name, value in self.env.items() if value is not None}
        in_working_dir = bool(self.runtime_env.get("working_dir"))
        settings = get_settings()
        return Order(
            str(flow_run.id),
            variables,
            carried(settings),
            in_working_dir,
            instance,
            settings.exit_grace,
            leg=leg_of(flow_run),
        )
