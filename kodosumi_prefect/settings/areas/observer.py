"""What the observer records and does from outside."""

from pydantic import BaseModel, Field, field_validator

from kodosumi_prefect.settings.values import Names, split_names


class ObserverFields(BaseModel):
    """What the observer records and does from outside."""

    observe_work_pools: Names | None = Field(
        default=None,
        description=(
            "Work pools whose flow runs become executions even if their code never heard of us: "
            "their states, logs and task runs are recorded from outside. Names separated by "
            'commas or a JSON list, `*` for all runs, in a pool or not, "" for none. Unset, the '
            "pools of type kodosumi-ray."
        ),
    )
    observe_tags: Names | None = Field(
        default=None,
        description=(
            "Likewise flow runs with any of these tags, wherever they run. Unset, tags choose none."
        ),
    )
    observe_deployments: Names | None = Field(
        default=None,
        description=(
            "Likewise flow runs of these deployments, each as flow-name/deployment-name. Unset, "
            "deployments choose none."
        ),
    )
    observe_tasks: bool = Field(
        default=True,
        description=(
            "Record when Prefect task runs of an execution start and end, as debug events. Off, "
            "streams are shorter; task runs are still on the execution's page."
        ),
    )
    link_artifacts: bool = Field(
        default=True,
        description=(
            "Have the observer put a link to the panel on each execution's flow run in Prefect, "
            "as an artifact. Turn it off if nobody who looks at Prefect can open the panel."
        ),
    )

    _observer_names = field_validator(
        "observe_work_pools",
        "observe_tags",
        "observe_deployments",
        mode="before",
    )(split_names)
