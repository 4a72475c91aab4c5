"""Queries by name: whole, whatever they have in common."""

import re

from kodosumi_prefect.database.sql import Queries, _texts


def test_no_query_names_a_fragment_that_is_not_there() -> None:
    queries = Queries("kodosumi")
    for name in _texts():
        assert re.findall(r"\{\w+\}", queries[name].decode()) == [], name


def test_a_fragment_is_no_query() -> None:
    assert b"AS username" in Queries("kodosumi")["status"]
    assert "execution_row" not in _texts()
