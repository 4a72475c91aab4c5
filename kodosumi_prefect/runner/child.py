"""The process of one run: ``python -m`` it with its supervisor's pid and a few descriptors.

They are of its end of the channel, and the last three of ``process.child.Descriptors``.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from typing import NoReturn

from kodosumi_prefect.process.channel import Channel
from kodosumi_prefect.process.order import Order, Outcome
from kodosumi_prefect.runner.supervised import WATCH, Supervised

SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main() -> NoReturn:
    """Execute the order that comes through the channel."""
    supervisor, end, *others = map(int, sys.argv[1:])
    _end_with(supervisor)
    for descriptor in others:
        os.set_inheritable(descriptor, False)
    serve(Channel.of(end), *others)


def serve(channel: Channel, beside_out: int, beside_err: int, memory: int) -> NoReturn:
    """Execute the order that comes through a channel, in this process's main thread, and exit."""
    hear_signals()
    order = channel.receive()
    supervised = Supervised(channel, beside_out, beside_err, memory)
    supervised.listen()
    write_at_once()
    outcome = _execute(order, supervised)
    supervised.report(outcome)
    threading.Thread(target=_cut, args=[order], name=WATCH, daemon=True).start()
    # Python waits for threads and calls what was registered with ``atexit``.
    sys.exit(outcome.status)


def hear_signals() -> None:
    """Undo what was inherited: Ray's threads, in which supervisors work, block signals."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def write_at_once() -> None:
    """Have what is printed leave this process at once: it may end without Python's clean-up."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]


def _execute(order: Order, supervised: Supervised) -> Outcome:
    # Imported late: a process that is to be gone by now need not import Prefect.
    if order.after is not None:
        from kodosumi_prefect.runner.aftermath import see_to

        return see_to(order, supervised)
    from kodosumi_prefect.runner.execute import execute

    return execute(order, supervised)


def _end_with(supervisor: int) -> None:
    """Have the kernel end this process with its supervisor; elsewhere its channel alone does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)  # it was gone before that


def _cut(order: Order) -> None:
    """End this process when its run is over for so long that it should have ended by itself."""
    time.sleep(order.exit_grace)
    left = [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
    what = f"with threads still at work: {', '.join(left)}" if left else "in an atexit function"
    line = (
        f"the process of flow run {order.flow_run_id} did not end within {order.exit_grace:g} s "
        f"after its run; killed {what}\n"
    )
    os.write(2, line.encode())
    os._exit(0)


if __name__ == "__main__":
    main()
