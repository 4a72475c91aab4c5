"""Says one thing in each way that is captured."""

import logging
import sys

from prefect import get_run_logger

from kodosumi_prefect import flow


def say() -> None:
    print("by-print")
    print("by-stderr", file=sys.stderr)
    sys.stdout.write("by-write\n")
    logging.getLogger("author").warning("by-logging")
    logging.getLogger("author").debug("by-nothing")
    get_run_logger().info("by-run-logger")


@flow
def talk() -> None:
    say()


@flow(log_prints=True)
def talk_logged() -> None:
    say()


if __name__ == "__main__":
    print("outside-before")
    flow = talk_logged if sys.argv[1:] else talk
    print("fid", flow(return_state=True).state_details.flow_run_id)
    print("outside-after")
    logging.getLogger("author").warning("outside-logging")
