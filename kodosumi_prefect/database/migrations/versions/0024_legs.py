"""Legs of a run after a suspension: what is done already, and what is only said again."""

from alembic import context, op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.kept_result (
    execution_id bigint NOT NULL REFERENCES {schema}.execution ON DELETE CASCADE,
    attempt integer NOT NULL,
    place text NOT NULL,
    series text NOT NULL,
    ordinal integer NOT NULL,
    path text NOT NULL,
    name text NOT NULL,
    arguments text,
    outcome text,
    content bytea,
    obstacle text,
    PRIMARY KEY (execution_id, attempt, place, series, ordinal)
);
CREATE INDEX kept_result_path ON {schema}.kept_result (execution_id, path);
ALTER TABLE {schema}.kept_result ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE {schema}.kept_result IS
    'what finished tasks and subflows returned or raised, until their run is over';
COMMENT ON COLUMN {schema}.kept_result.place IS 'the run that called it';
COMMENT ON COLUMN {schema}.kept_result.series IS 'what was called, in which branch of it';
COMMENT ON COLUMN {schema}.kept_result.ordinal IS 'the calls before it in its series';
COMMENT ON COLUMN {schema}.kept_result.path IS 'its name as the place of calls within it';
COMMENT ON COLUMN {schema}.kept_result.arguments IS 'digests of its arguments as JSON, by name';
COMMENT ON COLUMN {schema}.kept_result.obstacle IS
    'why it cannot be returned in another leg, in one line';

CREATE TABLE {schema}.replay (
    execution_id bigint NOT NULL REFERENCES {schema}.execution ON DELETE CASCADE,
    attempt integer NOT NULL,
    leg integer NOT NULL,
    source text NOT NULL,
    seq bigint NOT NULL,
    misses integer NOT NULL,
    PRIMARY KEY (execution_id, attempt, leg, source)
);
COMMENT ON TABLE {schema}.replay IS
    'how far a leg has said again what the one before said, by who says it';
COMMENT ON COLUMN {schema}.replay.seq IS 'the last event of the leg before that was said again';
COMMENT ON COLUMN {schema}.replay.misses IS
    'words since then that were not; more than a few, and it says other things';

CREATE TABLE {schema}.replay_notice (
    flow text PRIMARY KEY,
    noticed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE {schema}.replay_notice IS
    'flows of which it was said that their code outside tasks runs again';

ALTER TABLE {schema}.span
    ADD COLUMN leg integer NOT NULL DEFAULT 0,
    ADD COLUMN again boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {schema}.span.leg IS 'which leg of its attempt it is of, from 0';
COMMENT ON COLUMN {schema}.span.again IS
    'whether it is a model call that the leg before had made already';

DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.kept_result, {schema}.replay,
            {schema}.replay_notice TO {name}_writer;
    END IF;
END $$
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    statements = STATEMENTS.format(schema=f'"{name}"', name=name)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DROP TABLE {schema}.kept_result, {schema}.replay, {schema}.replay_notice"
    )
    op.get_bind().exec_driver_sql(f"ALTER TABLE {schema}.span DROP COLUMN leg, DROP COLUMN again")
