"""CrewAI's ``human_input``: people answer it where the run's other questions are answered."""

from typing import Any

from crewai.agents.parser import AgentFinish
from crewai.core.providers.human_input import (
    AsyncExecutorContext,
    ExecutorContext,
    SyncHumanInputProvider,
)

from kodosumi_prefect import forms as F
from kodosumi_prefect._compat.crewai import ask_by_default
from kodosumi_prefect.scope import current_scope
from kodosumi_prefect.tracer import tracer

LOCK = "review"
LONGEST_TITLE = 60  # characters of the role in the question's title

_form = F.Model(
    F.InputArea("comments", "What should change?", placeholder="Nothing: it is good as it is"),
    F.Submit("Answer"),
)


class ReviewByLock(SyncHumanInputProvider):
    """Asks by a lock; outside of runs at the terminal, as CrewAI does.

    An answer without comments accepts the result, comments have the agent do it again.
    """

    def handle_feedback(
        self, formatted_answer: AgentFinish, context: ExecutorContext
    ) -> AgentFinish:
        """Ask until the answer is accepted; raises TimeoutError if nobody answers."""
        if current_scope() is None or context._is_training_mode():
            return super().handle_feedback(formatted_answer, context)
        answer = formatted_answer
        while context.ask_for_human_input:
            given = tracer.lock_sync(LOCK, form=_form, **self._wording(answer, context))
            if self._revise(given, context):
                answer = context._invoke_loop()
        return answer

    async def handle_feedback_async(
        self, formatted_answer: AgentFinish, context: AsyncExecutorContext
    ) -> AgentFinish:
        """As ``handle_feedback``; the event loop stays free."""
        if current_scope() is None or context._is_training_mode():
            return await super().handle_feedback_async(formatted_answer, context)
        answer = formatted_answer
        while context.ask_for_human_input:
            given = await tracer.lock(LOCK, form=_form, **self._wording(answer, context))
            if self._revise(given, context):
                answer = await context._ainvoke_loop()
        return answer

    def _wording(self, answer: AgentFinish, context: ExecutorContext) -> dict[str, Any]:
        task, role = context.task, str(context.agent.role).strip()
        return {
            "data": {"agent": role, "task": getattr(task, "name", None)},
            "title": f"Review the work of {role[:LONGEST_TITLE]}",
            "question": self._get_output_string(answer),
        }

    @staticmethod
    def _revise(given: dict[str, Any], context: ExecutorContext) -> bool:
        comments = str(given.get("comments") or "").strip()
        if not comments:
            context.ask_for_human_input = False
            return False
        context.messages.append(context._format_feedback_message(comments))
        return True


def switch_on() -> None:
    """Have it ask where the author set no provider of their own."""
    ask_by_default(ReviewByLock)
