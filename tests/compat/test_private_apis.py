"""What we touch of other packages' private API is there and works as we read it.

A test that fails here says what a release changed, and which of ours needs another way; others
that fail with it do so for the same reason. Only ``kodosumi_prefect._compat`` touches such API.
"""

import ast
import asyncio
import inspect
import json
import logging
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import kodosumi_prefect
from kodosumi_prefect._compat.prefect import LEASES_IN_FILES

PACKAGE = Path(kodosumi_prefect.__file__).parent
COMPAT = PACKAGE / "_compat"
PRIVATE = ("prefect._", "prefect.server", "ray._", "ray.experimental", "psycopg._")
ATTRIBUTES = {"_backfill_since", "_entrypoint", "_private", "_set_intent", "_token", "__var__"}
OF_OTHERS = ("prefect", "prefect_ray", "psycopg", "psycopg_pool", "ray")
PREFECT = f"Prefect {version('prefect')}"
RAY = f"Ray {version('ray')}" if find_spec("ray") is not None else "Ray"
PSYCOPG = f"psycopg {version('psycopg')}"


def has(release: str, place: str, name: str, ours: str) -> Any:
    """A private name; fails with one line that says what is gone and who needs it."""
    try:
        return getattr(import_module(place), name)
    except (ImportError, AttributeError) as exc:
        pytest.fail(f"{release} has no {place}.{name} any more, for {ours}: {exc}", pytrace=False)


def takes(release: str, called: Callable[..., Any], names: str, ours: str) -> None:
    """Fails if a function does not take arguments of these names any more."""
    parameters = inspect.signature(called).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    missing = [name for name in names.split() if name not in parameters]
    assert not missing, f"{release}: {called.__qualname__} takes no {missing} any more, for {ours}"


def the_source_says(release: str, place: Any, words: str, ours: str) -> None:
    """Fails with one line if the source of a module, class or function lacks these words."""
    if words not in inspect.getsource(place):
        what = f"{release}: {place.__name__} does not say {words!r} any more, for {ours}"
        pytest.fail(what, pytrace=False)


# Prefect


def test_prefect_has_the_private_names_that_we_import() -> None:
    for place, name, ours in (
        (
            "prefect._internal.control_listener",
            "_set_intent",
            "prefect_cancellation.commit_to_cancel",
        ),
        (
            "prefect._internal.control_listener",
            "clear_intent",
            "prefect_cancellation.commit_to_cancel",
        ),
        (
            "prefect._internal.engine",
            "dynamic_key_for_task_run",
            "prefect_calls.pass_over",
        ),
        (
            "prefect._internal.infrastructure_exit_codes",
            "get_infrastructure_exit_info",
            "prefect.exit_explanation",
        ),
        ("prefect._internal.metrics", "RunMetrics", "prefect.run_metrics"),
        ("prefect._internal.observers", "FlowRunCancellingObserver", "prefect.cancelling_observer"),
        ("prefect._internal.observers", "OnCancellingCallback", "prefect.cancelling_observer"),
        ("prefect._internal.result_records", "ResultRecord", "prefect.value_in"),
        ("prefect.engine", "_drive_run_flow_result", "prefect.drive"),
        ("prefect.engine", "handle_engine_signals", "runner.execute"),
        ("prefect.flow_engine", "load_flow", "runner.execute"),
        ("prefect.flow_engine", "load_flow_run", "runner.execute"),
        ("prefect.flow_engine", "run_flow", "runner.execute"),
        ("prefect.flow_engine", "FlowRunEngine", "prefect_cancellation.cancelled_by_any_error"),
        (
            "prefect.flow_engine",
            "AsyncFlowRunEngine",
            "prefect_cancellation.cancelled_by_any_error",
        ),
        ("prefect.logging.loggers", "print_as_log", "prefect.PRINT_AS_LOG"),
        (
            "prefect.utilities.engine",
            "_prefect_sigterm_handler",
            "prefect_cancellation.commit_to_cancel",
        ),
        (
            "prefect.utilities.engine",
            "commit_control_intent_and_ack",
            "prefect_cancellation.commit_to_cancel",
        ),
        (LEASES_IN_FILES, "ConcurrencyLeaseStorage", "prefect.LEASES_IN_FILES"),
        ("prefect.server.schemas.schedules", "CronSchedule", "prefect_server.dates_of"),
        ("prefect.server.schemas.schedules", "IntervalSchedule", "prefect_server.dates_of"),
        ("prefect.server.schemas.schedules", "RRuleSchedule", "prefect_server.rule_of"),
    ):
        has(PREFECT, place, name, f"_compat.{ours}" if ours[0] == "p" else ours)


