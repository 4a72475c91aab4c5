"""Runs while the database is away, and says how long it took."""

import time

from kodosumi_prefect import Tracer, flow


@flow
def away(tracer: Tracer) -> str:
    for number in range(50):
        tracer.debug(f"line {number}")
    print("printed")
    return "own result"


if __name__ == "__main__":
    began = time.monotonic()
    state = away(return_state=True)
    print("fid", state.state_details.flow_run_id)
    print("took", time.monotonic() - began)
    print("result", state.result())
