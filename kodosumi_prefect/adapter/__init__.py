"""A run's states, prints and logs as events."""
