"""Events of processes that hold no database password, by a token of their execution."""
