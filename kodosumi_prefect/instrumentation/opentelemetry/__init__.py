"""OpenTelemetry: spans of the run's code, whichever provider of the author's makes them."""
