"""Who runs what: Runners of a work pool, and the services that are there."""

from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE {schema}.runner
    ADD COLUMN namespace text,
    ADD COLUMN pool text,
    ADD COLUMN state text NOT NULL DEFAULT 'starting' CHECK (state IN ('starting', 'running')),
    ADD COLUMN started_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN {schema}.runner.lease_until IS
    'until when its worker answers for it; later, another worker may take the run over';

CREATE TABLE {schema}.service (
    kind text NOT NULL CHECK (kind IN ('spooler', 'worker', 'observer')),
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    info jsonb NOT NULL DEFAULT '{{}}',
    PRIMARY KEY (kind, name)
) WITH (fillfactor = 70);
COMMENT ON TABLE {schema}.service IS
    'services that say every 10 seconds that they are there, and how they are'
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema).replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DROP TABLE {schema}.service; ALTER TABLE {schema}.runner "
        "DROP COLUMN namespace, DROP COLUMN pool, DROP COLUMN state, DROP COLUMN started_at"
    )
