"""The process of one run: ``python -m`` it with a channel's descriptor and its supervisor's pid."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from typing import NoReturn

from kodosumi_prefect.process.channel import Channel
from kodosumi_prefect.process.order import Order, Outcome

SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main() -> NoReturn:
    """Execute the order that comes through the channel."""
    channel, supervisor = Channel.of(int(sys.argv[1])), int(sys.argv[2])
    _end_with(supervisor)
    serve(channel)


def serve(channel: Channel) -> NoReturn:
    """Execute the order that comes through a channel, in this process's main thread, and exit."""
    hear_signals()
    order = channel.receive()
    threading.Thread(target=_end_with_channel, args=[channel], name=WATCH, daemon=True).start()
    write_at_once()
    outcome = _execute(order)
    with contextlib.suppress(OSError):  # the supervisor is gone, and this process very soon
        channel.send(outcome)
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


def _execute(order: Order) -> Outcome:
    # Imported late: a process that is to be gone by now need not import Prefect.
    if order.after is not None:
        from kodosumi_prefect.runner.aftermath import see_to

        return see_to(order)
    from kodosumi_prefect.runner.execute import execute

    return execute(order)


def _end_with(supervisor: int) -> None:
    """Have the kernel end this process with its supervisor."""
    ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)  # it was gone before that


def _end_with_channel(channel: Channel) -> None:
    """End this process, and what it started, with its supervisor, which sends nothing more."""
    try:
        channel.receive()
    except (EOFError, OSError):
        os.killpg(0, signal.SIGKILL)


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


WATCH = "kodosumi-watch"

if __name__ == "__main__":
    main()
