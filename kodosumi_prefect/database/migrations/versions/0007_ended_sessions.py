"""Which sessions somebody ended before their time, so that their tokens open nothing any more."""

from alembic import context, op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.ended_session (
    id text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX ended_session_expires ON {schema}.ended_session (expires_at);
COMMENT ON TABLE {schema}.ended_session IS 'sessions that ended with a logout';
COMMENT ON COLUMN {schema}.ended_session.expires_at IS
    'when its tokens expire anyway, and the row may go'
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema).replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(f"DROP TABLE {schema}.ended_session")
