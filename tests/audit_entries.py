"""What the audit of a panel holds."""

from typing import Any

from tests.panel.panel_runs import Stand, fetch, until

TABLE = "SELECT * FROM kodosumi.audit"


def entries(stand: Stand, after: int = 0, **columns: Any) -> list[dict[str, Any]]:
    """Entries with these values, oldest first, behind the id ``after``."""
    found = fetch(stand.database, f"{TABLE} WHERE id > {after} ORDER BY id")
    return [row for row in found if all(row[name] == value for name, value in columns.items())]


def last_id(stand: Stand) -> int:
    """The id of the newest entry."""
    (row,) = fetch(stand.database, "SELECT coalesce(max(id), 0) AS id FROM kodosumi.audit")
    return int(row["id"])


def entry(stand: Stand, after: int = 0, **columns: Any) -> dict[str, Any]:
    """The one entry with these values, once it is there."""
    found = until(lambda: entries(stand, after, **columns))
    assert len(found) == 1, found
    return dict(found[0])
