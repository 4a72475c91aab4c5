"""Maps Prefect's states of a run, and what its code prints and logs, to events."""
