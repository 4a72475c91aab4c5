"""Webhooks: who gets word of executions, and what became of it."""
