"""What services and the panel share: bodies, limits, errors, and who calls a service."""
