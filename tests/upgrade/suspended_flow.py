"""A flow of releases before that was suspended at its second question."""

from prefect import task
from pydantic import BaseModel

from kodosumi_prefect import Tracer, flow, forms

calls: list[str] = []
YEARS = 900_000_000.0  # seconds for which its questions wait
CREDENTIALS = forms.Model(forms.InputPassword("secret", label="Secret", required=True))


class Approval(BaseModel):
    """What people answer."""

    approved: bool = False
    comment: str = ""


@task
def drafted(topic: str) -> str:
    calls.append(topic)
    return f"a draft about {topic}"


@flow(name="contract-of-before", summary="A contract of before")
def contract(topic: str, tracer: Tracer) -> str:
    draft = drafted(topic)
    print("written before it was suspended")
    with tracer.span("read it", type="llm", model="model-of-before", provider="before") as span:
        span.set(input=draft, output="it is good", usage={"input": 800, "output": 200})
    opened = tracer.lock_sync(
        "credentials", form=CREDENTIALS, title="The secret", timeout=YEARS, suspend=True
    )
    approval = tracer.lock_sync(
        "approve",
        {"draft": draft},
        form=Approval,
        title="May this be sent?",
        ask=["team:legal", "mira"],
        remind="4h",
        escalate=("8h", "team:lead"),
        on_expiry=Approval(comment="nobody answered"),
        link=True,
        timeout=YEARS,
        suspend=True,
    )
    return f"{draft}, {opened['secret']}: {approval.comment}"
