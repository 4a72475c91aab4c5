"""Files chosen in a form: checked, the run's own, in its ``in/`` before its code begins."""

import json
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import uuid4

import httpx
import pytest

from kodosumi_prefect import Tracer, flow
from kodosumi_prefect.core import Launch, ServeAPI, forms
from kodosumi_prefect.database.rows.services import RegisteredEndpoint
from kodosumi_prefect.http.statuses import status_of
from kodosumi_prefect.launch import schedules, sent_files
from kodosumi_prefect.launch.refusal import LaunchError, NotAllowedError
from kodosumi_prefect.launch.run_again import run_again
from kodosumi_prefect.owner import Owner
from kodosumi_prefect.panel.accounts.permissions import User
from kodosumi_prefect.panel.services import deployment_form
from tests.files.run_storage import register
from tests.files.uploading import Uploads
from tests.serve.launches import USER, Launcher, changed, registered
from tests.serve.service_doubles import InPanel
from tests.serve.test_launch_schedules import due

OTHER = "5a0c6e5e-0000-4000-8000-000000000002"
app = ServeAPI(title="Files")
form = forms.Model(
    forms.InputText("title"),
    forms.InputFiles("papers", multiple=True, max_bytes=100),
    forms.InputFiles("cover"),
)


@app.enter("/", form, summary="Read papers")
async def enter(request, inputs):  # type: ignore[no-untyped-def]
    assert all(
        value is None or type(value) is set for name, value in inputs.items() if name != "title"
    )
    return Launch(request, "tests.serve.test_launch_files:reads", inputs=inputs)


@app.enter("/two", form, summary="Read twice")
async def enter_two(request, inputs):  # type: ignore[no-untyped-def]
    await Launch(request, "tests.serve.test_launch_files:reads", inputs=inputs).go(
        request.scope["kodosumi.endpoint"]
    )
    return Launch(request, "tests.serve.test_launch_files:reads", inputs=inputs)


def reads(inputs: dict[str, Any], tracer: Tracer) -> dict[str, Any]:
    with tracer.fs_sync() as fs:
        content = {file["path"]: fs.open(file["path"]).read_all().decode() for file in fs.ls("in")}
        tracer.file_sync("out.txt", "left")
    return {"content": content, "kind": type(inputs["papers"]).__name__}


@flow
def digests(
    papers: Annotated[list[str], forms.Files(accept=".txt")], tracer: Tracer = None
) -> dict[str, Any]:
    with tracer.fs_sync() as fs:
        return {name: fs.open(f"in/{name}").read_all().decode() for name in papers}


@pytest.fixture
def uploads(launcher: Launcher) -> Iterator[Uploads]:
    settings = launcher.place.settings
    register(settings, launcher.place.database)
    made = Uploads(settings, launcher.place.database)
    yield made
    made.close()


