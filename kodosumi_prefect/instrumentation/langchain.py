"""LangChain and LangGraph: what their callbacks tell, as spans.

The handler is added by a configure hook, as LangSmith's own is, so that it hears of every runnable.
It is called inline: in the context of the code that it is about.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.tracers.context import register_configure_hook

from kodosumi_prefect.instrumentation.calls import Calls
from kodosumi_prefect.spans.span import SpanType, Usage

HIDDEN = "langsmith:hidden"  # tag of what LangGraph runs for itself
OWN_IDS = ("run-", "lc_run-", "lc_")  # ids of messages that LangChain made up

calls = Calls[UUID]("langchain", refusing=True)


def switch_on() -> None:
    """Have the handler be part of every configuration of callbacks."""
    register_configure_hook(_handler, inheritable=True)


class SpanHandler(BaseCallbackHandler):
    """Records a span for each run of LangChain's; a spent budget refuses calls of models."""

    run_inline = True
    raise_error = True  # of budgets: nothing else gets out of what is harmless

    @calls.harmless
    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """A runnable begins: a graph, a node of one, a sequence, an agent."""
        if HIDDEN in (tags or ()):
            calls.pass_over(run_id, parent_run_id)
            return
        name = _name(serialized, more) or "chain"
        agent = (metadata or {}).get("lc_agent_name")
        kind = SpanType.AGENT if agent == name and agent else SpanType.CHAIN
        _step_in(run_id, name, kind, _contents(inputs), parent_run_id)

    @calls.harmless
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """It ended."""
        _step_out(run_id, output=_contents(outputs))

    @calls.harmless
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """It failed, or was interrupted."""
        _step_out(run_id, error=_failure(error))

    @calls.harmless
    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """A chat model is called."""
        given = [_message(message) for batch in messages for message in batch]
        _model_called(serialized, given, run_id, parent_run_id, metadata, more)

    @calls.harmless
    def on_llm_start(
        self,
        serialized: dict[str, Any] | None,
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """A model that completes texts is called."""
        given: Any = prompts[0] if len(prompts) == 1 else prompts
        _model_called(serialized, given, run_id, parent_run_id, metadata, more)

    @calls.harmless
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """It answered."""
        generations = [one for batch in response.generations for one in batch]
        message = getattr(generations[0], "message", None) if generations else None
        if message is None:
            _step_out(run_id, output=[one.text for one in generations])
            return
        said = message.response_metadata
        _step_out(
            run_id,
            output=_message(message),
            model=said.get("model_name") or said.get("model"),
            usage=_usage(getattr(message, "usage_metadata", None)),
            response=_response(said.get("id") or message.id),
        )

    @calls.harmless
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """It refused, or its stream broke or was left."""
        _step_out(run_id, error=_failure(error))

    @calls.harmless
    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        inputs: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """A tool is called."""
        given = input_str if inputs is None else inputs
        _step_in(run_id, _name(serialized, more) or "tool", SpanType.TOOL, given, parent_run_id)

    @calls.harmless
    def on_tool_end(self, output: Any, *, run_id: UUID, **_: Any) -> None:
        """It returned, if only what went wrong."""
        content = output.content if isinstance(output, BaseMessage) else output
        failed = getattr(output, "status", None) == "error"
        _step_out(run_id, output=_contents(content), error=str(content) if failed else None)

    @calls.harmless
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """It raised."""
        _step_out(run_id, error=_failure(error))

    @calls.harmless
    def on_retriever_start(
        self,
        serialized: dict[str, Any] | None,
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **more: Any,
    ) -> None:
        """Documents are looked for."""
        name = _name(serialized, more) or "retriever"
        _step_in(run_id, name, SpanType.RETRIEVAL, query, parent_run_id)

    @calls.harmless
    def on_retriever_end(self, documents: Sequence[Any], *, run_id: UUID, **_: Any) -> None:
        """They were found."""
        found = [{"content": one.page_content, "metadata": one.metadata} for one in documents]
        _step_out(run_id, output=found)

    @calls.harmless
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """They were not."""
        _step_out(run_id, error=_failure(error))


_HANDLER = SpanHandler()  # keeps nothing but ids of what is open
_handler: ContextVar[Any] = ContextVar("kodosumi_langchain_handler", default=_HANDLER)


def _step_in(
    run_id: UUID,
    name: str,
    kind: str,
    given: Any,
    above: UUID | None,
    model: str | None = None,
    provider: str | None = None,
) -> None:
    span = calls.begin(run_id, name, kind, given, above=above, model=model, provider=provider)
    if span is not None:
        span.step_in()


def _step_out(run_id: UUID, **said: Any) -> None:
    span = calls.end(run_id, **said)
    if span is not None:
        span.step_out()


def _model_called(
    serialized: dict[str, Any] | None,
    given: Any,
    run_id: UUID,
    above: UUID | None,
    metadata: dict[str, Any] | None,
    more: dict[str, Any],
) -> None:
    told, asked = metadata or {}, more.get("invocation_params") or {}
    model = told.get("ls_model_name") or asked.get("model") or asked.get("model_name")
    name = _name(serialized, more) or model or "model"
    _step_in(run_id, name, SpanType.LLM, given, above, model, told.get("ls_provider"))


def _name(serialized: dict[str, Any] | None, more: Mapping[str, Any]) -> str | None:
    if name := more.get("name"):
        return str(name)
    known = serialized or {}
    name = known.get("name") or (known.get("id") or [None])[-1]
    return None if name is None else str(name)


def _message(message: BaseMessage) -> dict[str, Any]:
    """As people know messages: who said what, and which tools they asked for."""
    roles = {"human": "user", "ai": "assistant"}
    said: dict[str, Any] = {
        "role": roles.get(message.type, message.type),
        "content": message.content,
    }
    if asked := getattr(message, "tool_calls", None):
        said["tool_calls"] = [
            {"id": one["id"], "name": one["name"], "arguments": one["args"]} for one in asked
        ]
    if answered := getattr(message, "tool_call_id", None):
        said["tool_call_id"] = answered
    return said


def _contents(value: Any) -> Any:
    """Messages in it as ``_message`` has them; what LangGraph's commands would change."""
    if isinstance(value, BaseMessage):
        return _message(value)
    if isinstance(value, dict):
        return {str(name): _contents(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_contents(item) for item in value]
    if type(value).__name__ == "Command":
        return {"update": _contents(value.update), "goto": str(value.goto or "")}
    return value


def _usage(told: Mapping[str, Any] | None) -> Usage | None:
    if not told:
        return None
    given, made = told.get("input_token_details") or {}, told.get("output_token_details") or {}
    return Usage(
        told.get("input_tokens"),
        told.get("output_tokens"),
        given.get("cache_read"),
        made.get("reasoning"),
        given.get("cache_creation"),
    )


def _response(id_: str | None) -> str | None:
    """The provider's id of an answer; LangChain makes one up where there is none."""
    return None if id_ is None or id_.startswith(OWN_IDS) else id_


def _failure(error: BaseException) -> BaseException | None:
    """None where the graph stopped to ask or to go elsewhere."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return None if "GraphBubbleUp" in names else error
