"""Rows about prices of models."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelToPrice:
    """A row of ``models_to_price``.

    Attributes:
        known: it has a price by now, which may be another one today.
    """

    provider: str
    model: str
    known: bool
