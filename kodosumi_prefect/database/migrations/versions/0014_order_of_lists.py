"""What the panel's list of executions is sorted and counted by, names of runs, and saved views.

Table ``listing_order`` stands beside ``listing`` since it is narrow: sorting and counting 100,000
executions reads some 15 MB of it, where the words to search would be ten times that. Like that one
it is kept by triggers, so that writers of older code fill it as well.
"""

from alembic import context, op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

ROW = """
    e.id, coalesce(e.started_at, e.created_at), e.started_at IS NOT NULL, left(e.owner, 200),
    left(e.flow_name, 200), {deployment},
    CASE WHEN e.status = 'error' AND e.state_type = 'CANCELLED' THEN 'cancelled' ELSE e.status END,
    e.archived_at IS NOT NULL,
    CASE WHEN e.ended_at > e.started_at THEN extract(epoch FROM e.ended_at - e.started_at)::float8
        WHEN e.ended_at <= e.started_at THEN 0 END,
    left(lower(coalesce(nullif(e.summary, ''), e.flow_name, e.entry_point, e.fid::text)), 200)
"""

UPSERT = """
    ON CONFLICT (execution_id) DO UPDATE SET began = excluded.began, started = excluded.started,
        owner = excluded.owner, flow_name = excluded.flow_name, deployment = excluded.deployment,
        status = excluded.status, archived = excluded.archived, seconds = excluded.seconds,
        title = excluded.title
"""

SEARCHED = r"""
CREATE OR REPLACE FUNCTION {schema}.searched(e {schema}.execution) RETURNS tsvector
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT array_to_tsvector(
        {schema}.words_of(concat_ws(' ', e.fid::text, e.status, left(e.flow_name, 1000),
            left(e.summary, 2000), left(e.owner, 200),
            left(array_to_string(e.tags, ' '), 2000),{names}
            regexp_replace(left(e.inputs, 4000), '\\[nrt]', ' ', 'g')))
        || ARRAY(SELECT E'\x01t' || left(tag, 200) FROM unnest(e.tags[1:100]) AS tag
            WHERE tag IS NOT NULL)
        || CASE WHEN e.owner IS NULL THEN '{{}}' ELSE ARRAY[E'\x01o' || left(e.owner, 200)] END)
$body$;
"""
NAMES = " left(e.run_name, 500), left(e.deployment_name, 500),"

LIST_CHANGED = """
DROP TRIGGER list_changed ON {schema}.execution;
-- Inputs are stored once, so that nothing compares large ones with themselves.
CREATE TRIGGER list_changed AFTER UPDATE OF owner, flow_name, summary, tags, inputs, status,
    archived_at, created_at{names} ON {schema}.execution
    FOR EACH ROW WHEN (
        (OLD.status, OLD.owner, OLD.flow_name, OLD.summary, OLD.tags, OLD.archived_at,
            OLD.created_at, OLD.inputs IS NULL{old})
        IS DISTINCT FROM (NEW.status, NEW.owner, NEW.flow_name, NEW.summary, NEW.tags,
            NEW.archived_at, NEW.created_at, NEW.inputs IS NULL{new}))
    EXECUTE FUNCTION {schema}.list_execution();
"""

