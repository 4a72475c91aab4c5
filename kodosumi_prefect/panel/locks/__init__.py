"""Questions of runs to people, answered in the panel."""
