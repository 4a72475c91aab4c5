"""The keys of contents in the storage; names that people give are in Postgres alone.

- ``objects/<fid>/<id>``: of a file of an execution. Written once, whole, and never changed.
- ``uploads/<batch>/<id>``: of what people sent that belongs to no execution yet.
"""

from uuid import uuid4

OBJECTS = "objects"
UPLOADS = "uploads"


def object_key(fid: str, upload: str | None = None) -> str:
    """A new key for content of an execution's file.

    Arguments:
        upload: the id of the upload that it is copied from; the key begins with it.
    """
    return f"{OBJECTS}/{fid}/{f'{upload}.' if upload else ''}{uuid4().hex}"


def upload_key(batch: str, id_: str) -> str:
    """The key of content that was uploaded."""
    return f"{UPLOADS}/{batch}/{id_}"
