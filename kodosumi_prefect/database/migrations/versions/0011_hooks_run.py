"""Whose hooks were run by another process, since that of their run was gone."""

from alembic import context, op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.hooks_run (
    fid uuid NOT NULL,
    attempt integer NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (fid, attempt)
);
COMMENT ON TABLE {schema}.hooks_run IS
    'attempts of runs whose process was gone, and whose hooks some process took on itself to run';

-- As `db grants` has it, where the one who upgrades is not the one who granted.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.hooks_run TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        GRANT SELECT ON {schema}.hooks_run TO {name}_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    statements = STATEMENTS.format(schema=f'"{name}"', name=name)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(f"DROP TABLE {schema}.hooks_run")
