"""What a Runner gets, and what it returns."""

from typing import Any, NamedTuple


class Order(NamedTuple):
    """One flow run to execute. A call argument, never in ``runtime_env``: it holds secrets.

    Attributes:
        flow_run_id: a flow run of a deployment, pending in Prefect.
        environment: variables of the job, Prefect's settings of the worker among them.
        carried: our settings, as ``carried`` gives them.
        in_working_dir: ``runtime_env`` brings a ``working_dir``, and the flow's code is there; else
            the run begins in an empty folder.
        instance: id of the database, which names its Spooler; None if that is not known.
    """

    flow_run_id: str
    environment: dict[str, str]
    carried: dict[str, Any]
    in_working_dir: bool = False
    instance: str | None = None


class Outcome(NamedTuple):
    """How a Runner's process fared; how the flow run ended is in Prefect.

    Attributes:
        status: an exit code, 0 if the run reached a state of its own.
        message: what happened otherwise, in one line.
    """

    status: int
    message: str | None = None


class Facts(NamedTuple):
    """Who a Runner is.

    Attributes:
        node: Ray's id of its node.
        host: the machine's name.
        versions: of ``kodosumi-prefect``, ``prefect``, ``ray`` and ``python`` (major.minor).
    """

    node: str
    host: str
    pid: int
    versions: dict[str, str]