def test_prefects_engine_takes_a_committed_intent_for_a_cancellation() -> None:
    listener = import_module("prefect._internal.control_listener")
    takes(
        PREFECT,
        has(PREFECT, "prefect.utilities.engine", "commit_control_intent_and_ack", "cancelling"),
        "commit_intent clear_intent send_ack",
        "_compat.prefect_cancellation.commit_to_cancel",
    )
    try:
        listener._set_intent("cancel")
        assert listener.get_intent() == "cancel", (
            f"{PREFECT}: control_listener._set_intent sets no intent any more, so that a cancelled "
            "run would end as Crashed"
        )
    finally:
        listener.clear_intent()
    for kind in ("FlowRunEngine", "AsyncFlowRunEngine"):
        for name, arguments in (
            ("handle_exception", "self exc"),
            ("handle_crash", "self exc"),
            ("handle_cancellation", "self exc"),
        ):
            place = getattr(import_module("prefect.flow_engine"), kind)
            takes(PREFECT, getattr(place, name), arguments, "prefect_cancellation")
    assert listener.get_intent() is None, f"{PREFECT}: clear_intent leaves the intent in place"
    engine = import_module("prefect.utilities.engine")
    assert "get_intent" in inspect.getsource(engine), (
        f"{PREFECT}: prefect.utilities.engine asks for no intent on SIGTERM any more"
    )


def test_prefects_observer_of_cancellations_takes_our_arguments() -> None:
    observer = has(
        PREFECT, "prefect._internal.observers", "FlowRunCancellingObserver", "cancelling"
    )
    ours = "_compat.prefect.cancelling_observer"
    takes(PREFECT, observer, "on_cancelling polling_interval event_filter", ours)
    assert hasattr(observer, "add_in_flight_flow_run_id"), (
        f"{PREFECT}: the observer has no add_in_flight_flow_run_id any more, for {ours}"
    )


def test_prefects_clients_take_a_tls_context() -> None:
    clients, ours = import_module("prefect.client.orchestration"), "_compat.prefect_tls"
    for kind in (clients.PrefectClient, clients.SyncPrefectClient):
        takes(PREFECT, kind.__init__, "api httpx_settings", ours)
        the_source_says(PREFECT, kind, 'httpx_settings.get("verify")', ours)
        the_source_says(PREFECT, kind, "PREFECT_API_SSL_CERT_FILE", ours)
        the_source_says(PREFECT, kind, "PREFECT_API_TLS_INSECURE_SKIP_VERIFY", ours)


def test_prefects_subscriber_begins_where_it_is_told_to() -> None:
    clients = import_module("prefect.events.clients")
    the_source_says(
        PREFECT,
        clients.PrefectEventSubscriber,
        "since=self._backfill_since",
        "_compat.prefect.begin_at: the observer would miss what happened while it was away",
    )


def test_prefects_engines_call_tasks_and_subflows_where_we_take_part() -> None:
    ours = "_compat.prefect_calls"
    tasks, flows = import_module("prefect.tasks"), import_module("prefect.flows")
    engines = import_module("prefect.task_engine")
    the_source_says(PREFECT, tasks.Task.__call__, "import run_task", f"{ours}: direct calls")
    the_source_says(PREFECT, flows.Flow.__call__, "import run_flow", f"{ours}: subflows")
    takes(PREFECT, engines.run_task, "task parameters", ours)
    for engine in (engines.SyncTaskRunEngine, engines.AsyncTaskRunEngine):
        takes(PREFECT, engine.set_state, "state force", ours)
        takes(PREFECT, engine.call_hooks, "state", ours)
        takes(PREFECT, engine.call_task_fn, "transaction", ours)
        takes(PREFECT, engine.handle_success, "result transaction", ours)
        the_source_says(PREFECT, engine.start, "self.begin_run()", f"{ours}: what is done already")
        the_source_says(PREFECT, engine.handle_retry, "self.retries < self.task.retries", ours)
    base = import_module("prefect.transactions").BaseTransaction
    the_source_says(PREFECT, base.stage, "if self.state != TransactionState.COMMITTED", ours)


