"""What is told of locks and executions: Prefect's events, and webhooks."""
