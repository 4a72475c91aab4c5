"""Runs on a Ray cluster: the worker, its Runners, and their supervision."""