def test_prefects_engines_tell_of_tasks_that_begin_and_end() -> None:
    ours = "_compat.prefect_unfinished"
    engines = import_module("prefect.task_engine")
    for engine in (engines.SyncTaskRunEngine, engines.AsyncTaskRunEngine):
        the_source_says(PREFECT, engine.start, "self.initialize_run(", f"{ours}: under way")
        the_source_says(PREFECT, engine.initialize_run, "except (Pause, Abort)", f"{ours}: the end")
        the_source_says(
            PREFECT, engine.start, "raise_if_flow_run_suspension_requested()", f"{ours}: held tasks"
        )
        assert hasattr(engine, "log_finished_message"), f"{PREFECT}: log_finished_message, {ours}"
    transactions = import_module("prefect.transactions")
    fields = transactions.BaseTransaction.model_fields
    assert {"children", "on_rollback_hooks"} <= set(fields), f"{PREFECT}: transactions, {ours}"
    runners = import_module("prefect.task_runners")
    pool = runners.ThreadPoolTaskRunner(max_workers=3)
    assert pool._max_workers == 3, f"{PREFECT}: threads of a pool, {ours}.threads_of"


def test_the_context_in_which_a_flow_was_called_is_found() -> None:
    from prefect.context import FlowRunContext, TagsContext

    from kodosumi_prefect._compat.prefect import outer_context

    with TagsContext(current_tags={"outer"}) as outer, TagsContext(current_tags={"inner"}) as inner:
        found: Any = outer_context(inner)  # type: ignore[arg-type]
        assert found is outer, (
            f"{PREFECT}: ContextModel._token holds no earlier context any more, so that the root "
            "of a subflow is not found"
        )
    assert hasattr(FlowRunContext, "__var__"), f"{PREFECT}: contexts have no __var__ any more"


def test_the_task_run_of_another_context_is_found() -> None:
    from prefect.context import TaskRunContext

    from kodosumi_prefect._compat.prefect import task_context_in

    there = copy_context()
    marker: Any = object()
    there.run(TaskRunContext.__var__.set, marker)
    assert task_context_in(there) is marker, (
        f"{PREFECT}: TaskRunContext.__var__ is not its context variable any more"
    )
    assert task_context_in(copy_context()) is None


def test_prefect_finds_a_flow_again_by_the_entrypoint_that_we_name() -> None:
    from prefect import flow

    from kodosumi_prefect._compat.prefect import entrypoint_of, name_entrypoint

    @flow
    def some() -> None: ...

    name_entrypoint(some, "module:some")
    copy = some.with_options(name="another")
    assert entrypoint_of(copy) == "module:some", (
        f"{PREFECT}: Flow.with_options does not hand on _entrypoint any more"
    )
    the_source_says(PREFECT, type(some).to_deployment, "self._entrypoint", "deployments of flows")


def test_the_result_of_a_completed_state_is_found_in_memory() -> None:
    from prefect.states import Completed

    from kodosumi_prefect._compat.prefect import value_in

    assert value_in(Completed(data=7).data) == 7
    record = has(PREFECT, "prefect._internal.result_records", "ResultRecord", "_compat.value_in")
    assert "result" in record.model_fields, (
        f"{PREFECT}: ResultRecord has no result any more, for _compat.prefect.value_in"
    )
    assert import_module("prefect.results").ResultRecord is record, (
        f"{PREFECT}: results are records of another class than ResultRecord"
    )


def test_generators_and_async_flows_are_run_to_their_end() -> None:
    from prefect import flow

    from kodosumi_prefect._compat.prefect import drive

    reached: list[str] = []

    @flow
    def generator() -> Any:
        yield 1
        reached.append("generator")

    @flow
    async def coroutine() -> None:
        reached.append("coroutine")

    drive(generator, generator.fn())
    drive(coroutine, coroutine.fn())
    assert reached == ["generator", "coroutine"], (
        f"{PREFECT}: engine._drive_run_flow_result left a flow unfinished: {reached}"
    )


def test_what_log_prints_makes_has_print_as_log_on_its_stack() -> None:
    loggers = import_module("prefect.logging.loggers")
    the_source_says(
        PREFECT,
        loggers.patch_print,
        "print_as_log",
        "_compat.prefect.PRINT_AS_LOG: printed lines would be debug events",
    )


