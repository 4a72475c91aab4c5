"""What a Runner gets and returns; here, too, because older releases pickled it by this place."""

from kodosumi_prefect.process.order import Facts, Order, Outcome

__all__ = ["Facts", "Order", "Outcome"]
