"""Options that commands share."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from kodosumi_prefect.settings import Settings, get_settings, reset_settings

C = TypeVar("C", bound=Callable[..., Any])

DataDir = Annotated[
    Path | None,
    Parameter(name="--data-dir", help="Folder of the stack, if not the configured one."),
]
Output = Annotated[
    Literal["text", "json"],
    Parameter(name=["--output", "-o"], help="text for people, json for programs."),
]


def with_options(**options: Any) -> Settings:
    """The settings in force with a command's options over them, made the process's own.

    Raises:
        pydantic.ValidationError: an option's value does not fit.
    """
    overrides = {name: value for name, value in options.items() if value is not None}
    settings = Settings(**(get_settings().model_dump(exclude_unset=True) | overrides))
    reset_settings(settings)
    return settings


def of_stack(command: C) -> C:
    """Give a command the option ``--data-dir``, which is in force while it runs."""
    signature = inspect.signature(command)
    own = inspect.Parameter(
        "data_dir", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=DataDir
    )

    @functools.wraps(command)
    def chosen(*args: Any, data_dir: Path | None = None, **options: Any) -> Any:
        if data_dir is not None:
            with_options(data_dir=data_dir)
        return command(*args, **options)

    parameters = [*signature.parameters.values(), own]
    chosen.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    chosen.__annotations__ = command.__annotations__ | {"data_dir": DataDir}
    return chosen  # type: ignore[return-value]
