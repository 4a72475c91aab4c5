"""Who may see and do what in the panel."""
