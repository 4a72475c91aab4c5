"""Files of executions: what is given to a run, and what it leaves."""
