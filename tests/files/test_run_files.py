"""The files of a run as its code uses them: flow, tasks, threads, native Ray functions."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from kodosumi_prefect import KodosumiError, Tracer, flow, tracer
from kodosumi_prefect.files.limits import FileLimitError
from kodosumi_prefect.files.names import FileNameError
from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.settings import get_settings, use_settings
from tests.files.run_storage import register
from tests.files.test_file_projection import files
from tests.services import Place, Recorded

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def filed(place: Place) -> Place:
    """A place with a storage."""
    register(place.settings, place.database)
    return place


def content_of(place: Place, recorded: Recorded, path: str) -> bytes:
    """What is in the storage for a listed file."""
    key = files(place.database, recorded.fid)[path]["key"]
    return b"".join(storage_of(place.settings).read(key))


def uploads(recorded: Recorded) -> list[list[str]]:
    """The paths of each upload event."""
    events = [event.value for event in recorded.events if event.kind == "upload"]
    return [[file["path"] for file in event["files"]] for event in events]


def test_a_flow_leaves_files_and_finds_them_again(filed: Place, tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "a.txt").write_text("a")
    (tmp_path / "tree" / "deep" / ".hidden").write_bytes(b"")
    (tmp_path / "one.csv").write_text("1,2")

    @flow
    def leaves(tracer: Tracer) -> Any:
        tracer.debug("before")
        with tracer.fs_sync() as fs:
            assert fs.ls() == fs.ls("out") == []
            assert fs.upload(tmp_path / "one.csv") == ["out/one.csv"]
            assert fs.upload(str(tmp_path / "tree")) == ["out/a.txt", "out/deep/.hidden"]
            fs.put("text.md", "# ü")
            fs.put("stream.bin", io.BytesIO(b"s" * 3_000_000))
            fs.put("pieces.bin", (b"p" for _ in range(5)), "application/x-pieces")
            tracer.debug("after")
            listed = fs.ls("/out/")
            assert [each["path"] for each in fs.ls("out/deep")] == ["out/deep/.hidden"]
            assert fs.open("out/text.md").read_all() == "# ü".encode()
            assert sum(len(piece) for piece in fs.open("out/stream.bin").read()) == 3_000_000
            stream = fs.open("out/a.txt")
            assert (stream.read_all(), stream.read_all()) == (b"a", b"")
            local = list(fs.download("out"))
            assert {Path(path).name for path in local} >= {"a.txt", ".hidden", "one.csv"}
            assert Path(next(iter(fs.download("out/deep/.hidden")))).read_bytes() == b""
            assert fs.remove("out/deep")
            assert fs.open("out/pieces.bin").remove()
            for missing in ("out/deep", "out/none", "in/x", "out/A.TXT"):
                with pytest.raises(FileNotFoundError):
                    fs.open(missing).read_all()
            with pytest.raises(FileNotFoundError):
                fs.ls("out/none")
            with pytest.raises(ValueError, match="in neither in/ nor out/"):
                fs.ls("elsewhere")
        with pytest.raises(RuntimeError, match="was closed"):
            fs.ls()
        return {each["path"]: each["size"] for each in listed}

    recorded = filed.run(leaves)
    assert recorded.final == {
        "dict": {
            "out/a.txt": 1,
            "out/deep/.hidden": 0,
            "out/one.csv": 3,
            "out/pieces.bin": 5,
            "out/stream.bin": 3_000_000,
            "out/text.md": 4,
        }
    }
    assert uploads(recorded)[:6] == [
        *(["out/one.csv"], ["out/a.txt"], ["out/deep/.hidden"]),
        *(["out/text.md"], ["out/stream.bin"], ["out/pieces.bin"]),
    ]
    kinds = [event.kind for event in recorded.events if event.kind in ("debug", "upload")]
    assert kinds == ["debug", *["upload"] * 6, "debug", *["upload"] * 2]
    listed = files(filed.database, recorded.fid)
    assert sorted(listed) == ["out/a.txt", "out/one.csv", "out/stream.bin", "out/text.md"]
    assert (recorded.row["files"], recorded.row["file_bytes"]) == (4, 3_000_008)
    assert listed["out/one.csv"]["media_type"] == "text/csv"
    assert content_of(filed, recorded, "out/one.csv") == b"1,2"


async def test_async_code_does_the_same(filed: Place, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("one")

    @flow
    async def leaves_async(tracer: Tracer) -> Any:
        assert await tracer.file("quick.txt", "at once") == "out/quick.txt"
        async with await tracer.fs() as fs:
            await fs.upload(tmp_path / "one.txt")
            names = [each["path"] for each in await fs.ls("out")]
            async with fs.open("out/one.txt") as stream:
                pieces = [piece async for piece in stream.read()]
            local = [path async for path in fs.download("out")]
            with pytest.raises(FileNotFoundError):
                async with fs.open("out/none"):
                    pass
            await fs.remove("out/quick.txt")
        return {"names": names, "text": b"".join(pieces).decode(), "local": len(local)}

    recorded = await filed.run_async(leaves_async)
    assert recorded.final == {
        "dict": {"names": ["out/one.txt", "out/quick.txt"], "text": "one", "local": 2}
    }
    assert list(files(filed.database, recorded.fid)) == ["out/one.txt"]


def test_tasks_threads_and_the_current_tracer_leave_files_too(filed: Place) -> None:
    from prefect import task

    @task
    def made_by_task() -> None:
        tracer.file_sync("task.txt", "t")

    @flow
    def leaves_from_everywhere() -> None:
        made_by_task()
        within = [copy_context() for _ in range(4)]
        with ThreadPoolExecutor(4) as threads:
            list(
                threads.map(
                    lambda n: within[n].run(tracer.file_sync, f"thread-{n}.txt", "x"), range(4)
                )
            )

    recorded = filed.run(leaves_from_everywhere)
    listed = files(filed.database, recorded.fid)
    assert len(listed) == 5
    assert listed["out/task.txt"]["task_run"] is not None
    assert listed["out/thread-1.txt"]["task_run"] is None
    assert listed["out/task.txt"]["node"]


def test_native_ray_functions_and_actors_leave_files(
    ray_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from kodosumi_prefect.runner.ray_connection import connect_ray

    register(ray_place.settings, ray_place.database)

    @flow
    def leaves_on_ray(tracer: Tracer) -> Any:
        @ray.remote
        def one(n: int) -> list[str]:
            tracer.file_sync(f"function-{n}.txt", f"{n}")
            with tracer.fs_sync() as fs:
                return [each["path"] for each in fs.ls("out")]

        @ray.remote
        class Holder:
            def leave(self, tracer: Tracer) -> None:
                tracer.file_sync("actor.txt", "a")

        connect_ray(get_settings())
        seen = ray.get([one.remote(n) for n in range(3)])
        ray.get(Holder.remote().leave.remote(tracer))
        return all(f"out/function-{n}.txt" in paths for n, paths in enumerate(seen))

    recorded = ray_place.run(leaves_on_ray)
    assert recorded.final == {"bool": True}
    assert sorted(files(ray_place.database, recorded.fid)) == [
        "out/actor.txt",
        *(f"out/function-{n}.txt" for n in range(3)),
    ]


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a\\b", "a\0b", "CON", "x" * 300, "dot.", "\u202ex", ""]
)
def test_a_name_that_leads_elsewhere_is_refused(filed: Place, name: str) -> None:
    @flow
    def leaves_badly(tracer: Tracer) -> None:
        with pytest.raises(FileNameError):
            tracer.file_sync(name, "x")

    recorded = filed.run(leaves_badly)
    assert recorded.row["status"] == "finished"
    assert uploads(recorded) == []


def test_names_that_some_machine_takes_for_one_are_one_file(filed: Place) -> None:
    @flow
    def leaves_alike(tracer: Tracer) -> None:
        with tracer.fs_sync() as fs:
            for name in ("A\u0308rger.txt", "\u00c4RGER.TXT", "\u00e4rger\uff0etxt"):
                fs.put(name, name)

    recorded = filed.run(leaves_alike)
    assert list(files(filed.database, recorded.fid)) == ["out/\u00e4rger\uff0etxt"]


def test_what_is_no_file_is_refused(filed: Place, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "secret").write_text("of the machine")
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / "report.txt").symlink_to("../secret")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.txt").write_text("a")
    (tmp_path / "linked" / "b.txt").symlink_to("a.txt")

    @flow
    def leaves_oddities(tracer: Tracer) -> None:
        with tracer.fs_sync() as fs:
            for odd in ("pipe", "/dev/zero", "tree", "unpacked", "."):
                with pytest.raises(FileNameError):
                    fs.upload(tmp_path / odd)
            with pytest.raises(FileNotFoundError):
                fs.upload(tmp_path / "nothing")
            with pytest.raises(TypeError, match="made of bytes"):
                fs.put("x", io.StringIO("text"))  # type: ignore[arg-type]
            assert fs.upload(tmp_path / "linked") == ["out/a.txt", "out/b.txt"]

    recorded = filed.run(leaves_oddities)
    assert recorded.row["status"] == "finished"
    assert [content_of(filed, recorded, f"out/{name}.txt") for name in "ab"] == [b"a", b"a"]
    assert len(list(storage_of(filed.settings).contents(f"objects/{recorded.fid}"))) == 2


def test_limits_refuse_before_anything_is_sent(filed: Place, tmp_path: Path) -> None:
    limits = {"file_bytes": 1000, "execution_files": 3, "execution_file_bytes": 2500}
    (tmp_path / "large").write_bytes(b"x" * 1001)

    @flow
    def leaves_much(tracer: Tracer) -> None:
        with tracer.fs_sync() as fs:
            with pytest.raises(FileLimitError, match=r"1,001 bytes; 1,000 at most \(file_bytes\)"):
                fs.upload(tmp_path / "large")
            with pytest.raises(FileLimitError, match="1,100 bytes; 1,000 at most"):
                fs.put("stream", (b"x" * 100 for _ in range(11)))
            fs.put("one", b"x" * 1000)
            fs.put("two", b"x" * 1000)
            with pytest.raises(FileLimitError, match="execution_file_bytes"):
                fs.put("three", b"x" * 600)
            fs.put("three", b"x")
        with pytest.raises(FileLimitError, match="execution_files"):
            tracer.file_sync("four", b"x")

    with use_settings(filed.settings.model_copy(update=limits)):
        recorded = filed.run(leaves_much)
    assert recorded.row["status"] == "finished"
    assert sorted(files(filed.database, recorded.fid)) == ["out/one", "out/three", "out/two"]


def test_all_runs_of_an_owner_have_one_limit(filed: Place) -> None:
    owner = str(uuid4())

    @flow
    def leaves(sizes: list[int], tracer: Tracer) -> None:
        tracer.debug("there is a row")
        with tracer.fs_sync() as fs:
            fs.ls()
            with psycopg.connect(filed.database) as connection:
                query = "UPDATE kodosumi.execution SET owner = %s WHERE fid = %s"
                connection.execute(query, (owner, tracer.fid))
            for size in sizes:
                fs.put(str(size), (b"x" for _ in range(size)))

    def refused(*sizes: int) -> str | None:
        return filed.run(leaves, list(sizes)).row["error"]

    with use_settings(filed.settings.model_copy(update={"owner_file_bytes": 2000})):
        assert refused(900, 600) is None
        told = refused(400, 101)
        assert told is not None
        assert "101 more bytes are too many: the account's files have 1,900 of 2,000" in told
        assert refused(100) is None
    assert refused(101) is None


def test_a_storage_that_fails_fails_the_call_and_lists_nothing(filed: Place) -> None:
    @flow
    def leaves_in_vain(tracer: Tracer) -> str:
        folder = storage_of(filed.settings).url.removeprefix("file://")
        (Path(folder) / "objects" / tracer.fid).write_text("in the way")
        with pytest.raises(KodosumiError, match=r"storage file:///") as told:
            tracer.file_sync("x", b"x")
        return str(told.value)

    storage_of(filed.settings).write_whole("objects/some/thing", b"")
    recorded = filed.run(leaves_in_vain)
    assert recorded.row["status"] == "finished"
    assert uploads(recorded) == []


def test_where_neither_storage_nor_panel_is_known_it_is_said(place: Place, tmp_path: Path) -> None:
    @flow
    def leaves_nowhere(tracer: Tracer) -> str:
        with pytest.raises(KodosumiError) as told:
            tracer.file_sync("x", b"x")
        return str(told.value)

    elsewhere = (tmp_path / "another").as_uri()
    with use_settings(place.settings.model_copy(update={"file_storage_url": elsewhere})):
        recorded = place.run(leaves_nowhere)
    assert "panel" in recorded.final["str"]
