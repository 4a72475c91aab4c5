"""Calling services: those over HTTP, and those that the panel runs itself."""
