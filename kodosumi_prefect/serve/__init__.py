"""Agentic services: endpoints in front, entrypoints behind."""
