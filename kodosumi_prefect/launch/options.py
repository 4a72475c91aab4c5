"""How a launch is executed: retries, time, resources."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Options(BaseModel):
    """What can be given at ``enter(…)`` and ``Launch(…)``; None leaves it as it is.

    Attributes:
        retries: how often a failed run is tried again.
        retry_delay: seconds before that.
        timeout: seconds the run may take.
        num_cpus, num_gpus, resources: what the Runner takes of the Ray cluster.
        memory: MiB that it takes.
        runtime_env: keys of Ray's ``runtime_env``.
        env: environment variables of the run.
    """

    model_config = ConfigDict(extra="forbid")

    retries: int | None = Field(default=None, ge=0)
    retry_delay: float | None = Field(default=None, ge=0)
    timeout: float | None = Field(default=None, gt=0)
    num_cpus: float | None = Field(default=None, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    memory: int | None = Field(default=None, ge=0)
    resources: dict[str, float] | None = None
    runtime_env: dict[str, Any] | None = None
    env: dict[str, str] | None = None

    @classmethod
    def of(cls, options: dict[str, Any]) -> Self:
        """Options by name.

        Raises:
            TypeError: one is not known.
            ValueError: one has an invalid value.
        """
        if unknown := options.keys() - cls.model_fields.keys():
            raise TypeError(
                f"{', '.join(sorted(unknown))}: not an option of a launch; options are "
                f"{', '.join(cls.model_fields)}"
            )
        try:
            return cls.model_validate(options)
        except ValidationError as exc:
            error = exc.errors()[0]
            raise ValueError(
                f"{'.'.join(map(str, error['loc']))} of a launch is {error['input']!r}: "
                f"{error['msg']}"
            ) from None

    def over(self, other: "Options") -> "Options":
        """These, and the other's where these are unset."""
        return Options(**(other.model_dump(exclude_none=True) | self.model_dump(exclude_none=True)))

    def differing(self, other: "Options") -> "Options":
        """Those of these that the other has not."""
        theirs = other.model_dump(exclude_none=True)
        ours = self.model_dump(exclude_none=True)
        return Options(**{name: value for name, value in ours.items() if theirs.get(name) != value})

    def job_variables(self) -> dict[str, Any]:
        """Those that a ``kodosumi-ray`` work pool knows."""
        return self.model_dump(
            exclude_none=True, exclude={"retries", "retry_delay", "timeout"}, mode="json"
        )
