"""An event of its own, stored at once."""

from uuid import uuid4

from kodosumi_prefect.events import Event
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.spooler.batch import Batch


def append_event(spooler: Spooler, fid: str, event: Event) -> None:
    """Store an event of an execution, whose row is made if there is none yet.

    Raises:
        As ``Spooler.append``.
    """
    spooler.append([Batch(fid, str(uuid4()), 1, {}, [event])])
