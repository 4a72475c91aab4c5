"""Environment variables with secrets of ours and of Prefect's server, which children do not get.

What somebody exported for flows, such as ``OPENAI_API_KEY``, is none of them.
"""

import os
import typing
from collections.abc import Iterator, Mapping

import prefect.settings
from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic.fields import FieldInfo

from kodosumi_prefect.settings import PREFIX, Settings
from kodosumi_prefect.settings.of_kodosumi import SECRETS as OF_KODOSUMI


def inherited_environment() -> dict[str, str]:
    """This process's environment as a child gets it."""
    return without_secret_variables(os.environ)


def without_secret_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables but for those that hold secrets of ours or of Prefect's server."""
    # Settings are read whatever the case of their variables' names.
    return {name: value for name, value in environment.items() if name.upper() not in SECRETS}


def _secret_fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        if SecretStr in (info.annotation, *typing.get_args(info.annotation)):
            yield name, info


def _of_prefects_server() -> Iterator[str]:
    server = prefect.settings.get_current_settings().server
    for settings in (server, *(getattr(server, name) for name in type(server).model_fields)):
        if not isinstance(settings, BaseModel):
            continue
        prefix = str(settings.model_config.get("env_prefix") or "")
        for name, info in _secret_fields(type(settings)):
            yield f"{prefix}{name}".upper()
            if isinstance(info.validation_alias, AliasChoices):
                choices = info.validation_alias.choices
                yield from (choice.upper() for choice in choices if isinstance(choice, str))


_OURS = {f"{PREFIX}{name.upper()}" for name, _ in _secret_fields(Settings)}
SECRETS = frozenset(_OURS | set(_of_prefects_server()) | OF_KODOSUMI)
