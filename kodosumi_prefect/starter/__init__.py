"""What ``kodosumi-prefect init`` copies: a flow, its form, a schedule and a test."""
