"""How runs wait for people."""

from typing import Literal

from pydantic import BaseModel, Field


class WaitingFields(BaseModel):
    """How runs wait for people."""

    lock_suspend_after: float = Field(
        default=0.0,
        description=(
            "Seconds that a run of a deployment waits at `tracer.lock` in its process. After that "
            "the run is suspended: its process and its Runner end, and the answer, or the "
            "deadline, has it go on from the beginning of the flow, with the answers that were "
            "given. 0 keeps every process, since code outside of tasks runs again: set it once "
            "your flows are made for that; `suspend=` of a lock has precedence."
        ),
        ge=0,
    )
    suspended_code: Literal["run", "refuse"] = Field(
        default="run",
        description=(
            "What becomes of a suspended run whose code changed until it goes on. `run`: it goes "
            "on with the code that is there then, and its log says so. `refuse`: it fails with a "
            "line that says so, and is not retried. What counts are the files of the modules that "
            "it had imported, but for installed packages."
        ),
    )
