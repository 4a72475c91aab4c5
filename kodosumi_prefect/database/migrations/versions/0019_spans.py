"""Spans of executions: what agents, models and tools did, and what it took."""

from alembic import context, op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.span (
    execution_id bigint NOT NULL REFERENCES {schema}.execution ON DELETE CASCADE,
    id text NOT NULL,
    parent text,
    name text NOT NULL,
    type text NOT NULL,
    attempt integer NOT NULL,
    task_run text,
    began_at timestamptz,
    ended_at timestamptz,
    status text,
    model text,
    provider text,
    response text,
    input_tokens bigint,
    output_tokens bigint,
    cached_tokens bigint,
    reasoning_tokens bigint,
    cost numeric,
    error text,
    begin_seq bigint,
    end_seq bigint,
    used_below boolean NOT NULL DEFAULT false,
    repeated boolean NOT NULL DEFAULT false,
    first_seq bigint GENERATED ALWAYS AS (least(begin_seq, end_seq)) STORED,
    used boolean GENERATED ALWAYS AS (
        coalesce(input_tokens, output_tokens, cost) IS NOT NULL) STORED,
    counted boolean GENERATED ALWAYS AS (
        coalesce(input_tokens, output_tokens, cost) IS NOT NULL
        AND NOT used_below AND NOT repeated) STORED,
    PRIMARY KEY (execution_id, id)
);
CREATE INDEX span_parent ON {schema}.span (execution_id, parent) WHERE parent IS NOT NULL;
CREATE INDEX span_response ON {schema}.span (execution_id, response) WHERE response IS NOT NULL;
CREATE INDEX span_first ON {schema}.span (execution_id, first_seq);
COMMENT ON TABLE {schema}.span IS
    'what agents, models and tools did, made of span events; contents are in these alone';
COMMENT ON COLUMN {schema}.span.used IS 'whether tokens or a cost were reported of it';
COMMENT ON COLUMN {schema}.span.used_below IS 'whether such were reported below it';
COMMENT ON COLUMN {schema}.span.repeated IS
    'whether another span of the same response of a provider counts in its place';
COMMENT ON COLUMN {schema}.span.counted IS 'whether it is part of the totals';
COMMENT ON COLUMN {schema}.span.cost IS 'US dollars; null if the price is not known';

CREATE TABLE {schema}.model_use (
    execution_id bigint NOT NULL REFERENCES {schema}.execution ON DELETE CASCADE,
    model text NOT NULL,
    provider text NOT NULL,
    calls bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost numeric NOT NULL,
    unpriced bigint NOT NULL,
    PRIMARY KEY (execution_id, model, provider)
);
COMMENT ON TABLE {schema}.model_use IS
    'what executions took of each model; kept by triggers on span';
COMMENT ON COLUMN {schema}.model_use.unpriced IS 'calls of which the price is not known';

ALTER TABLE {schema}.execution
    ADD COLUMN model_calls integer NOT NULL DEFAULT 0,
    ADD COLUMN tool_calls integer NOT NULL DEFAULT 0,
    ADD COLUMN span_errors integer NOT NULL DEFAULT 0,
    ADD COLUMN input_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN output_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN cost numeric NOT NULL DEFAULT 0,
    ADD COLUMN unpriced_calls integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN {schema}.execution.cost IS
    'US dollars of the model calls whose price is known; kept by triggers on span';

-- As `db grants` has it, where the one who upgrades is not the one who granted.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.span, {schema}.model_use TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        GRANT SELECT ON {schema}.span, {schema}.model_use TO {name}_reader;
    END IF;
