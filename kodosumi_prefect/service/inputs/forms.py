"""Form elements, where older Kodosumi services look for them."""

from kodosumi_prefect.forms import *  # noqa: F403
