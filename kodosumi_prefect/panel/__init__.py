"""The panel: serves executions and their event streams over HTTP, and pages to read them."""