END $$
"""

# Totals follow each statement by its differences: a run of 100,000 spans is never added up anew.
TOTALS = """
CREATE FUNCTION {schema}.{function}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE {schema}.execution e SET
        model_calls = e.model_calls + d.model_calls,
        tool_calls = e.tool_calls + d.tool_calls,
        span_errors = e.span_errors + d.errors,
        input_tokens = e.input_tokens + d.input_tokens,
        output_tokens = e.output_tokens + d.output_tokens,
        cost = e.cost + d.cost,
        unpriced_calls = e.unpriced_calls + d.unpriced,
        changed = pg_current_xact_id()::text::bigint
    FROM (
        SELECT execution_id,
            coalesce(sum(sign) FILTER (WHERE type IN ('llm', 'embedding') AND NOT repeated), 0)
                AS model_calls,
            coalesce(sum(sign) FILTER (WHERE type = 'tool'), 0) AS tool_calls,
            coalesce(sum(sign) FILTER (WHERE status = 'error'), 0) AS errors,
            coalesce(sum(sign * input_tokens) FILTER (WHERE counted), 0) AS input_tokens,
            coalesce(sum(sign * output_tokens) FILTER (WHERE counted), 0) AS output_tokens,
            coalesce(sum(sign * cost) FILTER (WHERE counted), 0) AS cost,
            coalesce(sum(sign) FILTER (WHERE counted AND cost IS NULL), 0) AS unpriced
        FROM ({changes}) AS change GROUP BY execution_id
    ) d
    WHERE e.id = d.execution_id AND (d.model_calls, d.tool_calls, d.errors, d.input_tokens,
        d.output_tokens, d.cost, d.unpriced) IS DISTINCT FROM (0, 0, 0, 0, 0, 0, 0);
    INSERT INTO {schema}.model_use AS m (execution_id, model, provider, calls, input_tokens,
        output_tokens, cached_tokens, reasoning_tokens, cost, unpriced)
    SELECT execution_id, coalesce(model, ''), coalesce(provider, ''), sum(sign),
        coalesce(sum(sign * input_tokens), 0), coalesce(sum(sign * output_tokens), 0),
        coalesce(sum(sign * cached_tokens), 0), coalesce(sum(sign * reasoning_tokens), 0),
        coalesce(sum(sign * cost), 0), coalesce(sum(sign) FILTER (WHERE cost IS NULL), 0)
    FROM ({changes}) AS change WHERE counted
    GROUP BY 1, 2, 3
    ON CONFLICT (execution_id, model, provider) DO UPDATE SET
        calls = m.calls + excluded.calls,
        input_tokens = m.input_tokens + excluded.input_tokens,
        output_tokens = m.output_tokens + excluded.output_tokens,
        cached_tokens = m.cached_tokens + excluded.cached_tokens,
        reasoning_tokens = m.reasoning_tokens + excluded.reasoning_tokens,
        cost = m.cost + excluded.cost,
        unpriced = m.unpriced + excluded.unpriced;
    RETURN NULL;
END $$;
CREATE TRIGGER {function} AFTER {operation} ON {schema}.span
    REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{function}();
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT EXECUTE ON FUNCTION {schema}.{function}() TO {name}_writer;
    END IF;
END $$
"""
ADDED = "SELECT 1 AS sign, added.* FROM added_spans added"
REMOVED = "SELECT -1 AS sign, removed.* FROM removed_spans removed"


def upgrade() -> None:
    name = context.config.attributes["schema"]
    values = {"schema": f'"{name}"', "name": name}
    inserted = values | {
        "function": "add_new_spans",
        "operation": "INSERT",
        "tables": "NEW TABLE AS added_spans",
        "changes": ADDED,
    }
    updated = values | {
        "function": "add_changed_spans",
        "operation": "UPDATE",
        "tables": "OLD TABLE AS removed_spans NEW TABLE AS added_spans",
        "changes": f"{ADDED} UNION ALL {REMOVED}",
    }
    for statements in (
        STATEMENTS.format(**values),
        TOTALS.format(**inserted),
        TOTALS.format(**updated),
    ):
        op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    run = op.get_bind().exec_driver_sql
    run(f"DROP TABLE {schema}.span, {schema}.model_use")
    run(f"DROP FUNCTION {schema}.add_new_spans(), {schema}.add_changed_spans()")
    columns = (
        *("model_calls", "tool_calls", "span_errors", "input_tokens", "output_tokens"),
        *("cost", "unpriced_calls"),
    )
    run(f"ALTER TABLE {schema}.execution {', '.join(f'DROP COLUMN {c}' for c in columns)}")
