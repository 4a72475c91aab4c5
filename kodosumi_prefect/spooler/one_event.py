"""Events of their own, stored at once."""

from uuid import uuid4

from kodosumi_prefect.events import Event
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch


def append_events(spooler: Spooler, fid: str, *events: Event) -> None:
    """Store events of an execution together; its row is made if there is none yet.

    Raises:
        As ``Spooler.append``.
    """
    spooler.append([Batch(fid, str(uuid4()), 1, {}, list(events))])
