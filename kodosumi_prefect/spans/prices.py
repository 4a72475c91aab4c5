"""What models cost: the setting ``model_prices``, and behind it the data of genai-prices.

The data is that of the installed version; nothing is fetched.
"""

import importlib.metadata
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from kodosumi_prefect.settings import ModelPrice

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice as ListedPrice

PACKAGE = "genai-prices"
OWN = "settings"  # the source of a price that is set
NOWHERE = "unknown"  # the source of a price that nobody knows
ANY = -1  # input tokens above which a price holds that always does


class Rates(NamedTuple):
    """US dollars per million tokens, for calls of more than ``above`` input tokens.

    Attributes:
        input: None if the price is not known.
        output: None if the model has no output, such as one of embeddings.
        cached: of input read from the provider's cache; None if it costs what input costs.
        written: of input written to it, for the time that it is kept by default; likewise.
    """

    above: int = ANY
    input: Decimal | None = None
    output: Decimal | None = None
    cached: Decimal | None = None
    written: Decimal | None = None


class Price(NamedTuple):
    """What a model costs.

    Attributes:
        rates: one for each size of input from which on it costs something else.
        source: where that is known from.
    """

    rates: tuple[Rates, ...]
    source: str

    @property
    def is_known(self) -> bool:
        """Whether it is."""
        return self.source != NOWHERE


UNKNOWN = Price((Rates(),), NOWHERE)


class Catalogue(NamedTuple):
    """The data that prices come from.

    Attributes:
        version: of genai-prices.
        newest: the day since when the youngest of its prices holds, of those that have a day.
    """

    version: str
    newest: date | None

    def __str__(self) -> str:
        newest = f", newest price of {self.newest}" if self.newest is not None else ""
        return f"{PACKAGE} {self.version}{newest}"


def price_of(provider: str, model: str, own: Mapping[str, ModelPrice]) -> Price:
    """What a call of a model costs now. The first call that asks genai-prices takes half a second.

    Arguments:
        provider, model: as spans name them; the provider may be empty.
        own: the setting ``model_prices``.
    """
    for name in (f"{provider}/{model}", model):
        if (known := own.get(name)) is not None:
            return Price((_own_rates(known),), OWN)
    listed = _listed(provider, model)
    if listed is None or listed.input_mtok is None:
        return UNKNOWN
    return Price(tuple(_rates(listed)), f"{PACKAGE} {_version()}")


@cache
def catalogue() -> Catalogue | None:
    """Which data there is; None if genai-prices is not installed. Reads all of it."""
    try:
        from genai_prices.data_snapshot import get_snapshot
        from genai_prices.types import StartDateConstraint
    except ImportError:
        return None
    today = datetime.now(UTC).date()
    days = [
        price.constraint.start_date
        for provider in get_snapshot().providers
        for model in provider.models
        if isinstance(model.prices, list)
        for price in model.prices
        if isinstance(price.constraint, StartDateConstraint)
        and price.constraint.start_date <= today
    ]
    return Catalogue(_version(), max(days, default=None))


def _version() -> str:
    return importlib.metadata.version(PACKAGE)


def _listed(provider: str, model: str) -> "ListedPrice | None":
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        return None
    nothing = Usage(input_tokens=0, output_tokens=0)
    try:
        return calc_price(nothing, model, provider_id=provider or None).model_price
    except LookupError:
        return None


def _own_rates(price: ModelPrice) -> Rates:
    rates = (price.input, price.output, price.cached, price.written)
    return Rates(ANY, *(_exact(rate) for rate in rates))


def _exact(rate: float | None) -> Decimal | None:
    return None if rate is None else Decimal(str(rate))


def _rates(listed: "ListedPrice") -> Iterator[Rates]:
    """One a size of input: providers charge all tokens of a long prompt at its own rate."""
    fields: tuple[Any, ...] = (
        *(listed.input_mtok, listed.output_mtok),
        *(listed.cache_read_mtok, listed.cache_write_mtok),
    )
    starts = {tier.start for field in fields for tier in getattr(field, "tiers", ())}
    for above in (ANY, *sorted(starts)):
        yield Rates(above, *(_rate(field, above) for field in fields))


def _rate(field: Any, above: int) -> Decimal | None:
    """Of a field of genai-prices, a number or one with tiers, for input just above a size."""
    if field is None or isinstance(field, Decimal):
        return field
    applicable: Decimal = field.base
    for tier in field.tiers:
        if tier.start <= above:
            applicable = tier.price
    return applicable
