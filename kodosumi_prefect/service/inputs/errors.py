"""``InputsError``, where older Kodosumi services look for it."""

from kodosumi_prefect.forms.errors import InputsError

__all__ = ["InputsError"]
