"""The Ray cluster as the worker sees it: what it calls blocks, and runs in threads."""

import json
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid4

from kodosumi_prefect._compat.ray import ask_head, autoscaling_status, upload_folders
from kodosumi_prefect.process.actor import CONTROL, Runner
from kodosumi_prefect.process.order import Facts, Order, Outcome
from kodosumi_prefect.runner.ray_connection import NoRayError, connect_ray
from kodosumi_prefect.settings import VERSION, Settings

ANSWER = 5.0  # seconds that Ray's head has to answer
OWN_NODE_TYPE = "node_"  # prefix of the types that Ray gives nodes without an autoscaler

logger = logging.getLogger(__name__)


class Spec(NamedTuple):
    """What a Runner needs of the cluster; two with the same key can stand in for each other.

    Attributes:
        memory: bytes.
        labels: of the node, as Ray's ``label_selector``.
    """

    num_cpus: float = 0.0
    num_gpus: float = 0.0
    memory: int = 0
    resources: Mapping[str, float] = {}
    runtime_env: Mapping[str, Any] = {}
    labels: Mapping[str, str] = {}

    @property
    def key(self) -> str:
        return json.dumps(self._asdict(), sort_keys=True, default=str)

    @property
    def may_wait(self) -> bool:
        """Whether a Runner made ahead is as good as one made now.

        Not where Ray fetches code from an address at which it may change meanwhile; what was
        uploaded to the cluster is named by its content.
        """
        code = [self.runtime_env.get("working_dir"), *(self.runtime_env.get("py_modules") or ())]
        return all(str(place).startswith("gcs://") for place in code if place)

    def needs(self) -> dict[str, float]:
        """Ray's resources by name."""
        resources = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": float(self.memory)}
        return {name: n for name, n in {**resources, **self.resources}.items() if n}


class RunnerHandle(NamedTuple):
    """A Runner on the cluster."""

    name: str
    actor: Any

    def hello(self, claim_seconds: float) -> "Future[Facts]":
        """Who it is, once its process has started; renews the claim on it."""
        return cast("Future[Facts]", self.actor.hello.remote(claim_seconds).future())

    def run(self, order: Order) -> "Future[Outcome]":
        """Have it execute a flow run.

        The future raises ``ray.exceptions.RayActorError`` if it dies over it.
        """
        return cast("Future[Outcome]", self.actor.run.remote(order).future())

    def end(self, why: str, fid: UUID) -> "Future[bool] | None":
        """End the process of a run, and have it see to what that left; False if it has another.

        None: it is of an older release, which executes runs in its own process.
        """
        if not hasattr(self.actor, "end"):
            return None
        return cast("Future[bool]", self.actor.end.remote(why, str(fid)).future())


class LostError(RuntimeError):
    """The cluster that this process was connected to is gone."""


class VersionError(RuntimeError):
    """The cluster has other versions than the worker."""


class Cluster:
    """One Ray cluster and the Runners of one work pool there.

    Arguments:
        settings: ``ray_address``; unset, the cluster recorded for the data dir.
        namespace: of the Runners, always passed explicitly.
    """

    def __init__(self, settings: Settings, namespace: str) -> None:
        self._settings = settings
        self.namespace = namespace

    def connect(self) -> None:
        """Connect this process, once.

        Raises:
            NoRayError: no cluster is configured or it refuses; other versions of Ray or Python
                are refused by Ray itself.
        """
        connect_ray(self._settings, init_kwargs={"log_to_driver": False})

    def check(self) -> None:
        """Check that the cluster that this process is connected to answers.

        Raises:
            NoRayError: it does not answer.
            LostError: its head was restarted, and no longer knows this process.
        """
        from ray.exceptions import AuthenticationError, RpcError

        try:
            ask_head(ANSWER)
        except AuthenticationError as exc:
            raise LostError(" ".join(str(exc).split())) from exc
        except RpcError as exc:
            raise NoRayError(f"Ray does not answer: {' '.join(str(exc).split())}") from exc

    def spawn(self, spec: Spec, claim_seconds: float) -> RunnerHandle:
        """Ask for a Runner; it starts when the cluster has room."""
        self.connect()
        import ray

        # A plain class: decorated, it would need Ray to be imported.
        name = f"runner-{uuid4()}"
        ray.method(concurrency_group=CONTROL)(Runner.end)
        make: Any = ray.remote
        actor = (
            make(concurrency_groups={CONTROL: 1})(Runner)
            .options(
                name=name,
                namespace=self.namespace,
                lifetime="detached",
                num_cpus=spec.num_cpus,
                num_gpus=spec.num_gpus,
                memory=spec.memory or None,
                resources=dict(spec.resources) or None,
                runtime_env=uploaded(spec.runtime_env) or None,
                label_selector=dict(spec.labels) or None,
                max_restarts=0,
                max_task_retries=0,
            )
            .remote(claim_seconds)
        )
        return RunnerHandle(name, actor)

    def find(self, name: str) -> RunnerHandle | None:
        """A living Runner by its name."""
        self.connect()
        import ray

        try:
            return RunnerHandle(name, ray.get_actor(name, namespace=self.namespace))
        except ValueError:
            return None

    def kill(self, runner: RunnerHandle) -> None:
        """End a Runner now. Ray ends what it started, too."""
        import ray

        ray.kill(runner.actor, no_restart=True)

    def nodes(self) -> list[dict[str, Any]]:
        """The living nodes with what each has: ``host`` and ``resources``, memory in bytes."""
        import ray

        every: Any = ray.nodes  # untyped in Ray
        return [
            {
                "host": node["NodeManagerHostname"],
                "resources": {
                    name: amount
                    for name, amount in sorted(node["Resources"].items())
                    # Ray gives each node a resource named after itself, which is of no use here.
                    if not name.startswith("node:")
                },
            }
            for node in every()
            if node["Alive"]
        ]

    def used(self) -> dict[str, float]:
        """How much of its processors, graphics cards and memory is taken."""
        import ray

        every: Any = ray  # untyped in Ray
        total, free = every.cluster_resources(), every.available_resources()
        return {
            name: max(total[name] - free.get(name, 0.0), 0.0)
            for name in ("CPU", "GPU", "memory")
            if name in total
        }

    def lacks(self, spec: Spec) -> str | None:
        """Why no node of the cluster can ever take this, in a few words; None if one can."""
        import ray

        every: Any = ray.nodes  # untyped in Ray
        nodes = [node for node in every() if node["Alive"]]
        needs = spec.needs()
        if any(_fits(node, needs, spec.labels) for node in nodes):
            return None
        resources = ", ".join(f"{name} {_amount(name, n)}" for name, n in sorted(needs.items()))
        for name, n in sorted(needs.items()):
            most = max((node["Resources"].get(name, 0.0) for node in nodes), default=0.0)
            if most < n:
                return f"{name} {_amount(name, n)} is needed, no node has more than " + _amount(
                    name, most
                )
        labels = f" with the labels {dict(spec.labels)}" if spec.labels else ""
        return f"no single node{labels} has {resources or 'room'}"

    def grows(self) -> bool:
        """Whether an autoscaler may add nodes."""
        if self._settings.ray_autoscaling is not None:
            return self._settings.ray_autoscaling
        status_json = autoscaling_status()
        report = json.loads(status_json).get("autoscaler_report") or {} if status_json else {}
        if report.get("pending_nodes") or report.get("pending_launches"):
            return True
        # Ray reports without an autoscaler too, but then each node has its own type.
        kinds = {**(report.get("active_nodes") or {}), **(report.get("idle_nodes") or {})}
        return any(not kind.startswith(OWN_NODE_TYPE) for kind in kinds)


