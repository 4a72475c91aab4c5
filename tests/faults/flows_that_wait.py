"""A flow that asks and that is held up, while a file is there, at steps of suspending and resuming.

Tests copy this file into a folder of their own.
"""

import os
import time
from pathlib import Path
from typing import Any

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.suspension import ending

FOLDER = Path(__file__).parent


def wait_at(stage: str) -> None:
    """Until there is no file ``hold-STAGE`` beside this one; ``at-STAGE`` says that it waits."""
    hold = FOLDER / f"hold-{stage}"
    while hold.exists():
        (FOLDER / f"at-{stage}").write_text(str(os.getpid()))
        time.sleep(0.02)


def ended(flow: Any, flow_run: Any, state: Any) -> None:
    with Path(flow_run.parameters["notes"]).open("a") as file:
        file.write(f"hook {state.name}\n")


def held_up(step: str, stage: str) -> None:
    """Have this process wait in front of a step of suspending."""
    call = getattr(ending, step)

    def later(*arguments: Any) -> Any:
        wait_at(stage)
        return call(*arguments)

    setattr(ending, step, later)


wait_at("loading")
held_up("_set", "suspending")  # Postgres knows, and Prefect does not
held_up("request_suspension", "suspended")  # Prefect knows, too, and the process is there


@flow(retries=1, on_failure=[ended], on_crashed=[ended])
def asks(notes: str, tracer: Tracer) -> Any:
    with Path(notes).open("a") as file:
        file.write(f"pid flow {os.getpid()}\n")
    wait_at("beginning")
    answered = tracer.lock_sync("approve", suspend=True)
    with Path(notes).open("a") as file:
        file.write(f"answered {answered['n']}\n")
    return answered["n"]