STATEMENTS = """
CREATE TABLE {schema}.saved_view (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner text NOT NULL,
    name text NOT NULL,
    query text NOT NULL,
    shared boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner, name)
);
CREATE INDEX saved_view_shared ON {schema}.saved_view (name) WHERE shared;
COMMENT ON TABLE {schema}.saved_view IS 'filters of the list of executions that accounts named';
COMMENT ON COLUMN {schema}.saved_view.query IS 'the query string of the list, without its ?';

CREATE TABLE {schema}.listing_order (
    execution_id bigint PRIMARY KEY,
    began timestamptz NOT NULL,
    started boolean NOT NULL,
    owner text,
    flow_name text,
    deployment text,
    status text NOT NULL,
    archived boolean NOT NULL,
    seconds double precision,
    title text NOT NULL
);
COMMENT ON TABLE {schema}.listing_order IS
    'what lists of executions are sorted and counted by; kept by triggers of table execution';
COMMENT ON COLUMN {schema}.listing_order.began IS
    'when it started, or, until it does, when it was recorded';
COMMENT ON COLUMN {schema}.listing_order.status IS
    'as people read it: what was cancelled is cancelled and no error';
COMMENT ON COLUMN {schema}.listing_order.seconds IS 'that it ran; null until it is over';
COMMENT ON COLUMN {schema}.listing_order.title IS 'in lower case';

-- Long, with many executions; nobody waits for it.
INSERT INTO {schema}.listing_order SELECT {row_before} FROM {schema}.execution e;
CREATE INDEX listing_order_newest ON {schema}.listing_order (began, execution_id)
    WHERE NOT archived;
CREATE INDEX listing_order_owner ON {schema}.listing_order (owner, began, execution_id)
    WHERE NOT archived;
CREATE INDEX listing_order_flow ON {schema}.listing_order (flow_name, began, execution_id)
    WHERE NOT archived;
CREATE INDEX listing_order_status ON {schema}.listing_order (status, began, execution_id)
    WHERE NOT archived;
CREATE INDEX listing_order_deployment ON {schema}.listing_order (deployment, began, execution_id)
    WHERE NOT archived AND deployment IS NOT NULL;
ANALYZE {schema}.listing_order;

-- From here to the end, soon, everybody waits.
ALTER TABLE {schema}.execution ADD COLUMN run_name text, ADD COLUMN deployment_name text;
CREATE INDEX execution_unnamed ON {schema}.execution (deployment_id, id)
    WHERE deployment_id IS NOT NULL AND deployment_name IS NULL;
COMMENT ON COLUMN {schema}.execution.run_name IS 'the name of its flow run in Prefect';
COMMENT ON COLUMN {schema}.execution.deployment_name IS
    'of the deployment, without its flow''s; empty where Prefect no longer knows it';
{searched}
{list_changed}
CREATE FUNCTION {schema}.order_execution() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    INSERT INTO {schema}.listing_order
    SELECT {row} FROM (SELECT NEW.*) AS e
    {upsert};
    RETURN NULL;
END
$body$;
COMMENT ON FUNCTION {schema}.order_execution IS
    'carries an execution into listing_order, for writers that may not know that table';
CREATE TRIGGER order_new AFTER INSERT ON {schema}.execution
    FOR EACH ROW EXECUTE FUNCTION {schema}.order_execution();
CREATE TRIGGER order_changed AFTER UPDATE OF owner, flow_name, deployment_name, summary,
    entry_point, status, state_type, archived_at, created_at, started_at, ended_at
    ON {schema}.execution
    FOR EACH ROW WHEN (
        (OLD.owner, OLD.flow_name, OLD.deployment_name, OLD.summary, OLD.entry_point, OLD.status,
            OLD.state_type, OLD.archived_at, OLD.created_at, OLD.started_at, OLD.ended_at)
        IS DISTINCT FROM (NEW.owner, NEW.flow_name, NEW.deployment_name, NEW.summary,
            NEW.entry_point, NEW.status, NEW.state_type, NEW.archived_at, NEW.created_at,
            NEW.started_at, NEW.ended_at))
    EXECUTE FUNCTION {schema}.order_execution();

CREATE FUNCTION {schema}.ordered_listing(viewer text, unowned boolean, of_owner text,
    statuses text[], flow text, of_deployment text, since double precision,
    until double precision, search tsquery) RETURNS SETOF {schema}.listing_order
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    -- Without a search Postgres leaves the join out; with one it is an inner join.
    SELECT l.* FROM {schema}.listing_order l
    LEFT JOIN {schema}.listing w ON w.execution_id = l.execution_id
    WHERE NOT l.archived
        AND {schema}.visible(l.owner, left(viewer, 200), unowned)
        AND (of_owner IS NULL OR l.owner = left(of_owner, 200))
        AND (statuses IS NULL OR l.status = ANY(statuses))
        AND (flow IS NULL OR l.flow_name = left(flow, 200))
        AND (of_deployment IS NULL OR l.deployment = left(of_deployment, 200))
        AND (since IS NULL OR l.began >= to_timestamp(since))
        AND (until IS NULL OR l.began < to_timestamp(until))
        AND (search IS NULL OR w.words @@ search);
END;
COMMENT ON FUNCTION {schema}.ordered_listing IS
    'executions of the panel''s list that may be seen by viewer and match a filter; null filters '
    'nothing';

-- What writers did meanwhile.
INSERT INTO {schema}.listing_order
SELECT {row} FROM {schema}.execution e
LEFT JOIN {schema}.listing_order known ON known.execution_id = e.id
WHERE known.execution_id IS NULL OR known.archived <> (e.archived_at IS NOT NULL)
    OR e.updated_at > now() - interval '10 minutes'
{upsert};
DELETE FROM {schema}.listing_order l
WHERE NOT EXISTS (SELECT FROM {schema}.execution e WHERE e.id = l.execution_id);
ALTER TABLE {schema}.listing_order
    ADD FOREIGN KEY (execution_id) REFERENCES {schema}.execution ON DELETE CASCADE;

-- As `db grants` has it, where the one who upgrades is not the one who granted.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.listing_order, {schema}.saved_view
            TO {name}_writer;
        GRANT EXECUTE ON FUNCTION {schema}.ordered_listing TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        GRANT SELECT ON {schema}.listing_order, {schema}.saved_view TO {name}_reader;
        GRANT EXECUTE ON FUNCTION {schema}.ordered_listing TO {name}_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    schema = f'"{name}"'
    statements = STATEMENTS.format(
        schema=schema,
        name=name,
        row=ROW.format(deployment="left(nullif(e.deployment_name, ''), 200)"),
        row_before=ROW.format(deployment="NULL"),
        upsert=UPSERT,
        searched=SEARCHED.format(schema=schema, names=NAMES),
        list_changed=LIST_CHANGED.format(
            schema=schema,
            names=", run_name, deployment_name",
            old=", OLD.run_name, OLD.deployment_name",
            new=", NEW.run_name, NEW.deployment_name",
        ),
    )
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    list_changed = LIST_CHANGED.format(schema=schema, names="", old="", new="")
    op.get_bind().exec_driver_sql(
        f"DROP FUNCTION {schema}.ordered_listing; DROP TRIGGER order_new ON {schema}.execution; "
        f"DROP TRIGGER order_changed ON {schema}.execution; "
        f"DROP FUNCTION {schema}.order_execution(); DROP TABLE {schema}.listing_order; "
        f"DROP TABLE {schema}.saved_view; {list_changed} "
        + SEARCHED.format(schema=schema, names="").replace("%", "%%")
        + f"ALTER TABLE {schema}.execution DROP COLUMN run_name, DROP COLUMN deployment_name"
    )
