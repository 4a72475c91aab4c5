"""Prices of models, by which spans get a cost as they are written, whoever writes them."""

from alembic import context, op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.model_price (
    provider text NOT NULL,
    model text NOT NULL,
    above bigint NOT NULL DEFAULT -1,
    input numeric,
    output numeric,
    cached numeric,
    source text,
    asked_at timestamptz NOT NULL DEFAULT now(),
    looked_up_at timestamptz,
    PRIMARY KEY (provider, model, above)
);
COMMENT ON TABLE {schema}.model_price IS
    'what models cost, in US dollars per million tokens; the observer looks it up';
COMMENT ON COLUMN {schema}.model_price.above IS
    'input tokens of a call above which the prices of this row hold for all its tokens; -1: any';
COMMENT ON COLUMN {schema}.model_price.input IS 'null: the price is not known';
COMMENT ON COLUMN {schema}.model_price.cached IS
    'of input tokens read from the provider''s cache; null: as any input';
COMMENT ON COLUMN {schema}.model_price.looked_up_at IS 'null: nobody has looked it up yet';

ALTER TABLE {schema}.span ADD COLUMN priced boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {schema}.span.priced IS 'the cost was made of tokens and prices, not reported';
CREATE INDEX span_unpriced ON {schema}.span (model, execution_id)
    WHERE cost IS NULL AND model IS NOT NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL;

CREATE FUNCTION {schema}.cost_of(provider_ text, model_ text, input_ bigint, output_ bigint,
    cached_ bigint) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT ((coalesce(input_, 0) - c.cached) * p.input + c.cached * coalesce(p.cached, p.input)
        + CASE WHEN coalesce(output_, 0) = 0 THEN 0 ELSE output_ * p.output END) / 1000000
    FROM {schema}.model_price p,
        LATERAL (SELECT least(coalesce(cached_, 0), coalesce(input_, 0)) AS cached) c
    WHERE p.provider = coalesce(provider_, '') AND p.model = model_
        AND p.above < coalesce(input_, 0)
    ORDER BY p.above DESC LIMIT 1
$$;
COMMENT ON FUNCTION {schema}.cost_of IS 'US dollars of a call; null if the price is not known';

DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.model_price TO {name}_writer;
        GRANT EXECUTE ON FUNCTION {schema}.cost_of TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        GRANT SELECT ON {schema}.model_price TO {name}_reader;
    END IF;
END $$
"""

# With the rights of whoever upgraded: writers of before were granted none on the new table.
PRICING = """
CREATE FUNCTION {schema}.{function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM added_spans WHERE {unpriced}) THEN
        RETURN NULL;
    END IF;
    INSERT INTO {schema}.model_price (provider, model)
    SELECT DISTINCT coalesce(s.provider, ''), s.model FROM added_spans s
    WHERE {unpriced} AND NOT EXISTS (SELECT FROM {schema}.model_price p
        WHERE p.provider = coalesce(s.provider, '') AND p.model = s.model)
    ORDER BY 1, 2 ON CONFLICT DO NOTHING;
    UPDATE {schema}.span s SET cost = n.cost, priced = true
    FROM (SELECT execution_id, id,
            {schema}.cost_of(provider, model, input_tokens, output_tokens, cached_tokens) AS cost
        FROM added_spans WHERE {unpriced}) n
    WHERE s.execution_id = n.execution_id AND s.id = n.id AND s.cost IS NULL
        AND n.cost IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER {function} AFTER {operation} ON {schema}.span
    REFERENCING NEW TABLE AS added_spans FOR EACH STATEMENT
    EXECUTE FUNCTION {schema}.{function}();
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT EXECUTE ON FUNCTION {schema}.{function}() TO {name}_writer;
    END IF;
END $$
"""
UNPRICED = (
    "cost IS NULL AND model IS NOT NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL"
)


def upgrade() -> None:
    name = context.config.attributes["schema"]
    values = {"schema": f'"{name}"', "name": name, "unpriced": UNPRICED}
    inserted = values | {"function": "price_new_spans", "operation": "INSERT"}
    updated = values | {"function": "price_changed_spans", "operation": "UPDATE"}
    for statements in (
        STATEMENTS.format(**values),
        PRICING.format(**inserted),
        PRICING.format(**updated),
    ):
        op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    run = op.get_bind().exec_driver_sql
    run(f"DROP TRIGGER price_new_spans ON {schema}.span")
    run(f"DROP TRIGGER price_changed_spans ON {schema}.span")
    run(f"DROP FUNCTION {schema}.price_new_spans(), {schema}.price_changed_spans()")
    run(f"DROP FUNCTION {schema}.cost_of(text, text, bigint, bigint, bigint)")
    run(f"DROP INDEX {schema}.span_unpriced")
    run(f"ALTER TABLE {schema}.span DROP COLUMN priced")
    run(f"DROP TABLE {schema}.model_price")
