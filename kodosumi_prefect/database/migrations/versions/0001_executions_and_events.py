"""Executions, their events, and what makes a retried batch harmless."""

from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.instance (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    oldest_writer integer NOT NULL
);
COMMENT ON COLUMN {schema}.instance.oldest_writer IS
    'oldest writer protocol accepted; older writers keep their events in spill files';
INSERT INTO {schema}.instance (oldest_writer) VALUES (1);

CREATE TABLE {schema}.execution (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fid uuid NOT NULL UNIQUE,
    owner text,
    flow_name text,
    deployment_id uuid,
    entry_point text,
    app_url text,
    summary text,
    description text,
    tags text[],
    author text,
    organization text,
    version text,
    deprecated boolean,
    status text NOT NULL DEFAULT 'starting'
        CHECK (status IN ('starting', 'running', 'awaiting', 'finished', 'error')),
    state_type text,
    state_name text,
    state_ts timestamptz,
    attempt integer NOT NULL DEFAULT 0,
    inputs text,
    final text,
    final_attempt integer,
    error text,
    open_locks integer NOT NULL DEFAULT 0,
    progress text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ended_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_seq bigint NOT NULL DEFAULT 0,
    ended_seq bigint,
    heartbeat_at timestamptz,
    archived_at timestamptz,
    process jsonb,
    changed bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint
) WITH (fillfactor = 70);
COMMENT ON COLUMN {schema}.execution.fid IS 'the Prefect flow run';
COMMENT ON COLUMN {schema}.execution.ended_seq IS 'seq of the terminal status; streams end there';
COMMENT ON COLUMN {schema}.execution.changed IS
    'transaction that last changed what lists show; heartbeats and plain events do not count';
CREATE INDEX execution_changed ON {schema}.execution (changed);
CREATE INDEX execution_live ON {schema}.execution (id)
    WHERE status IN ('starting', 'running', 'awaiting');

CREATE TABLE {schema}.event (
    execution_id bigint NOT NULL,
    seq bigint NOT NULL,
    ts timestamptz NOT NULL,
    kind text NOT NULL,
    payload text NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    source jsonb,
    PRIMARY KEY (execution_id, seq)
) PARTITION BY RANGE (execution_id);

CREATE TABLE {schema}.writer (
    execution_id bigint NOT NULL REFERENCES {schema}.execution ON DELETE CASCADE,
    writer_id uuid NOT NULL,
    last_batch bigint NOT NULL,
    PRIMARY KEY (execution_id, writer_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE {schema}.writer IS 'the last batch stored of each writer: makes retries harmless';

CREATE TABLE {schema}.seen (
    execution_id bigint NOT NULL REFERENCES {schema}.execution ON DELETE CASCADE,
    dedupe_key text NOT NULL,
    PRIMARY KEY (execution_id, dedupe_key)
);
COMMENT ON TABLE {schema}.seen IS 'events that several reporters know, such as Prefect states';

CREATE TABLE {schema}.runner (
    fid uuid PRIMARY KEY,
    attempt integer NOT NULL,
    actor_name text,
    node text,
    pid integer,
    worker text,
    lease_until timestamptz
);
COMMENT ON TABLE {schema}.runner IS 'the Ray actor that executes a flow run';

CREATE FUNCTION {schema}.ensure_partition(wanted bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    width CONSTANT bigint := 1000;
    low bigint := (wanted / width) * width;
    part text := 'event_' || (wanted / width);
BEGIN
    IF to_regclass('{schema}.' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('{schema}.event', 0));
    IF to_regclass('{schema}.' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Made aside and attached: that waits for no reader or writer of the other partitions.
    EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.event INCLUDING ALL, '
        'CONSTRAINT range CHECK (execution_id >= %s AND execution_id < %s))',
        part, low, low + width);
    EXECUTE format('ALTER TABLE {schema}.event ATTACH PARTITION {schema}.%I '
        'FOR VALUES FROM (%s) TO (%s)', part, low, low + width);
    EXECUTE format('ALTER TABLE {schema}.%I DROP CONSTRAINT range', part);
END
$body$;
COMMENT ON FUNCTION {schema}.ensure_partition IS
    'makes the partition of one execution id; writers call it without rights to create tables';
SELECT {schema}.ensure_partition(1)
"""


def upgrade() -> None:
    # Quoted: a name may be a reserved word.
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema).replace("%", "%%"))


def downgrade() -> None:
    raise RuntimeError("there is nothing older than revision 0001; drop the schema instead")
