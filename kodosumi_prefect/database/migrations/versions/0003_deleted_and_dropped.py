"""What retention leaves: who was deleted, no empty partitions. And where a run was placed."""

from alembic import context, op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.deleted (
    fid uuid PRIMARY KEY,
    changed bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    deleted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX deleted_changed ON {schema}.deleted (changed);
COMMENT ON TABLE {schema}.deleted IS
    'executions that retention deleted within 7 days, for those who follow changes';

ALTER TABLE {schema}.execution ADD COLUMN work_pool text;
COMMENT ON COLUMN {schema}.execution.work_pool IS
    'name of the Prefect work pool, which the observer fills in; writers do not know it';

CREATE FUNCTION {schema}.empty_partitions() RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    width CONSTANT bigint := 1000;
    newest bigint := coalesce(pg_sequence_last_value(
        pg_get_serial_sequence('{schema}.execution', 'id')::regclass), 0);
    part record;
    holds boolean;
BEGIN
    FOR part IN
        SELECT c.relname::text AS name, substring(c.relname FROM '^event_([0-9]+)$')::bigint AS nth
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = '{schema}.event'::regclass ORDER BY 2
    LOOP
        -- The newest partitions get executions yet, maybe of transactions under way.
        CONTINUE WHEN part.nth IS NULL OR (part.nth + 2) * width > newest;
        CONTINUE WHEN EXISTS (SELECT FROM {schema}.execution
            WHERE id >= part.nth * width AND id < (part.nth + 1) * width);
        EXECUTE format('SELECT EXISTS (SELECT FROM {schema}.%I)', part.name) INTO holds;
        CONTINUE WHEN holds;
        RETURN NEXT part.name;
    END LOOP;
END
$body$;
COMMENT ON FUNCTION {schema}.empty_partitions IS
    'partitions whose executions are all deleted and that no new execution can fall into';

CREATE FUNCTION {schema}.drop_empty_partition(part text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $body$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('{schema}.event', 0));
    -- Waits for writers and readers of all partitions, so it gives up soon.
    LOCK TABLE {schema}.event IN ACCESS EXCLUSIVE MODE;
    IF part NOT IN (SELECT {schema}.empty_partitions()) THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE {schema}.%I', part);
    RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN false;
END
$body$;
COMMENT ON FUNCTION {schema}.drop_empty_partition IS
    'drops one empty partition; false if somebody is reading or writing just now. Retention calls '
    'it without rights to drop tables'
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema).replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DROP FUNCTION {schema}.drop_empty_partition(text); "
        f"DROP FUNCTION {schema}.empty_partitions(); DROP TABLE {schema}.deleted; "
        f"ALTER TABLE {schema}.execution DROP COLUMN work_pool"
    )
