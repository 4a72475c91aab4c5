"""What calls of models cost: priced where they are written, by a price that is looked up once."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from kodosumi_prefect.observer.pricing import Pricing
from kodosumi_prefect.settings import ModelPrice, Settings
from kodosumi_prefect.spans import prices
from kodosumi_prefect.spans.prices import ANY, UNKNOWN, Price, Rates, catalogue, price_of
from kodosumi_prefect.spans.span import Usage
from kodosumi_prefect.spooler.append import Spooler
from kodosumi_prefect.stream.reader import Reader
from tests.spans.test_span_totals import began, ended, models, spans, totals
from tests.spooler.recording import batch, execute, fresh

PROMPT = Usage(input=1_000_000, output=500_000, cached=200_000)


@pytest.fixture
def spooler(database: str) -> Iterator[Spooler]:
    made = Spooler(database, "kodosumi")
    yield made
    made.close()


@pytest.fixture
async def reader(database: str) -> AsyncIterator[Reader]:
    async with Reader(database, "kodosumi", 2) as made:
        yield made


def own(**prices: ModelPrice) -> Settings:
    return Settings(model_prices={name.replace("_", "-"): price for name, price in prices.items()})


M1 = ModelPrice(input=1, output=4, cached=0.5)
COST = 0.8 * 1 + 0.2 * 0.5 + 0.5 * 4


def test_a_price_that_is_set_comes_first_and_the_providers_before_the_models() -> None:
    set_prices = {"gpt-5-mini": ModelPrice(input=9), "openai/gpt-5-mini": ModelPrice(input=7)}
    assert price_of("openai", "gpt-5-mini", set_prices).rates[0].input == 7
    assert price_of("azure", "gpt-5-mini", set_prices).rates[0].input == 9
    assert price_of("openai", "gpt-5-mini", {}).source.startswith("genai-prices ")


def test_a_long_prompt_costs_more_a_token_where_the_provider_says_so() -> None:
    base, long = price_of("google", "gemini-2.5-pro", {}).rates
    assert (base.above, long.above) == (ANY, 200_000)
    assert base.input is not None
    assert long.input is not None
    assert base.input < long.input


@pytest.mark.parametrize(("provider", "model"), [("p", "m-1"), ("", "m-1"), ("nobody", "gpt-5")])
def test_what_no_list_has_is_unknown(provider: str, model: str) -> None:
    assert price_of(provider, model, {}) == UNKNOWN


def test_without_genai_prices_only_prices_that_are_set_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "genai_prices", None)
    monkeypatch.setitem(__import__("sys").modules, "genai_prices.data_snapshot", None)
    assert price_of("openai", "gpt-5-mini", {}) == UNKNOWN
    assert price_of("openai", "gpt-5-mini", {"gpt-5-mini": M1}).is_known
    assert catalogue.__wrapped__() is None


def test_the_data_says_which_it_is() -> None:
    found = catalogue()
    assert found is not None
    assert found.version == prices._version()
    assert found.newest is not None


async def test_calls_are_priced_once_their_models_price_is_known(
    spooler: Spooler, database: str, reader: Reader
) -> None:
    fid, writer = fresh(), fresh()
    first = batch(fid, began("a"), ended("a", PROMPT), writer=writer)
    spooler.append([first])
    assert totals(database, fid) == (1, 1_000_000, 0, 1)
    pricing = Pricing(own(m_1=M1), reader)
    await pricing.look()
    assert totals(database, fid) == (1, 1_000_000, pytest.approx(COST), 0)
    spooler.append([batch(fid, began("b"), ended("b", PROMPT), writer=writer, number=2)])
    assert totals(database, fid) == (2, 2_000_000, pytest.approx(2 * COST), 0)
    [use] = models(database, fid)
    assert (float(use["cost"]), use["unpriced"]) == (pytest.approx(2 * COST), 0)
    assert {span["priced"] for span in spans(database, fid).values()} == {True}


def test_anthropics_cache_costs_more_to_write_and_less_to_read() -> None:
    rates = price_of("anthropic", "claude-sonnet-4-5", {}).rates[0]
    assert rates.cached is not None and rates.input is not None and rates.written is not None
    assert rates.cached < rates.input < rates.written


@pytest.mark.parametrize("known_before", [True, False])
async def test_what_is_written_to_a_cache_has_its_price(
    known_before: bool, spooler: Spooler, database: str, reader: Reader
) -> None:
    pricing = Pricing(own(m_1=M1.model_copy(update={"written": 2})), reader)
    if known_before:
        spooler.append([batch(fresh(), began("z"), ended("z", PROMPT))])
        await pricing.look()
    fid = fresh()
    spooler.append([batch(fid, began("a"), ended("a", PROMPT._replace(written=300_000)))])
    await pricing.look()
    cost = 0.5 * 1 + 0.2 * 0.5 + 0.3 * 2 + 0.5 * 4
    assert totals(database, fid) == (1, 1_000_000, pytest.approx(cost), 0)
    span = spans(database, fid)["a"]
    assert (span["written_tokens"], span["name"], span["type"]) == (300_000, "llm a", "llm")


def test_a_schema_without_them_loses_only_what_was_written_to_caches(
    spooler: Spooler, database: str
) -> None:
    execute(database, "ALTER TABLE kodosumi.span DROP COLUMN written_tokens")
    execute(database, "DROP TRIGGER price_new_spans ON kodosumi.span")
    execute(database, "DROP TRIGGER price_changed_spans ON kodosumi.span")
    fid = fresh()
    spooler.append([batch(fid, began("a"), ended("a", PROMPT._replace(written=300_000)))])
    assert totals(database, fid) == (1, 1_000_000, 0, 1)


async def test_a_cost_that_was_reported_stands(
    spooler: Spooler, database: str, reader: Reader
) -> None:
    await price(reader, database, spooler)
    fid = fresh()
    spooler.append([batch(fid, began("a"), ended("a", PROMPT, cost=0.25))])
    assert totals(database, fid) == (1, 1_000_000, 0.25, 0)
    assert not spans(database, fid)["a"]["priced"]


async def test_another_price_changes_nothing_of_before(
    spooler: Spooler, database: str, reader: Reader
) -> None:
    await price(reader, database, spooler)
    fid, writer = fresh(), fresh()
    spooler.append([batch(fid, began("a"), ended("a", PROMPT), writer=writer)])
    execute(database, "UPDATE kodosumi.model_price SET looked_up_at = '2020-01-01'")
    await Pricing(own(m_1=ModelPrice(input=100)), reader).look()
    assert totals(database, fid)[2] == pytest.approx(COST)
    spooler.append([batch(fid, began("b"), ended("b", PROMPT), writer=writer, number=2)])
    assert totals(database, fid) == (2, 2_000_000, pytest.approx(COST), 1), "output has no price"


async def test_a_call_that_says_its_model_at_the_begin_only_is_priced(
    spooler: Spooler, database: str, reader: Reader
) -> None:
    await price(reader, database, spooler)
    for events in ((began("a"), ended("a", PROMPT)), (ended("a", PROMPT), began("a"))):
        fid, writer = fresh(), fresh()
        for number, event in enumerate(events, 1):
            spooler.append([batch(fid, event, writer=writer, number=number)])
        assert totals(database, fid)[2:] == (pytest.approx(COST), 0)


async def test_an_unknown_model_stays_unpriced_and_gets_a_price_when_one_is_set(
    spooler: Spooler, database: str, reader: Reader
) -> None:
    fid = fresh()
    spooler.append([batch(fid, began("a"), ended("a", PROMPT))])
    await Pricing(Settings(), reader).look()
    assert totals(database, fid) == (1, 1_000_000, 0, 1)
    execute(database, "UPDATE kodosumi.model_price SET looked_up_at = '2020-01-01'")
    await Pricing(own(m_1=M1), reader).look()
    assert totals(database, fid)[2:] == (pytest.approx(COST), 0)


@pytest.mark.parametrize("tokens", [100, 200_000, 200_001, 1_000_000])
async def test_costs_are_those_of_the_library(
    spooler: Spooler, database: str, reader: Reader, tokens: int
) -> None:
    genai_prices: Any = pytest.importorskip("genai_prices")
    usage = genai_prices.Usage(input_tokens=tokens, output_tokens=70, cache_read_tokens=30)
    for provider, model in (("google", "gemini-2.5-pro"), ("openai", "gpt-5-mini")):
        await Pricing(Settings(), reader)._put(
            _asked(provider, model), price_of(provider, model, {})
        )
        with psycopg.connect(database) as connection:
            found = connection.execute(
                "SELECT kodosumi.cost_of(%s, %s, %s, %s, %s)", (provider, model, tokens, 70, 30)
            ).fetchone()
        listed = genai_prices.calc_price(usage, model, provider_id=provider).total_price
        assert found == (listed,)


def _asked(provider: str, model: str) -> Any:
    from kodosumi_prefect.database.rows.prices import ModelToPrice

    return ModelToPrice(provider, model, known=False)


async def price(reader: Reader, database: str, spooler: Spooler) -> None:
    """Have m-1 of provider p priced."""
    rates = Rates(ANY, Decimal(1), Decimal(4), Decimal("0.5"))
    await Pricing(Settings(), reader)._put(_asked("p", "m-1"), Price((rates,), "settings"))