def test_a_flow_object_can_be_given_another_validation() -> None:
    from prefect import flow

    from kodosumi_prefect._compat.prefect import replace_validation

    @flow
    def some(value: Any) -> None: ...

    copy = some.with_options()
    replace_validation(copy, lambda parameters: {"value": "ours"})
    assert copy.validate_parameters({"value": 1}) == {"value": "ours"}
    engine = import_module("prefect.flow_engine")
    the_source_says(
        PREFECT, engine, "flow.validate_parameters(", "_compat.prefect.replace_validation"
    )


def test_what_people_typed_is_no_block_in_a_mapping_that_is_no_dict() -> None:
    from prefect import flow

    @flow
    def some(value: Any) -> None: ...

    typed: Any = MappingProxyType({"value": {"$ref": "00000000-0000-0000-0000-000000000000"}})
    assert some.validate_parameters(typed) == dict(typed), (
        f"{PREFECT}: Flow.validate_parameters looks for blocks in every mapping, for runner.literal"
    )
    takes(
        PREFECT,
        import_module("prefect.blocks.core").Block.aload_from_ref,
        "ref",
        "_compat.prefect.load_block",
    )


def test_the_server_reckons_schedules_of_the_client() -> None:
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

    from kodosumi_prefect._compat.prefect_server import dates_of, known_timezones

    start = datetime(2026, 1, 1, tzinfo=UTC)
    cron = CronSchedule(cron="0 6 * * *", timezone="UTC")
    interval = IntervalSchedule(
        interval=timedelta(hours=1), anchor_date=start.isoformat(), timezone="UTC"
    )
    for schedule, first in ((cron, 6), (interval, 0)):
        dates = asyncio.run(dates_of(schedule, 2, start))
        assert [dates[0].hour, len(dates)] == [first, 2], (
            f"{PREFECT}: the server reckons {schedule!r} otherwise: {dates}"
        )
    assert known_timezones({"Europe/Berlin", "Europe/Atlantis"}) == {"Europe/Berlin"}


def test_the_servers_own_pages_have_a_short_list_of_runs() -> None:
    from kodosumi_prefect._compat.prefect import RUN_HISTORY

    router = import_module("prefect.server.api.ui.flow_runs").router
    paths = [route.path for route in router.routes]
    assert any(RUN_HISTORY.endswith(path) for path in paths), (
        f"{PREFECT}: there is no {RUN_HISTORY} any more (only {paths}), so that listings.py has to "
        "narrow down each list that has an unreadable row"
    )


def test_prefects_worker_calls_what_ours_overrides() -> None:
    from prefect.workers.base import BaseJobConfiguration, BaseWorker

    from kodosumi_prefect._compat import prefect as compat

    for name in compat.WORKER_OVERRIDES:
        assert hasattr(BaseWorker, name), f"{PREFECT}: BaseWorker has no {name} any more"
        calls = inspect.getsource(import_module("prefect.workers.base")).count(f"self.{name}")
        assert calls, f"{PREFECT}: BaseWorker does not call {name} any more, which ours overrides"
    for name in compat.JOB_OVERRIDES:
        the_source_says(PREFECT, BaseJobConfiguration, f"self.{name}", "runner.job")
    for name in compat.WORKER_ATTRIBUTES:
        the_source_says(PREFECT, BaseWorker, name, "runner.worker")
    overrides = _own_private_names("runner/worker.py", BaseWorker)
    assert overrides == {*compat.WORKER_OVERRIDES, "_description"}, (
        "list in _compat.prefect what KodosumiRayWorker overrides of Prefect's"
    )


def test_prefects_task_runner_and_futures_have_the_attributes_of_ours() -> None:
    from prefect.futures import PrefectFuture, PrefectWrappedFuture
    from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

    from kodosumi_prefect._compat import prefect as compat

    for name in compat.TASK_RUNNER_ATTRIBUTES:
        the_source_says(PREFECT, TaskRunner, f"self.{name} = True", "RayTaskRunner.submit")
    cancelling = inspect.getsource(ThreadPoolTaskRunner.cancel_all)
    assert "self._executor is not None" in cancelling and "self._executor = None" in cancelling, (
        f"{PREFECT}: ThreadPoolTaskRunner.cancel_all ends no _executor any more, for threads_left"
    )
    module = inspect.getmodule(PrefectFuture)
    for name in compat.FUTURE_ATTRIBUTES:
        assert f"self.{name}" in inspect.getsource(module), (  # type: ignore[arg-type]
            f"{PREFECT}: futures have no {name} any more, for RayFuture"
        )
    assert hasattr(PrefectWrappedFuture, "wrapped_future")


