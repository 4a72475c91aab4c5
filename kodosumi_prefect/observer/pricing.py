"""Prices of the models that runs call: looked up here, multiplied where spans are written."""

import asyncio
import json
import logging
import time

from kodosumi_prefect.database.rows.prices import ModelToPrice
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spans.prices import Price, catalogue, price_of
from kodosumi_prefect.stream.reader import Reader

EVERY = 0.5  # seconds between looks for models that were called for the first time
REFRESH = 60.0  # seconds; some prices depend on the time of day
LATECOMERS = 120.0  # seconds in which a call that was being recorded meanwhile may turn up
PORTION = 200  # models, or executions, at once

logger = logging.getLogger(__name__)


class Pricing:
    """Writes what models cost into Postgres, and prices the calls that came before.

    Arguments:
        settings: ``model_prices``.
    """

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._own = settings.model_prices
        self._reader = reader
        self._learnt: dict[tuple[str, str], float] = {}  # until when to look for calls of before
        self.data: str | None = None  # where prices come from; read when the first one is asked for

    async def look(self) -> None:
        """Look up what is new, or may have changed."""
        models = await self._reader.rows_of(
            ModelToPrice, "models_to_price", older=REFRESH, limit=PORTION
        )
        if models and self.data is None:
            known = await asyncio.to_thread(catalogue)
            self.data = "model_prices alone" if known is None else str(known)
        for one in models:
            price = await asyncio.to_thread(price_of, one.provider, one.model, self._own)
            await self._put(one, price)
            if price.is_known and not one.known:
                self._learnt[one.provider, one.model] = time.monotonic() + LATECOMERS
            elif not price.is_known and one.known:
                logger.warning("the price of model %s is no longer known", one.model)
        now = time.monotonic()
        self._learnt = {model: until for model, until in self._learnt.items() if until > now}
        for provider, model in list(self._learnt):
            await self._price_earlier(provider, model)

    async def _put(self, model: ModelToPrice, price: Price) -> None:
        rates = [
            {"above": one.above}
            | {
                name: None if rate is None else str(rate)
                for name, rate in (
                    ("input", one.input),
                    ("output", one.output),
                    ("cached", one.cached),
                    ("written", one.written),
                )
            }
            for one in price.rates
        ]
        await self._reader.execute(
            "put_model_price",
            provider=model.provider,
            model=model.model,
            rates=json.dumps(rates),
            source=price.source,
        )

    async def _price_earlier(self, provider: str, model: str) -> None:
        """Calls that were recorded before the price was known; each execution by itself."""
        after = 0
        while True:
            ids = await self._reader.values(
                "executions_to_price", provider=provider, model=model, after=after, limit=PORTION
            )
            for id_ in ids:
                await self._reader.execute(
                    "price_execution", id=id_, provider=provider, model=model
                )
            if len(ids) < PORTION:
                return
            after = ids[-1]
