"""Executing one flow run in its own process's main thread, as Prefect's process worker would."""

import asyncio
import logging
import os
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import refresh_global_settings_context
from prefect.engine import handle_engine_signals
from prefect.exceptions import PrefectException
from prefect.flow_engine import load_flow, load_flow_run, run_flow
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelled, Crashed, Failed
from pydantic import ValidationError

from kodosumi_prefect._compat.prefect import drive, run_metrics, set_up_logging_anew, threads_left
from kodosumi_prefect._compat.prefect_tls import share_tls_context
from kodosumi_prefect.adapter import capture, stored_inputs
from kodosumi_prefect.adapter.execution import open_execution
from kodosumi_prefect.adapter.given_files import GivenFilesError, have_files, needs_files
from kodosumi_prefect.adapter.hooks import attach
from kodosumi_prefect.adapter.launched import launched
from kodosumi_prefect.adapter.literal import (
    escaped,
    is_escaped,
    opened,
    reading_literally,
    refers,
)
from kodosumi_prefect.error_line import error_line
from kodosumi_prefect.owner import schedule_of
from kodosumi_prefect.process.order import Order, Outcome
from kodosumi_prefect.runner.interruption import Interruption
from kodosumi_prefect.runner.ray_job import RayJob
from kodosumi_prefect.runner.reporting import flush, report
from kodosumi_prefect.runner.run_output import RunOutput, record_output
from kodosumi_prefect.runner.supervised import Supervised
from kodosumi_prefect.settings import PREFIX, get_settings, read_settings, reset_settings
from kodosumi_prefect.spooler.route import learn_instance
from kodosumi_prefect.suspension.leg import leg_of, next_attempt
from kodosumi_prefect.suspension.plain_flows import keeping
from kodosumi_prefect.vocabulary import FLOW_ATTRIBUTE

LEAST_TIME = 0.1  # seconds that a leg gets when the time of its run is spent

logger = logging.getLogger(__name__)


def execute(order: Order, supervised: Supervised | None = None) -> Outcome:
    """Execute a flow run to its end, whatever kind its flow is of.

    Arguments:
        supervised: without one, only what the flow's own code says is recorded.

    Never raises: an exit or error outside of the flow's own states becomes the outcome.
    """
    fid = UUID(order.flow_run_id)
    let_signals_interrupt()
    try:
        job, output = take_place(order, supervised)
        with (
            Interruption(fid) as interruption,
            threads_left(when=lambda: interruption.requested),
            handle_engine_signals(fid),
        ):
            _drive(fid, job, interruption, output)
    except SystemExit as exc:
        if exc.code not in (None, 0):
            return _not_begun(fid, f"the run's process exited with {exc.code}")
    except BaseException as exc:
        return _not_begun(fid, error_line(exc))
    finally:
        capture.finish(None)
        flush()
    return Outcome(0)


def let_signals_interrupt() -> None:
    """Give async flows asyncio's own event loops, as in Prefect's process worker.

    Ray's processes use uvloop where it is installed, and uvloop swallows what a handler of a signal
    raises: a cancelled flow would not notice.
    """
    if type(asyncio.get_event_loop_policy()).__module__.startswith("uvloop"):
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())


def take_place(order: Order, supervised: Supervised | None) -> tuple[RayJob, RunOutput]:
    """Give this process the job's environment and settings; its Ray, once it wants one.

    Returns:
        What is told of its flow, and what records its output.
    """
    os.environ.update(order.environment)
    # A setting that changed in the environment is not seen by what was imported before it.
    refresh_global_settings_context()
    share_tls_context()
    settings = order.carried
    if order.ray_address is not None:
        settings = settings | {"ray_address": order.ray_address}
    from_environment = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in order.environment.items()
        if name.startswith(PREFIX)
    }
    reset_settings(read_settings(settings | from_environment))
    learn_instance(order.instance)
    output = record_output(order.flow_run_id, supervised)
    set_up_logging_anew()  # its handlers take the streams as they are now
    job = RayJob(order.ray_address, order.runtime_env)
    job.expect()
    return job, output


