"""Supervises flow runs on Ray, each in a child process; knows nothing of Prefect or our recorder.

A package of its own, since importing ``kodosumi_prefect`` imports Prefect: this is all that a
Runner's actor holds while it waits.
"""
