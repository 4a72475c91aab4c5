"""How large bodies may be that the panel reads, address by address."""

import re

from starlette.datastructures import Headers
from starlette.types import Scope

from kodosumi_prefect.http import body
from kodosumi_prefect.http.limits import KIB, MIB
from kodosumi_prefect.http.multipart import is_multipart
from kodosumi_prefect.panel.files.depot import LARGEST_CHUNK
from kodosumi_prefect.panel.services import request_body
from kodosumi_prefect.panel.web.proxy import own_path
from kodosumi_prefect.spooler.panel_transport import MOST_BYTES

SIGN_IN = 16 * KIB  # bytes; a name and a password, or what an account consists of
OTHERS = MIB  # bytes; lists of executions, of sources
UNBOUNDED = 2**63
# Forms that files may be sent with; how much of them is taken is counted where they are read.
FORMS = re.compile(r"/services/[^/]+(/schedule)?|/waiting/[^/]+/[^/]+|/inputs/(-|lock)/.+")

# The longest beginning of a path counts, whole parts of it. What is open to everybody is small.
LARGEST: dict[str, int] = {
    "/login": SIGN_IN,
    "/api/login": SIGN_IN,
    "/logout": SIGN_IN,
    "/account": SIGN_IN,
    "/keys": SIGN_IN,
    "/role": SIGN_IN,
    "/users": SIGN_IN,
    "/-": request_body.LARGEST,  # what services are sent
    "/services": body.LARGEST,  # forms of services, read here
    "/lock": body.LARGEST,
    "/waiting": body.LARGEST,
    "/inputs": body.LARGEST,
    "/files": body.LARGEST,  # names of the files of a batch
    "/files/chunk": LARGEST_CHUNK + 64 * KIB,  # a chunk and what is around it
    "/run-files": UNBOUNDED,  # files of runs, counted while they are stored
    "/ingest": MOST_BYTES,  # events of a process, packed
    "/v1/traces": MOST_BYTES,  # spans
}


def largest(scope: Scope) -> int:
    """Bytes that the body of a request may have."""
    path = own_path(scope).rstrip("/")
    if FORMS.fullmatch(path) and is_multipart(Headers(scope=scope).get("content-type", "")):
        return UNBOUNDED
    while path:
        if (size := LARGEST.get(path)) is not None:
            return size
        path = path.rpartition("/")[0]
    return OTHERS
