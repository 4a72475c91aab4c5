"""What child processes of a flow do; importable, as some kinds of them have to import it."""

import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import kodosumi_prefect

CHILDREN = 3
TASKS = 6


def speak(name: str) -> None:
    """Prints, logs and traces, and ends at once."""
    print(f"{name} prints")
    logging.getLogger("author").warning(f"{name} logs")
    kodosumi_prefect.tracer.debug(f"{name} traces")
    print(f"{name} ends without newline", end="")


def work(name: str) -> str:
    print(f"{name} works")
    return name


def talks_in_children(method: str) -> list[str]:
    """Processes, a pool that is ended by force, and an executor; what each does."""
    kind: Any = multiprocessing.get_context(method)
    for number in range(CHILDREN):
        child = kind.Process(target=speak, args=(f"child {number}",))
        child.start()
        child.join()
    with kind.Pool(2) as pool:
        done = pool.map(work, [f"pool {n}" for n in range(TASKS)], chunksize=1)
    with ProcessPoolExecutor(2, mp_context=kind) as executor:
        done += executor.map(work, [f"executor {n}" for n in range(TASKS)])
    return done


SAID_IN_CHILDREN = sorted(
    [
        f"child {n} {does}"
        for n in range(CHILDREN)
        for does in ("prints", "logs", "traces", "ends without newline")
    ]
    + [f"{kind} {n} works" for kind in ("pool", "executor") for n in range(TASKS)]
)
