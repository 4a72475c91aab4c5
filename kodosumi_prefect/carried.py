"""What a process on another node needs of this process's settings."""

from typing import Any

from kodosumi_prefect.keys import accepted_run_keys, run_key
from kodosumi_prefect.settings import Settings, database_url

OURS_ALONE = {"secret_key", "secret_keys_accepted", "admin_password"}  # of the panel, never of runs


def carried(settings: Settings) -> dict[str, Any]:
    """The settings for processes that run flows; secrets that they need are included.

    Travels as a call argument only: Ray's state API shows ``runtime_env`` to everybody.
    """
    values = settings.model_dump(mode="json", context={"include_secrets": True}, exclude=OURS_ALONE)
    if settings.database_url is None:
        values["database_url"] = database_url(settings)
    accepted = ",".join(accepted_run_keys(settings)) or None
    return values | {"run_key": run_key(settings), "run_keys_accepted": accepted}
