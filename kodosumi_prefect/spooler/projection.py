"""What events mean for their execution's row: status, attempt, result, error, progress, locks."""

from kodosumi_prefect.error_line import line_of
from kodosumi_prefect.events import TERMINAL, Event, Kind, State, Status
from kodosumi_prefect.spooler.batch import Fields
from kodosumi_prefect.spooler.open_locks import Answer, OpenLocks, lock_fields, new_lock
from kodosumi_prefect.vocabulary import AWAITING_INPUT, LOCKS_STATUS_KEY

CLOCK_GRAIN = 1e-6  # seconds; Postgres keeps microseconds

COLUMNS = (
    *("state_type", "state_name", "state_ts", "inputs", "final", "final_attempt"),
    *("error", "progress", "started_at", "ended_at", "ended_seq"),
)
_WORDS = frozenset(Status)
_SCHEDULED = "SCHEDULED"
_PENDING = "PENDING"
_RETRIED = ("AwaitingRetry", "Retrying")  # names of states that another attempt follows
_RUNNING = "RUNNING"
_PAUSED = "PAUSED"  # the type of the states in which Prefect itself waits for a person
LOCKING = frozenset({Kind.STATUS, Kind.LOCK, Kind.LEASE})  # what may open or end locks
PROJECTED = LOCKING | {Kind.INPUTS, Kind.FINAL, Kind.ERROR, Kind.PROGRESS, Kind.UPLOAD, Kind.SPAN}


