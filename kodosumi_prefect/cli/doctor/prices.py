"""Prices of models, as far as they are known here."""

from kodosumi_prefect.cli.doctor.finding import Finding, ok, warn
from kodosumi_prefect.settings import Settings
from kodosumi_prefect.spans.prices import catalogue


def check_prices(settings: Settings) -> Finding:
    """Which data there is; the observer's installation may have another one."""
    own = len(settings.model_prices)
    text = f"{own} set by model_prices" if own else ""
    if (found := catalogue()) is not None:
        return ok("prices", f"{found}{f'; {text}' if text else ''}")
    remedy = "install kodosumi-prefect[prices], or set model_prices"
    return warn("prices", f"genai-prices is not installed; {text or 'no price is known'}", remedy)
