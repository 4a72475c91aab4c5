-- name: models_to_price
-- Models whose price nobody has looked up, or not for a span of seconds.
SELECT provider, model, bool_or(input IS NOT NULL) AS known
FROM {schema}.model_price
GROUP BY provider, model
HAVING bool_or(looked_up_at IS NULL) OR min(looked_up_at) < now() - %(older)s * interval '1 second'
ORDER BY provider, model LIMIT %(limit)s;

-- name: put_model_price
-- What a model costs from now on; spans that have a cost keep it.
WITH gone AS (
    DELETE FROM {schema}.model_price
    WHERE provider = %(provider)s AND model = %(model)s
        AND above NOT IN (SELECT (r->>'above')::bigint FROM jsonb_array_elements(%(rates)s::jsonb) r)
)
INSERT INTO {schema}.model_price AS known
    (provider, model, above, input, output, cached, written, source, looked_up_at)
SELECT %(provider)s, %(model)s, r.above, r.input, r.output, r.cached, r.written, %(source)s, now()
FROM jsonb_to_recordset(%(rates)s::jsonb)
    AS r (above bigint, input numeric, output numeric, cached numeric, written numeric)
ON CONFLICT (provider, model, above) DO UPDATE SET input = excluded.input,
    output = excluded.output, cached = excluded.cached, written = excluded.written,
    source = excluded.source, looked_up_at = now()
RETURNING above;

-- name: executions_to_price
-- Executions with spans of a model that lack a cost.
SELECT DISTINCT execution_id FROM {schema}.span
WHERE cost IS NULL AND model = %(model)s AND coalesce(input_tokens, output_tokens) IS NOT NULL
    AND coalesce(provider, '') = %(provider)s AND execution_id > %(after)s
ORDER BY execution_id LIMIT %(limit)s;

-- name: price_execution
-- Give those spans of an execution a cost; locked as by whoever appends to it.
WITH locked AS MATERIALIZED (
    SELECT id FROM {schema}.execution WHERE id = %(id)s FOR UPDATE
)
UPDATE {schema}.span s SET priced = true, cost = {schema}.cost_of(s.provider, s.model,
    s.input_tokens, s.output_tokens, s.cached_tokens, s.written_tokens)
FROM locked
WHERE s.execution_id = locked.id AND s.cost IS NULL AND s.model = %(model)s
    AND coalesce(s.provider, '') = %(provider)s
    AND coalesce(s.input_tokens, s.output_tokens) IS NOT NULL
    AND {schema}.cost_of(s.provider, s.model, s.input_tokens, s.output_tokens, s.cached_tokens,
        s.written_tokens) IS NOT NULL
RETURNING s.id;
