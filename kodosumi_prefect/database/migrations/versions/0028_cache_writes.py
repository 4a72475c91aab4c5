"""What providers charge for writing a prompt to their cache."""

from alembic import context, op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE {schema}.span ADD COLUMN written_tokens bigint;
COMMENT ON COLUMN {schema}.span.written_tokens IS
    'of input tokens, written to the provider''s cache';
ALTER TABLE {schema}.model_price ADD COLUMN written numeric;
COMMENT ON COLUMN {schema}.model_price.written IS
    'of input tokens written to the provider''s cache; null: as any input';

-- That of before stays for processes that are not upgraded yet.
CREATE FUNCTION {schema}.cost_of(provider_ text, model_ text, input_ bigint, output_ bigint,
    cached_ bigint, written_ bigint) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT ((coalesce(input_, 0) - c.cached - w.written) * p.input
        + c.cached * coalesce(p.cached, p.input) + w.written * coalesce(p.written, p.input)
        + CASE WHEN coalesce(output_, 0) = 0 THEN 0 ELSE output_ * p.output END) / 1000000
    FROM {schema}.model_price p,
        LATERAL (SELECT least(coalesce(cached_, 0), coalesce(input_, 0)) AS cached) c,
        LATERAL (SELECT least(coalesce(written_, 0), coalesce(input_, 0) - c.cached) AS written) w
    WHERE p.provider = coalesce(provider_, '') AND p.model = model_
        AND p.above < coalesce(input_, 0)
    ORDER BY p.above DESC LIMIT 1
$$;
COMMENT ON FUNCTION {schema}.cost_of(text, text, bigint, bigint, bigint, bigint) IS
    'US dollars of a call; null if the price is not known';
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT EXECUTE ON FUNCTION {schema}.cost_of(text, text, bigint, bigint, bigint, bigint)
            TO {name}_writer;
    END IF;
END $$
"""

# As 0020 has it, but for the last argument of ``cost_of``.
PRICING = """
CREATE OR REPLACE FUNCTION {schema}.{function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
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
    FROM (SELECT execution_id, id, {schema}.cost_of(provider, model, input_tokens, output_tokens,
            cached_tokens{more}) AS cost
        FROM added_spans WHERE {unpriced}) n
    WHERE s.execution_id = n.execution_id AND s.id = n.id AND s.cost IS NULL
        AND n.cost IS NOT NULL;
    RETURN NULL;
END $$
"""
UNPRICED = (
    "cost IS NULL AND model IS NOT NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL"
)


def upgrade() -> None:
    name = context.config.attributes["schema"]
    _run(STATEMENTS.format(schema=f'"{name}"', name=name))
    _price(", written_tokens")


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    _price("")
    _run(
        f"DROP FUNCTION {schema}.cost_of(text, text, bigint, bigint, bigint, bigint); "
        f"ALTER TABLE {schema}.model_price DROP COLUMN written; "
        f"ALTER TABLE {schema}.span DROP COLUMN written_tokens"
    )


def _price(more: str) -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    for function in ("price_new_spans", "price_changed_spans"):
        _run(PRICING.format(schema=schema, function=function, unpriced=UNPRICED, more=more))


def _run(statements: str) -> None:
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
