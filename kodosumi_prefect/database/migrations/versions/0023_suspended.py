"""Which executions wait for people without a process, when they go on, and the leg of a Runner."""

from alembic import context, op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE {schema}.execution
    ADD COLUMN suspended_leg integer,
    ADD COLUMN resume_at timestamptz;
COMMENT ON COLUMN {schema}.execution.suspended_leg IS
    'the leg, from 0, that ended at a lock; null while a process runs the execution, or none yet';
COMMENT ON COLUMN {schema}.execution.resume_at IS
    'when a suspended execution goes on: at the answer, or at the first deadline of its locks';
CREATE INDEX execution_resume ON {schema}.execution (resume_at) WHERE suspended_leg IS NOT NULL;
CREATE INDEX execution_under_way ON {schema}.execution (id)
    WHERE status IN ('starting', 'running', 'awaiting') AND suspended_leg IS NULL;
CREATE INDEX execution_awaiting ON {schema}.execution (id)
    WHERE suspended_leg IS NULL AND ended_seq IS NULL
        AND (open_locks > 0 OR state_type = 'PAUSED' AND state_name = 'AwaitingInput');

ALTER TABLE {schema}.runner ADD COLUMN leg integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN {schema}.runner.leg IS
    'of the attempt, from 0: each time that a run is suspended, another one follows';

CREATE FUNCTION {schema}.resume_settled() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE {schema}.execution SET resume_at = now()
    WHERE id = NEW.execution_id AND suspended_leg IS NOT NULL;
    RETURN NULL;
END $body$;
CREATE TRIGGER lock_resumes AFTER UPDATE OF state ON {schema}.lock
    FOR EACH ROW WHEN (OLD.state = 'open' AND NEW.state <> 'open')
    EXECUTE FUNCTION {schema}.resume_settled();
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DROP TRIGGER lock_resumes ON {schema}.lock; DROP FUNCTION {schema}.resume_settled(); "
        f"ALTER TABLE {schema}.runner DROP COLUMN leg; "
        f"ALTER TABLE {schema}.execution DROP COLUMN suspended_leg, DROP COLUMN resume_at"
    )
