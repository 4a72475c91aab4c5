"""How runs wait for people."""

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
