"""Ray, and the Runners that workers keep there."""

from pydantic import BaseModel, Field


class RayFields(BaseModel):
    """Ray, and the Runners that workers keep there."""

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