class Projection:
    """Follows one execution through the events of a batch.

    The rules: a state is projected only if its timestamp is not older than the last one's, so
    status never goes backwards; a terminal status closes the stream; a live state after it
    reopens the execution and clears result, error and progress, the last as any further attempt
    does; what earlier attempts make of these changes nothing.

    While a lock is open, an execution that would be running is ``awaiting``. The end voids its
    locks, and so does a new attempt with those of earlier ones.

    What Prefect says of a run that waits at its locks, and goes on, is followed and not stored: the
    locks tell the same, and first.

    Arguments:
        status, state_ts, attempt, ended_seq, state_type: as the row has them; ``state_ts`` in
            epoch seconds.
        locks: those that are open.
        state_name: as the row has it.
    """

    def __init__(
        self,
        status: str,
        state_ts: float | None,
        attempt: int,
        ended_seq: int | None,
        state_type: str | None = None,
        locks: OpenLocks | None = None,
        state_name: str | None = None,
    ) -> None:
        self._streamed_status = status
        by_lock = status == Status.AWAITING and (
            state_type != _PAUSED or state_name == AWAITING_INPUT
        )
        self._state = state_type, state_name
        self.status: str = Status.RUNNING if by_lock else status  # but for locks
        self.locks = locks if locks is not None else OpenLocks()
        self.state_ts = state_ts
        self.attempt = attempt
        self.ended_seq = ended_seq
        self.changed = False
        self.visible = False
        self.reopened = False
        self.uploads: list[Event] = []  # what changes the files, in their order
        self.spans: list[tuple[int, Fields]] = []  # what says something of spans, with its seq
        self._set: dict[str, object] = {}

    def take(self, event: Event, seq: int) -> bool:
        """Follow ``event``, which would get ``seq``; False if it is superseded and not stored."""
        match event.kind:
            case Kind.STATUS if event.dedupe == LOCKS_STATUS_KEY:
                self._streamed_status = event.payload
            case Kind.STATUS:
                return self._status(event, seq)
            case Kind.LOCK:
                self._lock(event)
            case Kind.LEASE:
                return self._lease(event)
            case Kind.UPLOAD:
                self.uploads.append(event)
                self._put()
                self.visible = True
            case Kind.SPAN:
                self.spans.append((seq, event))
            case Kind.PROGRESS if not 0 < event.attempt < self.attempt:
                self._put(progress=event.payload)
            case Kind.INPUTS if "inputs" not in self._set:
                self._put(inputs=event.payload)
                self.visible = True
            case Kind.FINAL if event.attempt >= self.attempt:
                self._put(final=event.payload, final_attempt=event.attempt)
                self.visible = True
            case Kind.ERROR if event.attempt >= self.attempt:
                self._put(error=event.note or line_of(event.payload))
                self.visible = True
        return True

    def answer(self, lid: str, answer: Answer) -> None:
        """Follow a human's answer, which comes in a transaction of its own."""
        self.locks.answer(lid, answer)
        self._put()
        self.visible = True

    @property
    def visible_status(self) -> str:
        """The status that people see: a run with an open lock awaits somebody."""
        waits = len(self.locks) and self.status in (Status.STARTING, Status.RUNNING)
        return Status.AWAITING if waits else self.status

    def unsaid(self, event: Event) -> Event | None:
        """The status event that has to follow ``event``, for readers of the stream only."""
        awaiting = self._streamed_status == Status.AWAITING
        if self.ended_seq is not None or awaiting == (self.visible_status == Status.AWAITING):
            return None
        self._streamed_status = self.visible_status
        return Event(
            event.ts,
            Kind.STATUS,
            self._streamed_status,
            event.attempt,
            _OF_LOCKS,
            dedupe=LOCKS_STATUS_KEY,
        )

    def parameters(self) -> dict[str, object]:
        """Values for the query ``project``; None leaves a column as it is."""
        return {name: self._set.get(name) for name in COLUMNS} | {
            "status": self.visible_status,
            "open_locks": len(self.locks),
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
            self._streamed_status = event.payload
            # Only the opening of an execution has a status without a state.
            if self.state_ts is None and self.status == Status.STARTING:
                self._put()
                self.status = event.payload
                self.visible = True
            return True
        if self.state_ts is not None and state.ts < self.state_ts - CLOCK_GRAIN:
            return False
        same_attempt = event.attempt <= self.attempt
        if self.ended_seq is None and same_attempt and self._goes_on(event.payload, state):
            self._follow(Status.RUNNING, state)
            return False
        self._streamed_status = event.payload
        was_over = self.ended_seq is not None
        is_over = event.payload in TERMINAL
        if was_over and not is_over:
            self._reopen()
        if 0 < self.attempt < event.attempt:
            self._set.pop("progress", None)
        self.attempt = max(self.attempt, event.attempt)
        self._follow(event.payload, state)
        self.locks.void(None if is_over else self.attempt)
        if is_over:
            self.ended_seq = seq
            self._put(ended_seq=seq, ended_at=state.ts)
        elif event.payload == Status.RUNNING:
            self._put(started_at=state.ts)
        return True

    def _goes_on(self, status: str, state: State) -> bool:
        """Whether a state is of a run that waits at its locks, or goes on, in the same attempt."""
        if self.status != Status.RUNNING:
            return False
        if state.type == _PAUSED:
            return state.name == AWAITING_INPUT
        of_type, name = self._state
        # Nothing else is scheduled or pending while it runs, but for what is retried.
        waits = of_type in (_SCHEDULED, _PENDING) and name not in _RETRIED
        if waits or name == AWAITING_INPUT:
            return status in (Status.STARTING, Status.RUNNING)
        return of_type == state.type == _RUNNING

    def _lock(self, event: Event) -> None:
        lock = new_lock(event.payload, event.ts, event.attempt)
        if lock is None:
            return
        if self.ended_seq is not None or event.attempt < self.attempt:
            lock = lock._replace(state="void")
        self.locks.open(lock)
        self._put()
        self.visible = True

    def _lease(self, event: Event) -> bool:
        """Follow the run's own report that it no longer waits. False if it is too late."""
        fields = lock_fields(event.payload)
        state = fields.get("state")
        if state != "expired" and state != "void":
            return True
        if not self.locks.end(fields["lid"], state):
            return False
        self._put()
        self.visible = True
        return True

    def _follow(self, status: str, state: State) -> None:
        self.status = status
        self.state_ts = state.ts
        self._state = state.type, state.name
        self._put(state_type=state.type, state_name=state.name, state_ts=state.ts)
        self.visible = True

    def _reopen(self) -> None:
        self.reopened = True
        self.ended_seq = None
        for name in ("final", "final_attempt", "error", "progress", "ended_at", "ended_seq"):
            self._set.pop(name, None)


_OF_LOCKS = '{"by":"locks"}'  # the source of such a status
