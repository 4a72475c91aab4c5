"""Flows that never heard of us: plain Prefect, nothing imported but that."""

import sys
import time

from prefect import flow, get_run_logger, tags, task
from prefect.runtime import flow_run


@task
def double(number: int) -> int:
    get_run_logger().info("doubling %d", number)
    return 2 * number


@flow(log_prints=True)
def inner(number: int) -> int:
    print(f"inside with {number}")
    return double(number)


@flow(log_prints=True)
def plain(lines: int, fails: bool = False, seconds: float = 0.0) -> int:
    print("begun", flow_run.id, file=sys.stderr, flush=True)
    for number in range(lines):
        print(f"line {number}")
    found = double(1) + inner(3)
    time.sleep(seconds)
    if fails:
        raise ValueError("no luck today")
    return found


if __name__ == "__main__":
    tag, lines, fails, seconds = sys.argv[1:]
    with tags(tag):
        state = plain(int(lines), fails == "fails", float(seconds), return_state=True)
    print(state.state_details.flow_run_id)