def check_versions(facts: Facts) -> None:
    """Compare a Runner's versions with this process's.

    Raises:
        VersionError: its Ray, Python (major.minor) or kodosumi-prefect is another.
    """
    ours = own_versions()
    for name, version in facts.versions.items():
        # Prefect itself works with other minor versions.
        if name != "prefect" and ours[name] != version:
            raise VersionError(
                f"node {facts.host} has {name} {version}, the worker has {ours[name]}; "
                "install the same on both"
            )


def own_versions() -> dict[str, str]:
    """Versions of this process, as ``Facts`` has them."""
    import platform
    from importlib.metadata import version

    return {
        "kodosumi-prefect": VERSION,
        "prefect": version("prefect"),
        "ray": version("ray"),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def uploaded(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """A ``runtime_env`` whose local folders are on the cluster, under names of their content.

    Ray itself does this for ``ray.init`` only.
    """
    local = [runtime_env.get("working_dir"), *(runtime_env.get("py_modules") or ())]
    if not any(place and "://" not in str(place) for place in local):
        return dict(runtime_env)
    return upload_folders(runtime_env, logger)


def may_live(exc: BaseException) -> bool:
    """Whether an actor may still live after this error, only out of reach for the moment."""
    from ray.exceptions import ActorUnavailableError

    return isinstance(exc, ActorUnavailableError)


def died(exc: BaseException) -> bool:
    """Whether an actor's process ended, by whatever, and was not kept from starting."""
    from ray.exceptions import ActorDiedError

    return isinstance(exc, ActorDiedError) and "runtime" not in str(exc)


def why_it_died(exc: BaseException) -> str:
    """What Ray knows of a Runner's end, in one line."""
    text = str(exc)
    first = type(exc).__name__
    if "runtime_env" in text or "runtime env" in text:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"runtime_env could not be set up: {lines[-1] if lines else first}"
    for mark in ("died because its node has died", "Node Death", "node has died", "preempted"):
        if mark in text:
            return "its node was lost"
    if "OutOfMemory" in text or "memory on the node" in text or "low on memory" in text:
        return "it was killed for lack of memory on its node"
    detail = text.rpartition("Worker exit detail:")[2].strip() if "exit detail" in text else text
    if "connection error code 2" in detail:
        return (
            "its process ended without a message: killed (SIGKILL, perhaps by the kernel for "
            "lack of memory) or crashed"
        )
    return " ".join(detail.split())[:500] or first


def _fits(node: dict[str, Any], needs: dict[str, float], labels: Mapping[str, str]) -> bool:
    has, marks = node["Resources"], node.get("Labels") or {}
    return all(has.get(name, 0.0) >= n for name, n in needs.items()) and all(
        _matches(marks.get(name), value) for name, value in labels.items()
    )


def _matches(mark: str | None, selector: str) -> bool:
    """Whether a node's label satisfies a selector: ``v``, ``!v``, ``in(a, b)``, ``!in(a, b)``."""
    negated = selector.startswith("!")
    bare = selector.removeprefix("!").strip()
    if bare.startswith("in(") and bare.endswith(")"):
        matches = mark in [part.strip() for part in bare[3:-1].split(",")]
    else:
        matches = mark == bare
    return matches is not negated


def _amount(name: str, n: float) -> str:
    if name == "memory":
        return f"{n / 2**20:,.0f} MiB"
    return f"{n:g}"
