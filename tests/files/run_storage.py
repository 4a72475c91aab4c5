"""A storage that is registered in a database, as a panel does when it starts."""

import psycopg

from kodosumi_prefect.files.storage import storage_of
from kodosumi_prefect.settings import Settings


def register(settings: Settings, database: str) -> None:
    """Have the settings' storage be the one that holds the contents."""
    storage = storage_of(settings)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO kodosumi.file_storage (identity, url) VALUES (%s, %s)"
            " ON CONFLICT (one) DO UPDATE SET identity = excluded.identity, url = excluded.url",
            (storage.identity(), storage.url),
        )