def post(launcher: Launcher, path: str = "/", user: str = USER, **fields: Any) -> httpx.Response:
    headers = {"x-kodosumi_user": user, "x-kodosumi_username": "ada"}
    headers |= fields.pop("headers", {})

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(InPanel(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            return await http.post(path, json=fields, headers=headers)

    return launcher.do(call)


def refusal(answer: httpx.Response, field: str = "papers") -> str:
    [message] = answer.json()["errors"][field]
    return str(message)


def test_a_run_reads_what_was_chosen(launcher: Launcher, uploads: Uploads) -> None:
    papers = uploads.batch(USER, b_txt=b"second", a_txt=b"first")
    cover = uploads.named(USER, {"art/cover.txt": b"cover"})
    answer = post(launcher, papers=json.dumps(papers), cover=cover)
    fid = answer.json()["result"]
    # Bound when the launch is answered, as Kodosumi has it.
    assert uploads.files(fid) == {
        "in/a.txt": b"first",
        "in/b.txt": b"second",
        "in/art/cover.txt": b"cover",
    }
    done = launcher.execute(fid)
    assert done.final["dict"]["content"] == {
        "in/a.txt": "first",
        "in/art/cover.txt": "cover",
        "in/b.txt": "second",
    }
    assert done.final["dict"]["kind"] == "set"
    [inputs] = [event.value for event in done.events if event.kind == "inputs"]
    assert inputs == {"title": None, "papers": ["a.txt", "b.txt"], "cover": ["art/cover.txt"]}
    assert uploads.files(fid)["out/out.txt"] == b"left"
    kinds = [event.kind for event in done.events]
    assert kinds.index("upload") < kinds.index("final")
    assert len(done.of("upload")) == 3  # two batches, and what it left
    assert uploads.noted(papers) == {"fid": fid, "schedule": None, "owner": USER}


def test_what_cannot_be_used_is_refused_at_its_field(launcher: Launcher, uploads: Uploads) -> None:
    foreign = uploads.batch(OTHER, a_txt=b"theirs")
    unknown = {"batchId": str(uuid4()), "items": {str(uuid4()): {"filename": "a"}}}
    assert refusal(post(launcher, papers=foreign)) == refusal(post(launcher, papers=unknown))
    own = uploads.batch(USER, a_txt=b"mine")
    mixed = {"batchId": own["batchId"], "items": foreign["items"]}
    assert refusal(post(launcher, papers=mixed)) == sent_files.GONE
    partly = uploads.batch(USER, a_txt=None)
    assert "lacks 1 of 2 chunks: 1" in refusal(post(launcher, papers=partly))
    large = uploads.batch(USER, a_txt=b"x" * 101)
    assert "101 bytes; 100 at most" in refusal(post(launcher, papers=large))
    [id_] = own["items"]
    for name in ("../a.txt", "/a.txt", "b.txt"):
        renamed = {"batchId": own["batchId"], "items": {id_: {"filename": name}}}
        assert "was uploaded as 'a.txt'" in refusal(post(launcher, papers=renamed))
    double = uploads.batch(USER, A_TXT=b"other")
    assert "is there twice" in refusal(post(launcher, papers=own, cover=double), "cover")
    with changed(launcher, execution_files=1):
        answer = post(launcher, papers=uploads.batch(USER, a_txt=b"1", b_txt=b"2"))
    assert "execution_files" in refusal(answer)
    assert uploads.noted(own) == {"fid": None, "schedule": None, "owner": USER}
    assert post(launcher, papers=own).json()["result"]


def test_files_are_used_once(launcher: Launcher, uploads: Uploads) -> None:
    papers = uploads.batch(USER, a_txt=b"once")
    id_ = str(uuid4())
    headers = {"x-kodosumi-launch-id": id_}
    first = post(launcher, papers=papers, headers=headers).json()["result"]
    assert post(launcher, papers=papers, headers=headers).json()["result"] == first
    assert refusal(post(launcher, papers=papers)) == sent_files.USED
    assert uploads.files(first) == {"in/a.txt": b"once"}
    assert len(launcher.execute(first).of("upload")) == 2


def test_of_two_launches_of_one_form_the_first_has_its_files(
    launcher: Launcher, uploads: Uploads
) -> None:
    papers = uploads.batch(USER, a_txt=b"x")
    headers = {"x-kodosumi-launch-id": str(uuid4())}
    second = post(launcher, "/two", papers=papers, headers=headers).json()["result"]
    noted = uploads.noted(papers)
    assert noted is not None and noted["fid"] not in (None, second)
    assert uploads.files(noted["fid"]) == {"in/a.txt": b"x"}
    again = post(launcher, "/two", papers=papers, headers=headers).json()["result"]
    assert again == second


def test_what_was_uploaded_and_not_chosen_is_dropped(launcher: Launcher, uploads: Uploads) -> None:
    papers = uploads.batch(USER, a_txt=b"kept", b_txt=None)
    [unwanted] = [id_ for id_, item in papers["items"].items() if item["filename"] == "b.txt"]
    del papers["items"][unwanted]
    fid = post(launcher, papers=papers).json()["result"]
    assert uploads.files(fid) == {"in/a.txt": b"kept"}
    dropped = uploads.rows(
        "SELECT key FROM kodosumi.dropped_content WHERE key LIKE %s", f"%{unwanted}%"
    )
    assert len(dropped) == 1


def test_two_launches_at_once_share_no_files(launcher: Launcher, uploads: Uploads) -> None:
    papers = uploads.batch(USER, a_txt=b"x")
    [field] = form.sent_files({"papers": papers})
    owner, settings = Owner(USER, "ada"), launcher.place.settings

    async def claim(fid: str) -> None:
        await sent_files.claim([field], owner, settings, fid=fid)

    fids = [str(uuid4()), str(uuid4())]
    launcher.do(claim, fids[0])
    launcher.do(claim, fids[0])
    with pytest.raises(LaunchError, match="launched with before") as caught:
        launcher.do(claim, fids[1])
    assert status_of(caught.value) == 409


def test_a_launch_that_fails_leaves_the_files_for_another(
    launcher: Launcher, uploads: Uploads
) -> None:
    papers = uploads.batch(USER, a_txt=b"x")
    with changed(launcher, launch_work_pool="nowhere"):
        assert post(launcher, path="/", papers=papers).status_code >= 400
    assert post(launcher, papers=papers).json()["result"]


def test_a_service_without_a_database_refuses_files_in_one_line(
    launcher: Launcher, uploads: Uploads, tmp_path: Any
) -> None:
    papers = uploads.batch(USER, a_txt=b"x")
    with changed(launcher, data_dir=tmp_path, database_url=None):
        answer = post(launcher, papers=papers)
    assert answer.status_code == 503
    assert "database_url" in answer.json()["detail"] and "\n" not in answer.json()["detail"]


def test_a_run_binds_what_its_service_could_not(
    launcher: Launcher, uploads: Uploads, tmp_path: Any
) -> None:
    """A service that runs elsewhere reaches the database, but not the storage."""
    papers = uploads.batch(USER, a_txt=b"from afar")
    with changed(launcher, file_storage_url=(tmp_path / "elsewhere").as_uri()):
        fid = post(launcher, papers=papers).json()["result"]
    assert uploads.files(fid) == {}
    done = launcher.execute(fid)
    assert done.final["dict"]["content"] == {"in/a.txt": "from afar"}


def test_a_run_whose_files_are_gone_fails_in_one_line(
    launcher: Launcher, uploads: Uploads, tmp_path: Any
) -> None:
    papers = uploads.batch(USER, a_txt=b"x")
    with changed(launcher, file_storage_url=(tmp_path / "elsewhere").as_uri()):
        fid = post(launcher, papers=papers).json()["result"]
    uploads.storage.delete_below("uploads")
    done = launcher.execute(fid)
    assert done.row["status"] == "error"
    assert done.row["error"].startswith("the files that this run was given")
    assert "\n" not in done.row["error"]


def test_a_launch_parameter_cannot_name_files_of_others(
    launcher: Launcher, uploads: Uploads
) -> None:
    """Whoever may start runs in Prefect could write any batch into their parameters."""
    foreign = uploads.batch(OTHER, a_txt=b"theirs")
    own = uploads.batch(USER, a_txt=b"mine")
    fid = post(launcher, papers=own).json()["result"]
    run = launcher.flow_run(fid)
    parameters = run.parameters
    parameters["launch"]["files"] = [foreign["batchId"]]
    copy = launcher.prefect(
        "POST", f"deployments/{run.deployment_id}/create_flow_run", parameters=parameters
    )
    done = launcher.execute(copy["id"])
    assert done.row["status"] == "error"
    assert f"batch {foreign['batchId']} is not this run's" in done.row["error"]
    assert uploads.files(copy["id"]) == {}


def test_each_run_of_a_schedule_gets_a_copy(launcher: Launcher, uploads: Uploads) -> None:
    papers = uploads.batch(USER, a_txt=b"weekly")
    rule = json.dumps({"interval": 3600})
    answer = post(launcher, papers=papers, headers={"x-kodosumi-schedule": rule})
    id_ = answer.json()["schedule"]
    assert uploads.noted(papers) == {"fid": None, "schedule": id_, "owner": USER}
    assert refusal(post(launcher, papers=papers)) == sent_files.USED
    row = schedule(launcher, id_)
    fids = [due(launcher, row)]
    done = launcher.execute(fids[0])
    assert done.final["dict"]["content"] == {"in/a.txt": "weekly"}
    later = due(launcher, row)
    assert later != fids[0]
    assert launcher.execute(later).final["dict"]["content"] == {"in/a.txt": "weekly"}
    launcher.do(schedules.delete, id_, USER, launcher.place.settings)
    assert uploads.noted(papers) is None
    prefix = f"uploads/{papers['batchId']}"
    left = {each.key for each in uploads.storage.contents(prefix)}
    query = "SELECT key FROM kodosumi.dropped_content WHERE starts_with(key, %s)"
    assert left <= {row["key"] for row in uploads.rows(query, prefix)}
    assert uploads.files(later)["in/a.txt"] == b"weekly"


def schedule(launcher: Launcher, id_: str) -> dict[str, Any]:
    rows = launcher.do(schedules.schedules_of, USER, launcher.place.settings)
    return next(row for row in rows if row["id"] == id_)


def test_running_again_takes_the_files_along(launcher: Launcher, uploads: Uploads) -> None:
    papers = uploads.batch(USER, a_txt=b"once more")
    first = post(launcher, papers=papers).json()["result"]
    launcher.execute(first)
    id_ = str(uuid4())

    async def again() -> str:
        owner = Owner(OTHER, "bea")
        return await run_again(first, owner, launcher.place.settings, launch_id=id_)

    second = launcher.do(again)
    assert launcher.do(again) == second != first
    assert uploads.files(second) == {"in/a.txt": b"once more"}
    done = launcher.execute(second)
    assert done.final["dict"]["content"] == {"in/a.txt": "once more"}
    assert len(done.of("upload")) == 2

    async def without() -> str:
        return await run_again(
            first, Owner(OTHER, "bea"), launcher.place.settings, with_files=False
        )

    third = launcher.do(without)
    assert uploads.files(third) == {}
    assert launcher.execute(third).final["dict"] == {"content": {}, "kind": "set"}

    async def once_more_with_little_room() -> str:
        narrow = launcher.place.settings.model_copy(update={"owner_file_bytes": 20})
        return await run_again(first, Owner(OTHER, "bea"), narrow)

    with pytest.raises(NotAllowedError, match=r"at most \(owner_file_bytes\)"):
        launcher.do(once_more_with_little_room)


def test_a_deployment_asks_for_files_of_a_marked_parameter(
    launcher: Launcher, uploads: Uploads
) -> None:
    endpoint = deployed(launcher)
    user, settings = User(USER, "ada", False), launcher.place.settings

    async def submit(posted: dict[str, Any], when: str | None = None) -> dict[str, Any]:
        id_ = str(uuid4())
        return await deployment_form.launch(endpoint, posted, when, user, settings, id_)

    async def elements() -> list[dict[str, Any]]:
        described = await deployment_form.describe(endpoint, settings)
        return list(described["elements"])

    [field] = [each for each in launcher.do(elements) if each["type"] == "file"]
    assert (field["name"], field["multiple"], field["accept"]) == ("papers", True, ".txt")
    papers = uploads.batch(USER, a_txt=b"to a deployment")
    foreign = uploads.batch(OTHER, a_txt=b"theirs")
    assert launcher.do(submit, {"papers": foreign})["errors"]["papers"] == [sent_files.GONE]
    fid = launcher.do(submit, {"papers": json.dumps(papers)})["result"]
    assert launcher.flow_run(fid).parameters == {"papers": ["a.txt"]}
    assert uploads.files(fid) == {"in/a.txt": b"to a deployment"}
    assert launcher.execute(fid).final == {"dict": {"a.txt": "to a deployment"}}
    kept = uploads.batch(USER, b_txt=b"every hour")
    id_ = launcher.do(submit, {"papers": kept}, '{"interval": 3600}')["schedule"]
    done = launcher.execute(due(launcher, schedule(launcher, id_)))
    assert done.final == {"dict": {"b.txt": "every hour"}}


def deployed(launcher: Launcher) -> RegisteredEndpoint:
    """The flow as somebody deploys it in Prefect."""
    name = f"digests-{uuid4().hex[:8]}"
    flow_id = launcher.prefect("POST", "flows/", name="digests")["id"]
    made = launcher.prefect(
        "POST",
        "deployments/",
        name=name,
        flow_id=flow_id,
        entrypoint="tests.serve.test_launch_files:digests",
        work_pool_name=launcher.pool(),
        parameter_openapi_schema=digests.parameters.model_dump_for_openapi(),
    )
    return registered(made["id"], f"digests/{name}")