# Ray


def test_ray_has_the_private_names_that_we_import() -> None:
    pytest.importorskip("ray")
    for place, name, ours in (
        ("ray._private.worker", "global_worker", "runs_in_worker"),
        ("ray._private.worker", "WORKER_MODE", "runs_in_worker"),
        ("ray._private.worker", "print_worker_logs", "surround_worker_logs"),
        ("ray._private.ray_constants", "ENABLE_RAY_CLUSTER", "reread_environment"),
        ("ray._raylet", "Config", "reread_environment"),
        ("ray._raylet", "AuthenticationTokenLoader", "reread_environment"),
        ("ray.experimental.internal_kv", "_internal_kv_get", "autoscaling_status"),
        ("ray._private.runtime_env.working_dir", "upload_working_dir_if_needed", "upload_folders"),
        ("ray._private.runtime_env.py_modules", "upload_py_modules_if_needed", "upload_folders"),
        ("ray.exceptions", "AuthenticationError", "ask_head"),
        ("ray.exceptions", "RpcError", "ask_head"),
        ("ray.cloudpickle", "register_pickle_by_value", "adapter.by_value"),
    ):
        has(RAY, place, name, f"_compat.ray.{ours}")


def test_a_process_that_is_not_connected_is_no_ray_worker() -> None:
    pytest.importorskip("ray")
    from kodosumi_prefect._compat.ray import runs_in_worker

    worker = import_module("ray._private.worker")
    assert hasattr(worker.global_worker, "mode"), f"{RAY}: the global worker has no mode any more"
    assert runs_in_worker() is False or worker.global_worker.mode == worker.WORKER_MODE


def test_ray_rereads_its_environment() -> None:
    pytest.importorskip("ray")
    core = import_module("ray._raylet")
    loader = core.AuthenticationTokenLoader
    assert hasattr(core.Config, "initialize"), f"{RAY}: Config has no initialize any more"
    assert hasattr(loader, "instance") and hasattr(loader.instance(), "reset_cache"), (
        f"{RAY}: AuthenticationTokenLoader forgets no token any more, so that a process that has "
        "imported Ray cannot join the cluster of the data dir"
    )
    services = import_module("ray._private.services")
    the_source_says(
        RAY, services, "ray_constants.ENABLE_RAY_CLUSTER", "_compat.ray.reread_environment"
    )


def test_ray_answers_for_its_head_and_autoscaler() -> None:
    pytest.importorskip("ray")
    from kodosumi_prefect._compat.ray import AUTOSCALING_STATUS

    worker = import_module("ray._private.worker")
    the_source_says(RAY, worker, "worker.gcs_client = ", "_compat.ray.ask_head")
    constants = import_module("ray._private.ray_constants")
    assert constants.DEBUG_AUTOSCALING_STATUS == AUTOSCALING_STATUS, (
        f"{RAY}: the autoscaler's status has the key {constants.DEBUG_AUTOSCALING_STATUS!r} now"
    )
    client = has(RAY, "ray._raylet", "InnerGcsClient", "_compat.ray.ask_head")
    assert hasattr(client, "internal_kv_get"), (
        f"{RAY}: a GCS client has no internal_kv_get any more, for _compat.ray.ask_head"
    )


def test_ray_leaves_a_runtime_env_without_local_folders_as_it_is() -> None:
    pytest.importorskip("ray")
    from kodosumi_prefect._compat.ray import upload_folders

    place = "ray._private.runtime_env"
    for module, name in (
        ("working_dir", "upload_working_dir_if_needed"),
        ("py_modules", "upload_py_modules_if_needed"),
    ):
        upload = has(RAY, f"{place}.{module}", name, "_compat.ray.upload_folders")
        takes(RAY, upload, "runtime_env include_gitignore logger", "_compat.ray.upload_folders")
    there = {"working_dir": "gcs://_ray_pkg_1.zip", "py_modules": ["gcs://_ray_pkg_2.zip"]}
    uploaded = upload_folders(there, logging.getLogger(__name__))
    assert json.dumps(uploaded, sort_keys=True) == json.dumps(there, sort_keys=True), (
        f"{RAY}: what is on the cluster already is uploaded again: {uploaded}"
    )


