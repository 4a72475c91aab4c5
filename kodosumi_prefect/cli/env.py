"""``env``: what another terminal needs to talk to a running stack."""

import os
import shlex
from pathlib import Path

from kodosumi_prefect.addresses import prefect_access
from kodosumi_prefect.cli.output import CommandError, console
from kodosumi_prefect.cli.running import DATA_DIR, hint
from kodosumi_prefect.settings import Settings, get_settings
from kodosumi_prefect.stack.lock import stack_process


def env(*, data_dir: Path | None = None) -> None:
    """Print what another terminal needs: `eval "$(kodosumi-prefect env)"`, as `up` shows it.

    Prefect's own commands and ours find the running stack after that. Among it is the password
    of its Prefect server, which Prefect's pages ask for, too.

    Parameters
    ----------
    data_dir
        Folder of the stack, if not the configured one.
    """
    settings = get_settings()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir.expanduser().absolute()})
    if stack_process(settings.data_dir) is None:
        raise CommandError(
            f"no stack runs for {settings.data_dir}; start `kodosumi-prefect up`, or name its "
            f"folder by --data-dir{hint(settings)}"
        )
    access = prefect_access(settings, own_first=True)
    if access is None:
        raise CommandError(
            f"the stack of {settings.data_dir} uses a Prefect that is not configured here, or its "
            "own is not ready yet; set PREFECT_API_URL as for `up`, or try again"
        )
    variables = access.environment()
    if not _is_default(settings) or DATA_DIR in os.environ:
        variables[DATA_DIR] = str(settings.data_dir)
    for name, value in variables.items():
        console.out(f"export {name}={shlex.quote(value)}", highlight=False)


def command_line(settings: Settings) -> str:
    """The command for the stack of these settings, as typed in whatever terminal."""
    words = ["kodosumi-prefect", "env"]
    if not _is_default(settings):
        words += ["--data-dir", str(settings.data_dir)]
    return shlex.join(words)


def _is_default(settings: Settings) -> bool:
    default = Path(Settings.model_fields["data_dir"].default)
    return settings.data_dir == default.expanduser().absolute()
