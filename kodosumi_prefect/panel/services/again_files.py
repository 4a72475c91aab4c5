"""Files of an earlier run that go along when it is run again by its form."""

import json
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from kodosumi_prefect.launch.sent_files import copied
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.web.state import State
from kodosumi_prefect.refusals import NotFoundError

Row = dict[str, Any]


async def with_copies(panel: State, user: User, posted: Row, key: str) -> Row:
    """What a form posted, in which files of an earlier run are copies that were uploaded.

    Arguments:
        key: of the form; the same one makes the same copies.

    Raises:
        RefusedError: there is no such run or file, or they cannot be copied now.
    """
    return {
        name: await _with_copies(panel, user, name, value, key) for name, value in posted.items()
    }


async def _with_copies(panel: State, user: User, name: str, value: Any, key: str) -> Any:
    if not isinstance(value, str) or '"again"' not in value:
        return value
    try:
        content = json.loads(value)
        fid, names = (
            str(UUID(content["again"]["fid"])),
            [str(each) for each in content["again"]["names"]],
        )
        items, batch = dict(content.get("items") or {}), content.get("batchId")
        batch = None if batch is None else str(UUID(batch))
    except (ValueError, TypeError, KeyError, AttributeError):
        return value  # somebody's own making, or no files at all; the form says what is wrong
    if await panel.reader.status(fid, user.sees(panel.settings)) is None:
        raise NotFoundError(f"there is no execution {fid}, whose files should go along")
    own = batch or str(uuid5(NAMESPACE_OID, json.dumps([user.id, key, name, fid])))
    owner = Owner(user.id, user.name)
    files = await copied(fid, own, owner, panel.settings, names)
    if files is None or len(files.names) < len(names):
        raise NotFoundError(
            f"execution {fid} no longer has all of its files; remove those that are gone"
        )
    items |= {id_: {"filename": path, "totalChunks": 0} for id_, path in files.names.items()}
    return json.dumps({"batchId": own, "items": items})
