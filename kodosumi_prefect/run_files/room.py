"""How many files, and of how many bytes, a run may still leave."""

import logging
from typing import NamedTuple

from kodosumi_prefect.database.rows.files import FileTotals
from kodosumi_prefect.files.limits import check_execution, check_owner, check_size
from kodosumi_prefect.run_files.places import FilePlace, FilesAwayError
from kodosumi_prefect.settings import Settings

logger = logging.getLogger(__name__)


class _Taken(NamedTuple):
    """What there was at the first look, and what was left since."""

    totals: FileTotals
    of_owner: int | None


class Room:
    """What the limits leave; looked up once, then counted here.

    What other processes of the run leave meanwhile is not seen; nor what was there before, if
    Postgres is away at the first look.
    """

    def __init__(self, place: FilePlace, settings: Settings) -> None:
        self._place = place
        self._settings = settings
        self._taken: _Taken | None = None

    def require(self, files: int, size: int) -> None:
        """Raise FileLimitError if so many more files, of so many bytes in all, do not fit."""
        if files == 1:
            check_size(size, self._settings)
        taken = self._looked_up()
        check_execution(files, size, taken.totals, self._settings)
        check_owner(size, taken.of_owner, self._settings)

    def take(self, size: int) -> None:
        """Count a file of so many bytes."""
        totals, of_owner = self._looked_up()
        self._taken = _Taken(
            FileTotals(totals.files + 1, totals.bytes + size),
            None if of_owner is None else of_owner + size,
        )

    def _looked_up(self) -> _Taken:
        if self._taken is None:
            try:
                limited = self._settings.owner_file_bytes is not None
                of_owner = self._place.owner_bytes() if limited else None
                self._taken = _Taken(self._place.totals(), of_owner)
            except FilesAwayError as exc:
                # A run leaves files while Postgres is away, as it leaves events.
                logger.warning("the limits of a run's files count from nothing now: %s", exc)
                self._taken = _Taken(FileTotals(0, 0), None)
        return self._taken
