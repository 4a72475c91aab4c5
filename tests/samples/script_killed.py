"""Says that it emitted something a second ago, and waits to be killed."""

import signal
import time

from kodosumi_prefect import Tracer, flow


@flow
def killed(tracer: Tracer) -> None:
    for number in range(100):
        tracer.debug(f"line {number}")
    time.sleep(1)
    print("fid", tracer.fid)
    signal.pause()


if __name__ == "__main__":
    killed()
