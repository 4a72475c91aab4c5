"""The process of a run, from its start to its end: a Runner's actor holds this and no Prefect."""
