"""What events mean for their execution's row: status, attempt, result, error, progress."""

from kodosumi_prefect.events import TERMINAL, Event, Kind, State, Status

CLOCK_GRAIN = 1e-6  # seconds; Postgres keeps microseconds

COLUMNS = (
    *("status", "state_type", "state_name", "state_ts", "inputs", "final", "final_attempt"),
    *("error", "progress", "started_at", "ended_at", "ended_seq"),
)
_WORDS = frozenset(Status)
PROJECTED = frozenset({Kind.STATUS, Kind.INPUTS, Kind.FINAL, Kind.ERROR, Kind.PROGRESS})


class Projection:
    """Follows one execution through the events of a batch.

    The rules: a state is projected only if its timestamp is not older than the last one's, so
    status never goes backwards; a terminal status closes the stream; a live state after it
    reopens the execution and clears result and error; results and errors of an earlier attempt
    change nothing.

    Arguments:
        status, state_ts, attempt, ended_seq: as the row has them; ``state_ts`` in epoch seconds.
    """

    def __init__(
        self, status: str, state_ts: float | None, attempt: int, ended_seq: int | None
    ) -> None:
        self.status = status
        self.state_ts = state_ts
        self.attempt = attempt
        self.ended_seq = ended_seq
        self.changed = False
        self.visible = False
        self.reopened = False
        self._set: dict[str, object] = {}

    def take(self, event: Event, seq: int) -> bool:
        """Follow ``event``, which would get ``seq``; False if it is superseded and not stored."""
        match event.kind:
            case Kind.STATUS:
                return self._status(event, seq)
            case Kind.PROGRESS:
                self._put(progress=event.payload)
            case Kind.INPUTS if "inputs" not in self._set:
                self._put(inputs=event.payload)
                self.visible = True
            case Kind.FINAL if event.attempt >= self.attempt:
                self._put(final=event.payload, final_attempt=event.attempt)
                self.visible = True
            case Kind.ERROR if event.attempt >= self.attempt:
                self._put(error=event.note or last_line(event.payload))
                self.visible = True
        return True

    def parameters(self) -> dict[str, object]:
        """Values for the query ``project``; None leaves a column as it is."""
        return {name: self._set.get(name) for name in COLUMNS} | {
            "attempt": self.attempt,
            "reopened": self.reopened,
            "visible": self.visible,
        }

    def _put(self, **values: object) -> None:
        self._set.update(values)
        self.changed = True

    def _status(self, event: Event, seq: int) -> bool:
        state = event.state
        if event.payload not in _WORDS:
            return True
        if state is None:
            # Only the opening of an execution says a status without a state.
            if self.state_ts is None and self.status == Status.STARTING:
                self._put(status=event.payload)
                self.visible = True
            return True
        if self.state_ts is not None and state.ts < self.state_ts - CLOCK_GRAIN:
            return False
        was_over = self.ended_seq is not None
        is_over = event.payload in TERMINAL
        if was_over and not is_over:
            self._reopen()
        self.attempt = max(self.attempt, event.attempt)
        self._follow(event.payload, state)
        if is_over:
            self.ended_seq = seq
            self._put(ended_seq=seq, ended_at=state.ts)
        elif event.payload == Status.RUNNING:
            self._put(started_at=state.ts)
        return True

    def _follow(self, status: str, state: State) -> None:
        self.status = status
        self.state_ts = state.ts
        self._put(status=status, state_type=state.type, state_name=state.name, state_ts=state.ts)
        self.visible = True

    def _reopen(self) -> None:
        self.reopened = True
        self.ended_seq = None
        for name in ("final", "final_attempt", "error", "ended_at", "ended_seq"):
            self._set.pop(name, None)


def last_line(text: str) -> str:
    """The last line that says something, such as a traceback's message."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