def _drive(fid: UUID, job: RayJob, interruption: Interruption, output: RunOutput) -> None:
    flow_run = _with_lost_parameters(load_flow_run(fid))
    output.attempt = next_attempt(flow_run)
    state = flow_run.state
    if state is None or not (state.is_pending() or state.is_cancelling()):
        return  # ended, rescheduled or begun elsewhere while this Runner started
    run_logger = flow_run_logger(flow_run=flow_run)
    try:
        flow: Flow[..., Any] = _as_launched(load_flow(flow_run), flow_run)
        flow, flow_run = _with_data(flow, flow_run)
    except Exception as exc:
        run_logger.error("The flow could not be loaded", exc_info=True)
        _tell_not_loaded(flow_run, exc)
        return
    flow = with_time_left(flow, flow_run)
    job.loaded(flow.fn)
    if get_settings().enabled:
        attach(flow)  # a plain Prefect flow, too: who records what it says tells its states
    if interruption.requested:
        message = "Flow run was cancelled before its code began."
        report(flow_run, Cancelled(message=message), message)
        return
    is_ours = hasattr(flow.fn, FLOW_ATTRIBUTE)  # then it does so itself
    if get_settings().enabled and not is_ours and needs_files(flow, flow_run):
        try:
            have_files(flow, flow_run, open_execution(flow, flow_run, output.attempt))
        except GivenFilesError as exc:
            report(flow_run, Failed(message=str(exc)), exc)
            return
    if get_settings().enabled:
        flow = keeping(flow)
    with run_metrics(flow_run, flow):
        error_logger = cast(logging.Logger, run_logger)
        result: object = run_flow(flow, flow_run=flow_run, error_logger=error_logger)
        drive(flow, result)


def _with_lost_parameters(flow_run: FlowRun) -> FlowRun:
    """A scheduled run with the parameters of its schedule.

    Prefect 3.8's server empties a schedule's parameters when it is switched off or on, as its
    pages do; the run would begin with those of the deployment.
    """
    schedule, launch_parameters = schedule_of(flow_run), launched(flow_run.parameters)
    if schedule is None or launch_parameters is None or launch_parameters.launch.scheduled:
        return flow_run
    parameters = stored_inputs.of_schedule(get_settings(), schedule)
    if parameters is None:
        return flow_run  # a schedule that somebody made in Prefect
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, parameters=parameters)
    return flow_run.model_copy(update={"parameters": parameters})


def _as_launched(flow: "Flow[..., Any]", flow_run: FlowRun) -> "Flow[..., Any]":
    """The flow with the options its launch asked for; scheduled runs have none of their own."""
    launch_parameters = launched(flow_run.parameters)
    if launch_parameters is None:
        return flow
    launch = launch_parameters.launch
    return flow.with_options(
        timeout_seconds=launch.timeout,
        retries=launch.retries,
        retry_delay_seconds=launch.retry_delay,
    )


def with_time_left(flow: "Flow[..., Any]", flow_run: FlowRun) -> "Flow[..., Any]":
    """The flow with what is left of its timeout after the legs before, which Prefect has timed.

    Of a run's first attempt only: the legs of later ones have the whole timeout each, since Prefect
    does not tell how long an attempt ran.
    """
    if flow.timeout_seconds is None or flow_run.run_count > 1 or not leg_of(flow_run):
        return flow
    left = flow.timeout_seconds - flow_run.total_run_time.total_seconds()
    return flow.with_options(timeout_seconds=max(left, LEAST_TIME))


def _with_data(flow: "Flow[..., Any]", flow_run: FlowRun) -> "tuple[Flow[..., Any], FlowRun]":
    """A flow that gets what people typed unchanged, and its run with those parameters.

    Schedules that an earlier release made have what people typed as it is; if it looks like the
    address of a block it is none. Of the deployment's own parameters it is one, as ever.
    """
    parameters = flow_run.parameters
    if launched(parameters) is not None:
        return flow, flow_run  # its flow does so itself
    if refers(parameters) and (schedule := schedule_of(flow_run)) is not None:
        typed = stored_inputs.of_schedule(get_settings(), schedule) or {}
        data = {name: escaped(value) for name, value in typed.items() if refers(value)}
        parameters = parameters | {
            name: value for name, value in data.items() if parameters.get(name) == typed[name]
        }
    if not is_escaped(parameters):
        return flow, flow_run
    if not flow.should_validate_parameters:
        return flow, flow_run.model_copy(update={"parameters": opened(parameters)})
    return reading_literally(flow), flow_run.model_copy(update={"parameters": parameters})


def _tell_not_loaded(flow_run: FlowRun, exc: Exception) -> None:
    why = error_line(exc)
    if exc.__cause__ is not None:  # a pull step's own error names only the step
        why += f" ({error_line(exc.__cause__)})"
    report(flow_run, Crashed(message=f"Flow could not be loaded. {why}"), exc)


def _not_begun(fid: UUID, why: str) -> Outcome:
    """Report the end of a run that Prefect's engine never began; the worker may be gone."""
    try:
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(fid)
        state = flow_run.state
        if state is not None and state.is_pending():
            report(flow_run, Crashed(message=why), why)
        elif state is not None and state.is_cancelling() and flow_run.start_time is None:
            report(flow_run, Cancelled(message=f"Flow run was cancelled; {why}."), why)
    except (httpx.HTTPError, PrefectException, OSError, ValidationError) as exc:
        logger.warning("cannot report the end of flow run %s, its worker has to: %s", fid, exc)
    return Outcome(1, why)
