"""What became of the questions that a stretch of events asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kodosumi_prefect.database.rows.locks import LockOutcome, LockStep
from kodosumi_prefect.events import Kind
from kodosumi_prefect.panel.html.questions import (
    answer_html,
    answered_by,
    asked_html,
    fields_of,
    lease_html,
    outcome_html,
    steps_html,
)
from kodosumi_prefect.panel.locks.people import asked_words, names_in, says_more, step_words
from kodosumi_prefect.stream.reader import Reader, StoredEvent

MOST = 1000  # answers read for one page


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Answers by the id of their lock, how each lock stands, and who was asked."""

    leases: dict[str, StoredEvent]
    rows: dict[str, LockOutcome]
    steps: dict[str, str]

    def html(self, event: StoredEvent) -> str | None:
        """A ``lock`` with its outcome; None for a ``lease`` that its ``lock`` tells of."""
        fields = fields_of(event.payload)
        lid = str(fields.get("lid") or "")
        if event.kind == Kind.LEASE:
            return None if lid in self.rows else lease_html(event.payload, event.ts, event.source)
        row, lease = self.rows.get(lid), self.leases.get(lid)
        steps = self.steps.get(lid, "")
        if row is None or row.waits:
            return asked_html(event.payload) + steps
        state = "expired" if row.state == "open" else row.state
        by = (answered_by(lease.source) if lease is not None else None) or row.answered_by
        end = row.answered or (lease.ts if lease is not None else None)
        words = outcome_html(state, by, end - row.opened if end is not None else None)
        result = fields_of(lease.payload).get("result") if lease is not None else None
        return asked_html(event.payload, words) + steps + answer_html(result, state)


async def outcomes(reader: Reader, fid: str, events: Sequence[StoredEvent]) -> Outcomes:
    """Those of the questions among ``events``, and of those which answers among them are to."""
    asked = [event for event in events if event.kind in (Kind.LOCK, Kind.LEASE)]
    lids = list({lid for e in asked if (lid := str(fields_of(e.payload).get("lid") or ""))})
    if not lids:
        return Outcomes({}, {}, {})
    rows = await reader.rows_of(LockOutcome, "outcomes_of_locks", fid=fid, lids=lids)
    after = min(event.seq for event in asked) - 1
    batch = await reader.page(fid, after, kinds=[Kind.LEASE], limit=MOST)
    leases: dict[str, StoredEvent] = {}
    for lease in batch.events:
        leases.setdefault(str(fields_of(lease.payload).get("lid") or ""), lease)
    known = {row.lid: row for row in rows}
    return Outcomes(leases, known, await _steps(reader, fid, known))


async def _steps(reader: Reader, fid: str, locks: Mapping[str, LockOutcome]) -> dict[str, str]:
    """Who was asked, reminded, handed it on and answered, by lock; nothing if that says no more."""
    done: dict[str, list[LockStep]] = {}
    for step in await reader.rows_of(LockStep, "lock_steps", fids=[fid], lids=list(locks)):
        done.setdefault(step.lid, []).append(step)
    names = await names_in(reader, (lock.asked for lock in locks.values()))
    return {
        lid: steps_html(
            asked_words(lock.asked, names) if lock.asked and lock.waits else None,
            [(step_words(step), step.at) for step in steps],
        )
        for lid, lock in locks.items()
        if says_more(steps := done.get(lid, [])) or (lock.asked and lock.waits)
    }
