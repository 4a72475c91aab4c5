"""Who may see what, and what a list is filtered by, each once.

Both functions consist of one expression without ``SET``, so that Postgres puts them into the
queries that call them and plans those as if they stood there: indexes are used as before.
"""

from alembic import context, op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE FUNCTION {schema}.visible(owner text, viewer text, unowned boolean) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN viewer IS NULL OR owner = viewer OR (owner IS NULL AND unowned);
COMMENT ON FUNCTION {schema}.visible IS
    'whether what belongs to owner may be seen by viewer; by null, who sees everything; unowned: '
    'also what belongs to nobody';

CREATE FUNCTION {schema}.filtered_listing(viewer text, unowned boolean, of_owner text,
    one_status text, statuses text[], flow text, since double precision, until double precision,
    search tsquery) RETURNS SETOF {schema}.listing
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT l.* FROM {schema}.listing l
    WHERE NOT l.archived
        AND {schema}.visible(l.owner, left(viewer, 200), unowned)
        AND (of_owner IS NULL OR l.owner = left(of_owner, 200))
        AND (one_status IS NULL OR l.status = one_status)
        AND (statuses IS NULL OR l.status = ANY(statuses))
        AND (flow IS NULL OR l.flow_name = left(flow, 200))
        AND (since IS NULL OR l.created_at >= to_timestamp(since))
        AND (until IS NULL OR l.created_at < to_timestamp(until))
        AND (search IS NULL OR l.words @@ search);
END;
COMMENT ON FUNCTION {schema}.filtered_listing IS
    'executions in lists that may be seen by viewer and match a filter; null filters nothing';

-- As `db grants` has it, for databases where new functions are not everybody's.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT EXECUTE ON FUNCTION {schema}.visible, {schema}.filtered_listing TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        GRANT EXECUTE ON FUNCTION {schema}.visible, {schema}.filtered_listing TO {name}_reader;
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
        f"DROP FUNCTION {schema}.filtered_listing; DROP FUNCTION {schema}.visible"
    )
