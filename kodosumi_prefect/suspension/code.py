"""Whether the code of a run changed while it was suspended, and what follows.

What counts are the files of the modules that the leg before had imported, but for installed
packages: a clone of the code has another folder, and the same names in it.
"""

import hashlib
import json
import logging
import re
import sys
import sysconfig
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from kodosumi_prefect.error import KodosumiError
from kodosumi_prefect.settings import Settings, get_settings
from kodosumi_prefect.suspension.keeping import KeptAwayError, keeper
from kodosumi_prefect.suspension.leg import root_run, suspended_before

PACKAGE = __name__.partition(".")[0]
LOADED_BY_PREFECT = "__prefect_loader_"  # begins names of modules that it loads from files
EDITED = "edited while it ran"  # in place of a digest: it is not known what was loaded
SHOWN = 5  # files that are named

_SUSPEND = re.compile(rb"\bsuspend\b")
_INSTALLED = tuple(
    Path(path) for path in (sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))
)
_PACKAGES = frozenset({"site-packages", "dist-packages"})

logger = logging.getLogger(__name__)


class ChangedCodeError(KodosumiError):
    """The run is not to go on with other code than it was suspended with."""


def code_now() -> dict[str, str]:
    """Digests of the files that the calling run's code is in, by the names of their modules."""
    context = FlowRunContext.get()
    began = context.start_time.timestamp() if context is not None else None
    digests = {}
    for name, file in _files().items():
        try:
            edited = began is not None and file.stat().st_mtime > began
            digests[name] = EDITED if edited else _digest(file)
        except OSError:
            digests[name] = EDITED  # it is gone
    return digests


def names_suspending() -> bool:
    """Whether a file of the code that is imported has the word ``suspend``, as of a lock."""
    try:
        return any(_SUSPEND.search(file.read_bytes()) for file in _files().values())
    except OSError:
        return True  # it is gone, so nobody knows


def heed_changed_code() -> None:
    """Say in a later leg that its code is another one than before; refuse it if so set.

    Raises:
        ChangedCodeError: ``suspended_code`` is ``refuse``, and it is, or nobody can know.
    """
    if not suspended_before() or (run := root_run()) is None:
        return
    settings = get_settings()
    try:
        changed = _changed(str(run.id), settings)
    except KeptAwayError as exc:
        if settings.suspended_code == "run":
            logger.warning("whether the code of execution %s changed is not known: %s", run.id, exc)
            return
        _never_retry(run)
        raise ChangedCodeError(
            f"whether the code changed while the run was suspended is not known ({exc}), and "
            "suspended_code is refuse: the run ends here; start it anew"
        ) from exc
    if not changed:
        return
    names = ", ".join(changed[:SHOWN])
    names += f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    if settings.suspended_code == "run":
        get_run_logger().warning(
            "The code changed while the run was suspended (%s): it goes on with the code that is "
            "there now. What is done is not done again.",
            names,
        )
        return
    _never_retry(run)
    raise ChangedCodeError(
        f"the code changed while the run was suspended ({names}), and suspended_code is refuse: "
        "the run ends here; start it anew"
    )


def _changed(fid: str, settings: Settings) -> list[str]:
    """The names of modules whose files are others than in the leg before."""
    code = keeper(settings).code_before(fid)
    before: dict[str, str] = json.loads(code) if code else {}
    files = _files()
    return sorted(name for name, digest in before.items() if _now(name, files) != digest)


def _now(name: str, files: dict[str, Path]) -> str | None:
    file = files.get(name) or _found(name)
    try:
        return None if file is None else _digest(file)
    except OSError:
        return None


def _found(name: str) -> Path | None:
    """The file of a module that is not imported yet, without importing anything."""
    path: list[str] | None = None
    origin = None
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), path)
        if spec is None:
            return None
        origin, path = spec.origin, list(spec.submodule_search_locations or ())
    return Path(origin) if origin else None


def _files() -> dict[str, Path]:
    files = {}
    for name, module in sys.modules.copy().items():
        if (file := _file_of(name, module)) is not None:
            key = file.name if name.startswith(LOADED_BY_PREFECT) else name
            files[key] = file
    return files


def _file_of(name: str, module: ModuleType | None) -> Path | None:
    """The source file of a module that is the user's."""
    path = getattr(module, "__file__", None)
    if name.partition(".")[0] == PACKAGE or not isinstance(path, str) or not path.endswith(".py"):
        return None
    file = Path(path)
    installed = not _PACKAGES.isdisjoint(file.parts)
    return None if installed or any(map(file.is_relative_to, _INSTALLED)) else file


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:32]


def _never_retry(run: FlowRun) -> None:
    """Prefect's retries would do all of it again, also what is done."""
    policy = run.empirical_policy
    if not policy.retries:
        return
    policy.retries = 0
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, empirical_policy=policy)
    except (httpx.HTTPError, PrefectException, OSError) as exc:
        logger.warning("flow run %s may be retried, as Prefect does not answer: %s", run.id, exc)
