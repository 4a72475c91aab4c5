"""Postgres: connections, the SQL of every area, migrations, retention."""
