"""Waiting for people without a process: a run ends its leg at a lock, and goes on in the next."""
