"""Puts examples and automations into the wheel; an editable installation has them in the clone."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Examples(BuildHookInterface[Any]):
    """Of hatchling, see ``tool.hatch.build.targets.wheel.hooks`` in pyproject.toml."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            included = build_data["force_include"]
            included["flows"] = "kodosumi_prefect/examples"
            included["deployments/automations"] = "kodosumi_prefect/automation_templates"
