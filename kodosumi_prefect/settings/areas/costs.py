"""What models cost, and how much runs may spend."""

import json
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import NoDecode


class ModelPrice(BaseModel):
    """US dollars per million tokens of a model.

    Attributes:
        output: None for a model without output; what it puts out all the same has no known price.
        cached, written: of input read from, and written to the provider's cache; None if such input
            costs as any.
    """

    model_config = ConfigDict(extra="forbid")

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    cached: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    written: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class CostFields(BaseModel):
    """What models cost, and how much runs may spend. The observer reads these."""

    model_prices: Annotated[dict[str, ModelPrice], NoDecode] = Field(
        default_factory=dict,
        description=(
            "Prices of models in US dollars per million tokens, which come before those of "
            "genai-prices: JSON such as "
            '`{"my-model": {"input": 0.5, "output": 2, "cached": 0.05}}`; '
            "a name is a model's, or provider/model. They hold for calls from then on, and for "
            "earlier ones whose price was not known. Set where the observer runs."
        ),
    )
    budget_run_dollars: float | None = Field(
        default=None,
        description=(
            "US dollars that one run may spend on models, its retries and subflows included. "
            "Unset, any. This and the other budgets are set where the observer runs."
        ),
        ge=0,
    )
    budget_run_tokens: int | None = Field(
        default=None, description="Likewise tokens, input and output together.", ge=0
    )
    budget_service_day_dollars: float | None = Field(
        default=None,
        description="US dollars that all runs of one service or flow may spend on a day.",
        ge=0,
    )
    budget_service_day_tokens: int | None = Field(
        default=None, description="Likewise tokens.", ge=0
    )
    budget_owner_day_dollars: float | None = Field(
        default=None, description="US dollars that all runs of one owner may spend on a day.", ge=0
    )
    budget_owner_day_tokens: int | None = Field(default=None, description="Likewise tokens.", ge=0)
    budget_day_dollars: float | None = Field(
        default=None, description="US dollars that all runs together may spend on a day.", ge=0
    )
    budget_day_tokens: int | None = Field(default=None, description="Likewise tokens.", ge=0)
    budget_at_limit: Literal["stop", "ask"] = Field(
        default="stop",
        description=(
            "What becomes of a run whose budget is spent: it is stopped, or asks by a lock whether "
            "it may go on."
        ),
    )
    budget_unpriced: Literal["stop", "ask", "tokens"] = Field(
        default="tokens",
        description=(
            "What becomes of a run with a budget in money that calls a model whose price is not "
            "known: it is stopped, asks, or may spend `budget_unpriced_tokens` on such models."
        ),
    )
    budget_unpriced_tokens: int = Field(
        default=1_000_000,
        description="Tokens that a run may spend on models whose price is not known.",
        ge=0,
    )
    budget_zone: str = Field(
        default="UTC",
        description="The time zone in which the day of a budget begins, such as Europe/Berlin.",
    )

    @field_validator("model_prices", mode="before")
    @classmethod
    def _read_model_prices(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as exc:
            raise ValueError(f"it is no JSON: {exc}") from exc

    @field_validator("budget_zone")
    @classmethod
    def _known_budget_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            raise ValueError(f"{value!r} is no time zone; write one such as Europe/Berlin") from exc
        return value
