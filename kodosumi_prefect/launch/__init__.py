"""From inputs to a Prefect flow run: launches, schedules, deployments of endpoints."""
