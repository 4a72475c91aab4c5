"""A service that answers questions with an agent of Pydantic AI, which has two tools.

Without a provider's key a built-in model answers: it knows nothing but when to use the tools.
"""

import ast
import operator
import os
import re
from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import Request

from kodosumi_prefect.core import InputsError, KodosumiError, Launch, ServeAPI
from kodosumi_prefect.core import forms as F
from kodosumi_prefect.response import Markdown

if TYPE_CHECKING:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model
    from pydantic_ai.models.function import AgentInfo

BUILT_IN = "built-in"  # the model's name where none is set
LONGEST_SUM = 200  # characters
NEEDED = (
    "With the variable `MODEL` as provider/model, such as `openai/gpt-5-mini`, and what the "
    "provider wants, such as `OPENAI_API_KEY`, that model answers; set them where this service "
    "runs and on the Ray nodes. Without it, a built-in one answers that can use the tools and "
    "nothing else."
)
INSTRUCTIONS = (
    "Answer in one or two sentences. Use the tools for every calculation and for days between "
    "dates; never work them out yourself."
)
QUESTION = "How many days are there from 2026-03-01 to 2026-12-24, and what is 17 * 23?"

app = ServeAPI(title="Assistant")

form = F.Model(
    F.Markdown(
        "An agent answers with two tools: one calculates, one counts days. Its model calls and "
        "tool calls are on the run's page, under **Trace**."
    ),
    F.Markdown(NEEDED),
    F.Errors(),
    F.InputArea("question", "Question", value=QUESTION, required=True, max_length=2000, rows=3),
    F.Submit("Ask"),
)


@app.enter(
    "/",
    model=form,
    summary="Assistant with tools",
    description=f"An agent that calculates and counts days. {NEEDED}",
    tags=["example", "pydantic-ai"],
    version="1.0",
)
def enter(inputs: dict[str, Any], request: Request) -> Launch:
    """Refuse what no model is there for, launch the rest."""
    if problem := missing():
        raise InputsError(problem)
    return Launch(request, assist, inputs=inputs)


def missing() -> str | None:
    """What this process lacks to run the agent, in one line; None if it lacks nothing."""
    if find_spec("pydantic_ai") is None:
        return "Pydantic AI is not installed; run pip install 'kodosumi-prefect[flows]'"
    try:
        model()
    except (ImportError, ValueError, RuntimeError) as exc:
        return f"MODEL is {os.environ['MODEL']!r}, which cannot be used: {exc}"
    return None


async def assist(inputs: dict[str, Any]) -> Markdown:
    """Answer ``inputs["question"]``.

    Raises:
        KodosumiError: the model cannot be used where this runs.
    """
    if problem := missing():
        raise KodosumiError(f"{problem}; on the Ray nodes, too")
    result = await make_agent(model()).run(inputs["question"])
    return Markdown(str(result.output))


def model() -> "Model":
    """The model that the variable names, else the built-in one.

    Raises:
        ImportError, ValueError, RuntimeError: it cannot be used here; says why.
    """
    from pydantic_ai.models import infer_model
    from pydantic_ai.models.function import FunctionModel

    name = os.environ.get("MODEL", "")
    if not name:
        return FunctionModel(answer_with_tools, model_name=BUILT_IN)
    provider, slash, rest = name.partition("/")
    if not slash or not rest:
        raise ValueError("it is not provider/model, such as openai/gpt-5-mini")
    return infer_model(f"{provider}:{rest}")


def make_agent(model: "Model") -> "Agent[None, str]":
    """The agent, on a model."""
    from pydantic_ai import Agent

    return Agent(
        model,
        name="assistant",
        instructions=INSTRUCTIONS,
        tools=[calculate, days_between],
        retries=2,
    )


def calculate(expression: str) -> float:
    """Work out a sum.

    Arguments:
        expression: of numbers, + - * / // % ** and brackets, such as (17 + 4) * 2.
    """
    from pydantic_ai import ModelRetry

    try:
        return _value(ast.parse(expression[:LONGEST_SUM], mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError) as exc:
        raise ModelRetry(f"{expression!r} cannot be worked out: {exc}") from exc


def days_between(start: date, end: date) -> int:
    """Count the days from one date to another.

    Arguments:
        start: the earlier date, as YYYY-MM-DD.
        end: the later one.
    """
    return (end - start).days


_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def _value(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            left = float(left)  # too large a power is refused at once
        return _OPERATORS[type(node.op)](left, right)
    raise ValueError("only numbers, + - * / // % ** and brackets are understood")


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SUM = re.compile(r"[-+(]*\d[\d.\s()]*(?:(?:\*\*|//|[-+*/%])[\s(]*-?\d[\d.\s()]*)+")


async def answer_with_tools(messages: "list[ModelMessage]", info: "AgentInfo") -> "ModelResponse":
    """The built-in model: asks for the tools that a question is for, then tells what they said."""
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart

    parts = [part for message in messages for part in message.parts]
    found = [part for part in parts if part.part_kind in ("tool-return", "retry-prompt")]
    if found:
        asked = {part.tool_call_id: part for part in parts if part.part_kind == "tool-call"}
        lines = [_told(asked[part.tool_call_id].args_as_dict(), part.content) for part in found]
        return ModelResponse(parts=[TextPart(" ".join(lines))])
    question = " ".join(str(part.content) for part in parts if part.part_kind == "user-prompt")
    dates = _DATE.findall(question)
    calls = [
        ToolCallPart("days_between", {"start": start, "end": end})
        for start, end in zip(dates[::2], dates[1::2], strict=False)
    ]
    sums = _SUM.findall(_DATE.sub(" ", question))
    calls += [ToolCallPart("calculate", {"expression": each.strip()}) for each in sums]
    if calls:
        return ModelResponse(parts=calls)
    answer = "The built-in model answers sums and days between dates only; set MODEL."
    return ModelResponse(parts=[TextPart(answer)])


def _told(asked: dict[str, Any], result: Any) -> str:
    if not isinstance(result, int | float):
        return str(result)
    if "expression" in asked:
        return f"{asked['expression']} is {result:,}."
    return f"From {asked['start']} to {asked['end']} there are {result} days."
