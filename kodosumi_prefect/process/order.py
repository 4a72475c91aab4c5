"""What a Runner gets, and what it returns. These grow at their end only: releases mix."""

from typing import Any, NamedTuple

EXIT_GRACE = 30.0  # seconds


class Written(NamedTuple):
    """What a process wrote to its standard output or standard error by other ways than Python's.

    Attributes:
        kind: ``stdout`` or ``stderr``.
        ts: seconds since the epoch when it was read.
        data: the bytes.
    """

    kind: str
    ts: float
    data: bytes


class Recorded(NamedTuple):
    """A process to its supervisor: so many more ``Written`` cannot be lost any more."""

    more: int


class Drain(NamedTuple):
    """A process to its supervisor: send me all that I wrote so far, and then this again."""

    number: int


class After(NamedTuple):
    """The run's process is gone; what is left to do for it, in another one.

    Attributes:
        status: its exit code, negative for a signal; None if that is unknown.
        why: what happened, in one line; None if nobody had a part in it.
        written: what it wrote and could not record itself.
        over: its run is over, and only its last words are left to be recorded.
    """

    status: int | None
    why: str | None = None
    written: tuple[Written, ...] = ()
    over: bool = False


class Order(NamedTuple):
    """One flow run to execute. A call argument, never in ``runtime_env``: it holds secrets.

    Attributes:
        flow_run_id: a flow run of a deployment, pending in Prefect.
        environment: variables of the job, Prefect's settings of the worker among them.
        carried: our settings, as ``carried`` gives them.
        in_working_dir: ``runtime_env`` brings a ``working_dir``, and the flow's code is there; else
            the run begins in an empty folder.
        instance: id of the database, which names its Spooler; None if that is not known.
        exit_grace: seconds that the process has to end by itself once the run is over.
        after: the run's process is gone: its hooks and its state are to be seen to.
        ray_address: of the cluster that the Runner is on; the Runner itself fills it in.
        runtime_env: Ray's of the Runner, which its run's tasks get, too; likewise.
        leg: of the run's attempt, from 0: another follows each time that it is suspended.
    """

    flow_run_id: str
    environment: dict[str, str]
    carried: dict[str, Any]
    in_working_dir: bool = False
    instance: str | None = None
    exit_grace: float = EXIT_GRACE
    after: After | None = None
    ray_address: str | None = None
    runtime_env: dict[str, Any] | None = None
    leg: int | None = None


class Outcome(NamedTuple):
    """How a run's process fared; how the flow run ended is in Prefect.

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
        pid: of the supervising process.
        versions: of ``kodosumi-prefect``, ``prefect``, ``ray`` and ``python`` (major.minor).
    """

    node: str
    host: str
    pid: int
    versions: dict[str, str]
