"""The processes that ``kodosumi-prefect up`` runs for one data dir."""

from kodosumi_prefect.runner.ray_client import prepare_ray_client, ray_client_environment
from kodosumi_prefect.stack.child import Child, StackError
from kodosumi_prefect.stack.stack import Stack

__all__ = ["Child", "Stack", "StackError", "prepare_ray_client", "ray_client_environment"]
