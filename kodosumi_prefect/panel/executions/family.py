"""Runs that belong to an execution: its subflows, what it was made like, what was made like it."""

from collections import OrderedDict
from dataclasses import dataclass, field

from kodosumi_prefect.panel.executions.headings import look
from kodosumi_prefect.panel.executions.rows import first_name
from kodosumi_prefect.stream.reader import Reader, Visible
from kodosumi_prefect.stream.rows import NamedSubflow, Rerun, StoredExecution

MOST = 50  # subflows of one execution that are told
SPAN = 100_000  # newest events looked through for them
REMEMBERED = 500  # executions whose subflows are known, so that only what is new is looked through


@dataclass(slots=True)
class _Known:
    until: int
    named: dict[str, str] = field(default_factory=dict)


class Subflows:
    """The subflow runs that events of executions name, each event looked at once."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def of(self, reader: Reader, row: StoredExecution) -> dict[str, str]:
        """Names by id, in the order in which they began."""
        known = self._known.get(row.fid)
        if known is None or known.until > row.last_seq:  # the database may have been restored
            known = _Known(max(row.last_seq - SPAN, 0))
        after = known.until
        if after < row.last_seq:
            found = await reader.rows_of(
                NamedSubflow, "subflows", fid=row.fid, after=after, until=row.last_seq, limit=MOST
            )
            named = known.named | {
                each.id: each.name or known.named.get(each.id, "") for each in found
            }
            known = _Known(row.last_seq, dict(list(named.items())[:MOST]))
        self._known[row.fid] = known
        self._known.move_to_end(row.fid)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return known.named


@dataclass(frozen=True, slots=True)
class Relative:
    """A run like this one; ``look``: its status as people read it; ``attempt``: its newest."""

    fid: str
    title: str
    look: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Reruns:
    """What an execution was made like, and what was made like it, newest first."""

    of: Relative | None
    later: list[Relative]


async def reruns(reader: Reader, row: StoredExecution, visible: Visible) -> Reruns:
    """As far as they may be seen; one that is gone or somebody else's is left out."""
    found = await reader.rows_of(Rerun, "reruns", fid=row.fid, of=row.again_of, **visible._asdict())
    of = [_relative(each) for each in found if not each.later]
    return Reruns(of[0] if of else None, [_relative(each) for each in found if each.later])


def _relative(row: Rerun) -> Relative:
    name = first_name(row.summary, row.flow_name, row.entry_point, row.fid)
    return Relative(row.fid, name, look(row.status, row.cancelled), row.attempt)
