"""Reading executions and their events back, live too."""
