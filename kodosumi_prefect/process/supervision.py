"""One run from its order to its outcome, whatever becomes of its process."""

import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kodosumi_prefect.process.channel import Channel
from kodosumi_prefect.process.child import Child, ColdChild, Descriptors, kill
from kodosumi_prefect.process.environment import child_environment
from kodosumi_prefect.process.folder import working_folder
from kodosumi_prefect.process.memory import in_memory
from kodosumi_prefect.process.nursery import NoNurseryError, Nursery
from kodosumi_prefect.process.order import After, Drain, Order, Outcome, Recorded, Written
from kodosumi_prefect.process.output import Output
from kodosumi_prefect.process.telling import Telling

EXIT_MARGIN = 5.0  # seconds more for a process that says itself what it was cut off from
AFTER = 300.0  # seconds for what is left to do for a run whose process is gone
DRAIN = 2.0  # seconds until all that an ended process wrote is read
STDOUT, STDERR = 1, 2

logger = logging.getLogger(__name__)


class Ended(NamedTuple):
    """The end of a run's process.

    Attributes:
        status: its exit code, negative for a signal; None if that is unknown.
        outcome: what it reported; None if it was gone before that.
        written: what it wrote and did not record.
    """

    status: int | None
    outcome: Outcome | None
    written: tuple[Written, ...] = ()


class Supervision:
    """Executes a run in a process of its own, and sees to what that one leaves undone.

    Arguments:
        order: with Ray's address and ``runtime_env`` filled in.
        nursery: what processes are forked from, if there is one for the run.
    """

    def __init__(self, order: Order, nursery: Nursery | None = None) -> None:
        self._order = order
        self.flow_run_id = order.flow_run_id
        self._nursery = nursery
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._why: str | None = None
        self._shared: list[int] = []  # the last three of `Descriptors`

    def run(self) -> Outcome:
        """Execute the run to its end."""
        self._shared = [os.dup(STDOUT), os.dup(STDERR), in_memory()]
        try:
            if self._order.after is not None:
                return self._see_to(self._order.after)
            ended = self._execute(self._order)
            after = After(ended.status, self._why, ended.written, over=ended.outcome is not None)
            if ended.outcome is None:
                return self._see_to(after)
            if ended.written:
                self._see_to(after)
            return ended.outcome
        finally:
            for descriptor in self._shared:
                os.close(descriptor)

    def end(self, why: str) -> bool:
        """End the run's process now; what is left to do for it is done then.

        Arguments:
            why: in one line, for the run's state.

        Returns:
            False if there is no such process, or somebody else ended it.
        """
        with self._lock:
            if self._child is None or self._why is not None:
                return False
            self._why = why
            kill(self._child)
            return True

    def _see_to(self, after: After) -> Outcome:
        """Have hooks run and the state set in a fresh process; one that dies is not replaced."""
        order = self._order._replace(after=after)
        ended = self._execute(order, within=AFTER)
        if ended.outcome is not None:
            return ended.outcome
        return Outcome(after.status or 1, how_it_ended(after))

    def _execute(self, order: Order, within: float | None = None) -> Ended:
        with contextlib.ExitStack() as stack:
            folder = Path.cwd()
            if not order.in_working_dir:
                folder = stack.enter_context(working_folder())
            return self._supervise(order, folder, within)

    def _supervise(self, order: Order, folder: Path, within: float | None) -> Ended:
        ours, theirs = Channel.pair()
        telling = Telling(ours)
        outputs = [
            Output(STDOUT, partial(telling.written, "stdout")),
            Output(STDERR, partial(telling.written, "stderr")),
        ]
        environment = child_environment(order)
        try:
            inlets = (output.inlet for output in outputs)
            child = self._start(environment, folder, theirs, Descriptors(*inlets, *self._shared))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for output in outputs:
                output.begin()
        if order.after is None:
            with self._lock:
                self._child = child
        clock = _Clock(child, within)
        try:
            hearing = _Hearing(ours, order, clock, telling, outputs)
            status = child.wait()
            with self._lock:
                self._child = None
        finally:
            clock.stop()
            kill(child)  # what it left running in its session
            child.close()
        for output in outputs:
            output.finish(DRAIN)
        outcome = hearing.finish()
        ours.close()
        return Ended(status, outcome, telling.finish())

    def _start(
        self, environment: dict[str, str], folder: Path, end: Channel, descriptors: Descriptors
    ) -> Child:
        if self._nursery is not None:
            try:
                return self._nursery.bear(environment, folder, end, descriptors)
            except NoNurseryError as exc:
                logger.debug("flow run %s is not forked: %s", self._order.flow_run_id, exc)
        return ColdChild(environment, folder, end, descriptors)


class _Clock:
    """Ends a process that has had its time."""

    def __init__(self, child: Child, seconds: float | None) -> None:
        self._child = child
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        if seconds is not None:
            self.set(seconds)

    def set(self, seconds: float) -> None:
        """From now on it has so many seconds."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(seconds, kill, (self._child,))
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()


class _Hearing:
    """Gives a process its order, and hears what it says; once its run is over it has to end."""

    def __init__(
        self,
        channel: Channel,
        order: Order,
        clock: _Clock,
        telling: Telling,
        outputs: Sequence[Output],
    ) -> None:
        self._channel = channel
        self._order = order
        self._clock = clock
        self._telling = telling
        self._outputs = outputs
        self._outcome: Outcome | None = None
        self._thread = threading.Thread(target=self._hear, name="kodosumi-outcome", daemon=True)
        self._thread.start()

    def finish(self) -> Outcome | None:
        """What a process that has ended had reported."""
        self._thread.join(DRAIN)
        return self._outcome

    def _hear(self) -> None:
        # When it is gone, or was never there, its end says the rest.
        with contextlib.suppress(OSError, EOFError):
            self._channel.send(self._order)
            self._telling.begin()
            while True:
                self._take(self._channel.receive())

    def _take(self, message: Outcome | Recorded | Drain) -> None:
        if isinstance(message, Recorded):
            self._telling.confirmed(message.more)
        elif isinstance(message, Drain):
            for output in self._outputs:
                output.drain(DRAIN)
            self._telling.drained(message)
        else:
            self._outcome = message
            self._clock.set(self._order.exit_grace + EXIT_MARGIN)


def how_it_ended(after: After) -> str:
    """The end of a process in one line."""
    if after.why is not None:
        return after.why
    if after.status is None:
        return "the run's process is gone"
    return f"Process exited with status code: {after.status}."
