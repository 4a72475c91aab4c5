"""Launches by their idempotency keys, so that one whose answer was lost can be asked for."""

from alembic import context, op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.launch_key (
    owner text NOT NULL,
    endpoint text NOT NULL,
    key text NOT NULL,
    body bytea NOT NULL,
    launch_id uuid NOT NULL UNIQUE,
    attempts integer NOT NULL DEFAULT 1,
    claimed_until timestamptz,
    lost boolean NOT NULL DEFAULT false,
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, endpoint, key)
);
CREATE INDEX launch_key_created ON {schema}.launch_key (created_at);
COMMENT ON TABLE {schema}.launch_key IS
    'launches that were asked for with a key: what was asked once is launched once';
COMMENT ON COLUMN {schema}.launch_key.body IS 'HMAC of what was posted, never that itself';
COMMENT ON COLUMN {schema}.launch_key.launch_id IS
    'of the run in Prefect, where it is the idempotency key';
COMMENT ON COLUMN {schema}.launch_key.claimed_until IS
    'a panel is at it, and says so again before this; none: nobody is';
COMMENT ON COLUMN {schema}.launch_key.lost IS
    'a service may be at it still, or may have launched it without anybody hearing of that';
COMMENT ON COLUMN {schema}.launch_key.answer IS 'what the first was answered, encrypted';

-- As `db grants` has it, where the one who upgrades is not the one who granted.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.launch_key TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        REVOKE ALL ON {schema}.launch_key FROM {name}_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    statements = STATEMENTS.format(schema=f'"{name}"', name=name)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(f"DROP TABLE {schema}.launch_key")