def test_ray_logs_and_names_threads_by_the_words_that_we_know() -> None:
    pytest.importorskip("ray")
    from kodosumi_prefect._compat.ray import (
        CLI_MODULE,
        CONNECTION_LOGGER,
        DRIVER_THREADS,
        NO_SIGTERM_HANDLER,
    )

    worker = import_module(CONNECTION_LOGGER)
    the_source_says(RAY, worker, NO_SIGTERM_HANDLER, "runner.ray_connection")
    the_source_says(RAY, worker, f'name="{DRIVER_THREADS}print_logs"', "adapter.capture")
    assert find_spec(CLI_MODULE) is not None, f"{RAY}: there is no {CLI_MODULE} to start a head by"


# psycopg


def test_psycopg_cancels_a_statement_by_the_method_that_we_override() -> None:
    from psycopg import AsyncConnection

    from kodosumi_prefect.database.connection import BoundedAsyncConnection

    assert hasattr(AsyncConnection, "_try_cancel"), (
        f"{PSYCOPG}: AsyncConnection has no _try_cancel any more, for _compat.psycopg"
    )
    takes(PSYCOPG, AsyncConnection._try_cancel, "timeout", "_compat.psycopg.CancellingConnection")
    the_source_says(
        PSYCOPG,
        AsyncConnection.wait,
        "self._try_cancel(timeout=",
        "_compat.psycopg: a cancelled statement would hold its task for 10 s",
    )
    for connection in (AsyncConnection, import_module("psycopg").Connection):
        takes(PSYCOPG, connection.wait, "gen timeout", "database.connection")
    assert issubclass(BoundedAsyncConnection, AsyncConnection)


# Agents' frameworks, each in the environment that has it


def test_crewais_stack_of_events_and_its_default_provider_are_as_we_know_them() -> None:
    crewai = pytest.importorskip("crewai")
    release = f"CrewAI {crewai.__version__}"
    place = "crewai.events.event_context"
    stack = has(release, place, "_event_id_stack", "the span that a crew's code is in")
    assert copy_context().run(stack.get) == ()
    pushed = has(release, place, "push_event_scope", "the same")
    context = copy_context()
    context.run(pushed, "id-1", "task_started")
    assert context.run(stack.get) == (("id-1", "task_started"),), f"{release}: another stack"
    asks = has(release, "crewai.core.providers.human_input", "get_provider", "human_input")
    the_source_says(release, asks, "SyncHumanInputProvider()", "human_input")


def test_pydantic_ai_says_whether_its_agents_are_instrumented() -> None:
    pydantic_ai = pytest.importorskip("pydantic_ai")
    release = f"Pydantic AI {pydantic_ai.__version__}"
    assert hasattr(pydantic_ai.Agent, "_instrument_default"), f"{release} has another name for it"


# Ours


def test_private_api_is_touched_in_compat_only() -> None:
    faults = []
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(COMPAT) or "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            faults += [f"{path.relative_to(PACKAGE)}: {what}" for what in _private_uses(node)]
    assert not faults, f"put these into kodosumi_prefect/_compat, and a test here: {faults}"


def _private_uses(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.startswith(PRIVATE)]
    if isinstance(node, ast.ImportFrom) and node.module:
        if node.module.startswith(PRIVATE):
            return [node.module]
        if node.module.partition(".")[0] in OF_OTHERS:
            names = [alias.name for alias in node.names if alias.name.startswith("_")]
            return [f"{node.module}.{name}" for name in names]
    if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
        own = isinstance(node.value, ast.Name) and node.value.id == "self"
        return [] if own else [f"line {node.lineno}, {node.attr}"]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value] if node.value.startswith(PRIVATE) and " " not in node.value else []
    return []


def _own_private_names(path: str, base: type) -> set[str]:
    """Private names of a base that the classes of one of our modules define anew."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                    names.add(item.name)
                elif isinstance(item, ast.Assign):
                    names |= {t.id for t in item.targets if isinstance(t, ast.Name)}
    return {
        name
        for name in names
        if name.startswith("_") and not name.startswith("__") and hasattr(base, name)
    }
