"""Durable, ordered storage of events in Postgres."""
