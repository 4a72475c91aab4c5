"""Executions: their lists, pages, streams and results."""
