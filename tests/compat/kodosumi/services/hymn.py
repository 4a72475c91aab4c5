"""A crew by its shape alone: no CrewAI is needed for an object with `kickoff`."""

from kodosumi.core import Launch, ServeAPI
from kodosumi.core import forms as F

app = ServeAPI()


class Agent:
    def __init__(self, role, goal, backstory):
        self.role, self.goal, self.backstory = role, goal, backstory
        self.tools = []


class Task:
    def __init__(self, name, description, expected_output, agent):
        self.name, self.description, self.expected_output = name, description, expected_output
        self.agent, self.tools = agent, []


class Crew:
    def __init__(self, agents, tasks):
        self.agents, self.tasks = agents, tasks
        self.step_callback = self.task_callback = None

    def kickoff(self, inputs=None):
        print("singing about", inputs["topic"])
        if self.step_callback:
            self.step_callback({"thought": "a rhyme"})
        if self.task_callback:
            self.task_callback({"raw": "the hymn is written"})
        return {"raw": f"Oh {inputs['topic']}"}


writer = Agent("writer", "write", "has written much")
crew = Crew([writer], [Task("hymn", "write about {topic}", "a hymn", writer)])

hymn_model = F.Model(
    F.Markdown("# Hymn Creator"),
    F.InputText("topic", "Topic", value="A Da Da Da."),
    F.Submit("Submit"),
    F.Cancel("Cancel"),
)


@app.enter(path="/", model=hymn_model, summary="Hymn Creator", tags=["CrewAi", "Test"])
async def enter(request, inputs: dict):
    return Launch(request, "hymn:crew", inputs=inputs)
