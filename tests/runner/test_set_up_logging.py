"""Setting up Prefect's logging for less, with the same result."""

import string

import pytest
from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH
from prefect.settings import PREFECT_LOGGING_LEVEL, get_current_settings, temporary_settings

from kodosumi_prefect._compat.prefect import FewVariables

pytestmark = pytest.mark.pure


def test_settings_become_the_variables_that_prefect_makes_of_them() -> None:
    with temporary_settings({PREFECT_LOGGING_LEVEL: "ERROR"}):
        settings = get_current_settings()
        every = settings.to_environment_variables(include_aliases=True)
        template = string.Template(DEFAULT_LOGGING_SETTINGS_PATH.read_text())
        few = FewVariables(settings).to_environment_variables(include_aliases=True)
        assert template.substitute(few) == template.substitute(every)
        assert len(few) < len(every) / 4, "most of them were not needed"
        # Somebody's own file may name any of them.
        assert {name: few[name] for name in every} == every
        with pytest.raises(KeyError):
            few["PREFECT_NOTHING"]
