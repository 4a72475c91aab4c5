"""Maps what Prefect says of a run, and what its code prints and logs, to events."""
