"""A service whose work a CrewAI crew does: a researcher and a writer brief on a topic."""

import os
from importlib.util import find_spec
from typing import Any

from fastapi import Request

from kodosumi_prefect.adapter.crew import run_crew
from kodosumi_prefect.core import InputsError, KodosumiError, Launch, ServeAPI, Tracer
from kodosumi_prefect.core import forms as F

# What CrewAI needs to reach the models of a provider; of several names in a row one is enough.
KEYS: dict[str, list[tuple[str, ...]]] = {
    "openai": [("OPENAI_API_KEY",)],
    "anthropic": [("ANTHROPIC_API_KEY",)],
    "gemini": [("GEMINI_API_KEY", "GOOGLE_API_KEY")],
    "azure": [("AZURE_API_KEY",), ("AZURE_ENDPOINT", "AZURE_API_BASE")],
    "bedrock": [("AWS_DEFAULT_REGION", "AWS_REGION_NAME")],
    "ollama": [],
}
NEEDED = (
    "Needs the variable `MODEL` as provider/model, such as `openai/gpt-5-mini`, and what the "
    "provider wants: "
    + "; ".join(
        f"{provider}: {', '.join(' or '.join(f'`{n}`' for n in names) for names in wanted)}"
        if wanted
        else f"{provider}: nothing more"
        for provider, wanted in KEYS.items()
    )
    + ". Set them where this service runs and on the Ray nodes."
)

app = ServeAPI(title="Crew")

form = F.Model(
    F.Markdown("Two agents of [CrewAI](https://docs.crewai.com) research a topic and write it up."),
    F.Markdown(NEEDED),
    F.Errors(),
    F.InputText("topic", "Topic", required=True, placeholder="How suspension bridges are built"),
    F.InputText("audience", "For whom", value="curious people"),
    F.Submit("Brief me"),
)


@app.enter(
    "/",
    model=form,
    summary="Briefing by a crew",
    description=f"A researcher and a writer brief on a topic. {NEEDED}",
    tags=["example", "crewai"],
    version="1.0",
)
def enter(inputs: dict[str, Any], request: Request) -> Launch:
    """Refuse what no model is there for, launch the rest."""
    if problem := missing():
        raise InputsError(problem)
    return Launch(request, brief, inputs=inputs)


def missing() -> str | None:
    """What this process lacks to run the crew, in one line; None if it lacks nothing."""
    if find_spec("crewai") is None:
        return (
            "CrewAI is not installed; run pip install 'kodosumi-prefect[crewai]' on Python < 3.14"
        )
    name = os.environ.get("MODEL", "")
    provider, slash, model = name.partition("/")
    if not slash or not model:
        said = f"is {name!r}" if name else "is not set"
        return f"the variable MODEL {said}; set it to provider/model, such as openai/gpt-5-mini"
    # Of a provider that is not listed here CrewAI itself says what it lacks.
    lacking = [
        " or ".join(names)
        for names in KEYS.get(provider, [])
        if not any(os.environ.get(name) for name in names)
    ]
    return f"MODEL is {name}, which needs {' and '.join(lacking)} to be set" if lacking else None


def brief(inputs: dict[str, Any], tracer: Tracer) -> Any:
    """Run the crew; its output is the result.

    Raises:
        KodosumiError: a variable for the model is not set where this runs.
    """
    if problem := missing():
        raise KodosumiError(f"{problem}, on the Ray nodes as well")
    return run_crew(make_crew(model()), inputs, tracer)


def model() -> Any:
    """The model that the variables name."""
    from crewai import LLM

    return LLM(model=os.environ["MODEL"])


def make_crew(llm: Any) -> Any:
    """A researcher and a writer on one model, for inputs ``topic`` and ``audience``."""
    from crewai import Agent, Crew, Process, Task

    researcher = Agent(
        role="Researcher of {topic}",
        goal="Find what {audience} have to know about {topic}",
        backstory="You collect facts, and you say which of them you are not sure of.",
        llm=llm,
    )
    writer = Agent(
        role="Writer",
        goal="Explain {topic} to {audience}",
        backstory="You write short and plain.",
        llm=llm,
    )
    facts = Task(
        name="facts",
        description="Collect the ten most important facts about {topic} for {audience}.",
        expected_output="Ten facts, one a line",
        agent=researcher,
    )
    text = Task(
        name="briefing",
        description="Write a briefing on {topic} for {audience} from the facts.",
        expected_output="A briefing of at most 400 words, as markdown without code fences",
        agent=writer,
        context=[facts],
    )
    return Crew(agents=[researcher, writer], tasks=[facts, text], process=Process.sequential)
