"""Health, metrics, and the state of every part."""
