"""Services that people like best, and how busy workers and clusters were in the last hour."""

from alembic import context, op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.favourite (
    owner text NOT NULL,
    endpoint_uid text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, endpoint_uid)
);
COMMENT ON TABLE {schema}.favourite IS 'endpoints that an account has first in its list';
COMMENT ON COLUMN {schema}.favourite.endpoint_uid IS
    'kept while its source is away or removed, and true again when it is back';

CREATE TABLE {schema}.utilisation (
    at timestamptz PRIMARY KEY,
    figures jsonb NOT NULL
);
COMMENT ON TABLE {schema}.utilisation IS
    'how busy workers and clusters were, twice a minute; panels keep two hours of it';

-- As `db grants` has it, where the one who upgrades is not the one who granted.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.favourite, {schema}.utilisation
            TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        GRANT SELECT ON {schema}.favourite, {schema}.utilisation TO {name}_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    statements = STATEMENTS.format(schema=f'"{name}"', name=name)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(f"DROP TABLE {schema}.favourite, {schema}.utilisation")
