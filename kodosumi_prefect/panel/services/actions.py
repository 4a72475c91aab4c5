"""What operators do to the sources of endpoints, by JSON or on a page."""

from collections.abc import Sequence

from kodosumi_prefect.panel.audit.entry import Entry, Target, public_url
from kodosumi_prefect.panel.audit.journal import Journal
from kodosumi_prefect.panel.audit.recorded_actions import Action, Outcome
from kodosumi_prefect.panel.services.register.register import Added, Refreshed
from kodosumi_prefect.panel.web.state import State


async def register(panel: State, urls: Sequence[str], journal: Journal) -> Added:
    """Register sources and read them; the endpoints that they name, and what is wrong."""
    entries = _record(journal, Action.SOURCE_REGISTER, urls)
    added = await panel.register.add(urls)
    for url, entry in zip(urls, entries, strict=True):
        is_there = url not in added.failed or url in added.kept
        entry.outcome = Outcome.OK if is_there else Outcome.REFUSED
    return added


async def unregister(panel: State, urls: Sequence[str], journal: Journal) -> list[str]:
    """Remove sources with their endpoints; the URLs of those that were known.

    Raises:
        OwnSourceError, LaunchError: see ``Register.remove``.
    """
    _record(journal, Action.SOURCE_UNREGISTER, urls)
    return await panel.register.remove(urls)


async def refresh(panel: State, urls: Sequence[str] | None, journal: Journal) -> Refreshed:
    """Read sources now.

    Arguments:
        urls: of those that are known; None for all.
    """
    _record(journal, Action.SOURCE_REFRESH, [""] if urls is None else urls)
    return await panel.register.refresh(urls)


def _record(journal: Journal, action: Action, urls: Sequence[str]) -> list[Entry]:
    return [journal.record(action, Target("source", public_url(url))) for url in urls]
