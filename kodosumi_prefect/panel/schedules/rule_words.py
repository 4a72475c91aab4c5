"""When schedules fire, in plain words."""

from functools import lru_cache

from cron_descriptor import Options, get_description
from cron_descriptor.Exception import (
    FormatException,
    MissingFieldException,
    WrongArgumentException,
)

# What cron-descriptor does not know, though Prefect takes it.
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@lru_cache(maxsize=1024)
def cron_words(cron: str) -> str | None:
    """A cron such as ``0 7 * * 1`` as "At 07:00, only on Monday"; None if nobody can say."""
    options = Options()
    options.use_24hour_time_format = True
    try:
        return str(get_description(_NAMED.get(cron.strip().lower(), cron), options))
    except (FormatException, MissingFieldException, WrongArgumentException, ValueError, IndexError):
        return None


def interval_words(seconds: float) -> str:
    """An interval in its units: "Every hour", "Every 2 days 3 hours"."""
    parts = []
    rest = round(seconds)
    for size, unit in _UNITS:
        number, rest = divmod(rest, size)
        if number:
            parts.append((number, unit))
    if not parts:
        return f"Every {seconds:g} seconds"
    if len(parts) == 1 and parts[0][0] == 1:
        return f"Every {parts[0][1]}"
    return "Every " + " ".join(f"{n} {unit}{'s' if n != 1 else ''}" for n, unit in parts)
