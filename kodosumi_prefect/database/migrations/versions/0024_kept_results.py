"""What finished tasks and subflows returned, for the legs of a run after a suspension."""

from alembic import context, op

revision = "0024"
down_revision = "0022"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.kept_result (
    execution_id bigint NOT NULL REFERENCES {schema}.execution ON DELETE CASCADE,
    attempt integer NOT NULL,
    place text NOT NULL,
    series text NOT NULL,
    ordinal integer NOT NULL,
    name text NOT NULL,
    arguments text,
    outcome text,
    content bytea,
    obstacle text,
    PRIMARY KEY (execution_id, attempt, place, series, ordinal)
);
ALTER TABLE {schema}.kept_result ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE {schema}.kept_result IS
    'what finished tasks and subflows returned or raised, until their run is over';
COMMENT ON COLUMN {schema}.kept_result.place IS 'the run that called it';
COMMENT ON COLUMN {schema}.kept_result.series IS 'what was called, in which branch of it';
COMMENT ON COLUMN {schema}.kept_result.ordinal IS 'the calls before it in its series';
COMMENT ON COLUMN {schema}.kept_result.arguments IS 'digests of its arguments as JSON, by name';
COMMENT ON COLUMN {schema}.kept_result.obstacle IS
    'why it cannot be returned in another leg, in one line';

DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.kept_result TO {name}_writer;
    END IF;
END $$
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    statements = STATEMENTS.format(schema=f'"{name}"', name=name)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(f"DROP TABLE {schema}.kept_result")
