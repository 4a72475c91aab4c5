"""The panel from a program: launch, follow, answer, files.

It needs neither Prefect nor Ray nor a database, only the panel's address and an API key.

Example:
    ```python
    from kodosumi_prefect.client import Client

    with Client("https://panel.example.com", key="…") as client:
        fid = client.launch("/-/127.0.0.1/8001/-/", {"topic": "tides"})
        for event in client.follow(fid):
            print(event.kind, event.value)
        print(client.result(fid))
    ```
"""

from kodosumi_prefect.client.async_client import AsyncClient
from kodosumi_prefect.client.errors import (
    AnsweredError,
    DamagedError,
    FieldsError,
    RestoredError,
    RunError,
    UnreachableError,
)
from kodosumi_prefect.client.sync_client import Client
from kodosumi_prefect.client.transfer import LocalFile
from kodosumi_prefect.client.values import (
    Change,
    Deletion,
    Endpoint,
    Event,
    Execution,
    ExecutionChange,
    Listed,
    Lock,
    LockChange,
    StoredFile,
)
from kodosumi_prefect.refusals import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    RefusedError,
    TooManyError,
    UnavailableError,
    UnidentifiedError,
)

__all__ = [
    "AnsweredError",
    "AsyncClient",
    "Change",
    "Client",
    "ConflictError",
    "DamagedError",
    "Deletion",
    "Endpoint",
    "Event",
    "Execution",
    "ExecutionChange",
    "FieldsError",
    "ForbiddenError",
    "InvalidError",
    "Listed",
    "LocalFile",
    "Lock",
    "LockChange",
    "NotFoundError",
    "RefusedError",
    "RestoredError",
    "RunError",
    "StoredFile",
    "TooManyError",
    "UnavailableError",
    "UnidentifiedError",
    "UnreachableError",
]
