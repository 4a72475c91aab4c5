"""The files of a run through the panel, for processes that reach neither storage nor database."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote

import httpx

from kodosumi_prefect.database.rows.files import FileTotals, ListedFile
from kodosumi_prefect.files.limits import FileLimitError
from kodosumi_prefect.files.names import Direction, comparable
from kodosumi_prefect.files.storage import PIECE
from kodosumi_prefect.files.tokens import TOKEN_HEADER
from kodosumi_prefect.run_files.places import PAGE, FilesAwayError, NewContent

CONNECT = 10.0  # seconds for a connection to the panel
ANSWER = 120.0  # seconds for the next bytes of its answer


class PanelPlace:
    """The panel's routes for processes of runs.

    Arguments:
        url: where the panel is.
        token: of the execution, see ``files.tokens``.
    """

    def __init__(self, fid: str, url: str, token: str) -> None:
        self._fid = fid
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self._url,
            headers={TOKEN_HEADER: token},
            timeout=httpx.Timeout(ANSWER, connect=CONNECT),
            trust_env=False,
        )

    def listed(self, direction: Direction, folder: str = "") -> Iterator[ListedFile]:
        after: str | None = None
        while True:
            query = {"direction": str(direction), "folder": folder, "limit": PAGE}
            answer = self._ask("GET", "listed", query | ({"after": after} if after else {}))
            rows = [ListedFile(**row) for row in answer["files"]]
            yield from rows
            if len(rows) < PAGE:
                return
            after = rows[-1].path.partition("/")[2]

    def at(self, direction: Direction, path: str) -> ListedFile | None:
        query = {"direction": str(direction), "comparable": comparable(path)}
        file = self._ask("GET", "at", query)["file"]
        return None if file is None else ListedFile(**file)

    def totals(self) -> FileTotals:
        return FileTotals(**self._ask("GET", "totals", {}))

    def owner_bytes(self) -> int | None:
        return None  # the panel looks at that, for each content

    def write(self, pieces: Iterable[bytes]) -> NewContent:
        with self._reaching():
            answer = self._http.post(self._path("contents"), content=iter(pieces))
            return NewContent(**_checked(answer).json())

    def read(self, file: ListedFile) -> Iterator[bytes]:
        direction, _, rest = file.path.partition("/")
        address = f"/files/{self._fid}/{direction}/{quote(rest)}"
        with self._reaching(), self._http.stream("GET", address) as answer:
            if answer.status_code == 404:
                raise FileNotFoundError(file.path)
            if answer.is_error:
                answer.read()
            yield from _checked(answer).iter_bytes(PIECE)

    def bind(self) -> None:
        """Have what the run was launched or scheduled with stand in ``in/``."""
        with self._reaching():
            _checked(self._http.post(self._path("bind")))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _path(self, what: str) -> str:
        return f"/run-files/{self._fid}/{what}"

    def _ask(self, method: str, what: str, query: dict[str, Any]) -> Any:
        with self._reaching():
            return _checked(self._http.request(method, self._path(what), params=query)).json()

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as exc:
            reason = str(exc) or type(exc).__name__
            raise FilesAwayError(
                f"the panel at {self._url} is not reached: {reason}; set panel_url to where this "
                "machine reaches it"
            ) from exc


def _checked(answer: httpx.Response) -> httpx.Response:
    """The answer, unless it is a refusal."""
    if answer.is_success:
        return answer
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = f"status {answer.status_code}"
    if answer.status_code == 413:
        raise FileLimitError(str(detail))
    raise FilesAwayError(f"the panel refuses it: {detail}")
