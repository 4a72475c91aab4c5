-- name: put_spans
-- What events say of spans; what is known of one stays as it was said first, but that its end
-- knows name, type, model and provider better.
INSERT INTO {schema}.span AS known (execution_id, id, parent, name, type, attempt, task_run,
    began_at, ended_at, status, model, provider, response, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, cost, error, begin_seq, end_seq)
SELECT %(id)s, s.id, s.parent, coalesce(s.name, 'unnamed'), coalesce(s.type, 'custom'), s.attempt,
    s.task_run, to_timestamp(s.began), to_timestamp(s.ended), s.status, s.model, s.provider,
    s.response, s.input_tokens, s.output_tokens, s.cached_tokens, s.reasoning_tokens, s.cost,
    s.error, s.begin_seq, s.end_seq
FROM jsonb_to_recordset(%(spans)s::jsonb) AS s (id text, parent text, name text, type text,
    attempt integer, task_run text, began float8, ended float8, status text, model text,
    provider text, response text, input_tokens bigint, output_tokens bigint,
    cached_tokens bigint, reasoning_tokens bigint, cost numeric, error text, begin_seq bigint,
    end_seq bigint)
ON CONFLICT (execution_id, id) DO UPDATE SET
    parent = coalesce(known.parent, excluded.parent),
    name = CASE WHEN excluded.name = 'unnamed' THEN known.name
        WHEN known.name = 'unnamed' OR known.end_seq IS NULL AND excluded.end_seq IS NOT NULL
        THEN excluded.name ELSE known.name END,
    type = CASE WHEN excluded.type = 'custom' THEN known.type
        WHEN known.type = 'custom' OR known.end_seq IS NULL AND excluded.end_seq IS NOT NULL
        THEN excluded.type ELSE known.type END,
    task_run = coalesce(known.task_run, excluded.task_run),
    began_at = coalesce(known.began_at, excluded.began_at),
    ended_at = coalesce(known.ended_at, excluded.ended_at),
    status = coalesce(known.status, excluded.status),
    model = CASE WHEN excluded.end_seq IS NULL THEN coalesce(known.model, excluded.model)
        ELSE coalesce(excluded.model, known.model) END,
    provider = CASE WHEN excluded.end_seq IS NULL THEN coalesce(known.provider, excluded.provider)
        ELSE coalesce(excluded.provider, known.provider) END,
    response = coalesce(known.response, excluded.response),
    input_tokens = coalesce(known.input_tokens, excluded.input_tokens),
    output_tokens = coalesce(known.output_tokens, excluded.output_tokens),
    cached_tokens = coalesce(known.cached_tokens, excluded.cached_tokens),
    reasoning_tokens = coalesce(known.reasoning_tokens, excluded.reasoning_tokens),
    cost = coalesce(known.cost, excluded.cost),
    error = coalesce(known.error, excluded.error),
    begin_seq = coalesce(known.begin_seq, excluded.begin_seq),
    end_seq = coalesce(known.end_seq, excluded.end_seq);

-- name: put_written_tokens
-- Of spans, what was written to the provider's cache; before `put_spans`, whose price it is part of.
INSERT INTO {schema}.span AS known (execution_id, id, name, type, attempt, task_run, written_tokens)
SELECT %(id)s, s.id, 'unnamed', 'custom', s.attempt, s.task_run, s.written_tokens
FROM jsonb_to_recordset(%(spans)s::jsonb)
    AS s (id text, attempt integer, task_run text, written_tokens bigint)
ON CONFLICT (execution_id, id) DO UPDATE SET
    written_tokens = coalesce(known.written_tokens, excluded.written_tokens);

-- name: part_span_cycles
-- Spans that would be their own ancestors become roots.
WITH RECURSIVE above (start, id) AS (
    SELECT s.id, s.parent FROM {schema}.span s
    WHERE s.execution_id = %(id)s AND s.id = ANY(%(ids)s::text[]) AND s.parent IS NOT NULL
    UNION
    SELECT a.start, s.parent FROM above a
    JOIN {schema}.span s ON s.execution_id = %(id)s AND s.id = a.id
    WHERE s.parent IS NOT NULL AND a.id <> a.start
)
UPDATE {schema}.span s SET parent = NULL
WHERE s.execution_id = %(id)s AND s.id IN (SELECT start FROM above WHERE id = start)
RETURNING s.id;

-- name: count_usage_once
-- The usage of spans below which usage is reported does not count, else it would count twice.
WITH RECURSIVE above (id) AS (
    SELECT s.parent FROM {schema}.span s
    WHERE s.execution_id = %(id)s AND s.parent IS NOT NULL AND (s.used OR s.used_below)
        AND (s.id = ANY(%(ids)s::text[]) OR s.parent = ANY(%(ids)s::text[]))
    UNION
    SELECT s.parent FROM above a
    JOIN {schema}.span s ON s.execution_id = %(id)s AND s.id = a.id
    WHERE s.parent IS NOT NULL
)
UPDATE {schema}.span s SET used_below = true
WHERE s.execution_id = %(id)s AND s.id IN (SELECT id FROM above) AND NOT s.used_below
RETURNING s.id;

-- name: count_responses_once
-- Of spans of one response of a provider the first one that ended counts.
UPDATE {schema}.span s SET repeated = NOT s.repeated
WHERE s.execution_id = %(id)s AND s.used AND s.response IN (
        SELECT response FROM {schema}.span
        WHERE execution_id = %(id)s AND id = ANY(%(ids)s::text[]) AND response IS NOT NULL)
    AND s.repeated <> EXISTS (
        SELECT FROM {schema}.span o
        WHERE o.execution_id = %(id)s AND o.response = s.response AND o.used
            AND NOT o.used_below AND (o.end_seq, o.id) < (s.end_seq, s.id))
RETURNING s.id;

-- name: spans_of
-- Spans of an execution in the order in which they were first heard of, behind a seq; only those that
-- events behind another seq say something of, or only one, if asked for. No join: with the id at hand
-- Postgres reads the index in its order, and not all spans to sort them.
SELECT s.id, s.parent, s.name, s.type, s.attempt, s.task_run,
    extract(epoch FROM s.began_at)::float8 AS began, extract(epoch FROM s.ended_at)::float8 AS ended,
    s.status, s.model, s.provider, s.input_tokens, s.output_tokens, s.cached_tokens,
    s.reasoning_tokens, s.written_tokens, s.cost::float8 AS cost, s.counted, s.error, s.begin_seq, s.end_seq,
    s.first_seq, s.again
FROM {schema}.span s
WHERE s.execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s::uuid)
    AND s.first_seq > %(after)s
    AND (%(id)s::text IS NULL OR s.id = %(id)s)
    AND (%(changed)s::bigint IS NULL OR s.begin_seq > %(changed)s OR s.end_seq > %(changed)s)
ORDER BY s.first_seq LIMIT %(limit)s;

-- name: use_by_model
-- What stored executions took of each model, of those that took most; the rest as one.
WITH used AS (
    SELECT model, sum(calls)::bigint AS calls, sum(input_tokens)::bigint AS input_tokens,
        sum(output_tokens)::bigint AS output_tokens, sum(cost) AS cost,
        sum(unpriced)::bigint AS unpriced
    FROM {schema}.model_use GROUP BY model
),
ranked AS (
    SELECT *, row_number() OVER (ORDER BY input_tokens + output_tokens DESC, model) AS place
    FROM used
)
SELECT CASE WHEN place <= %(most)s THEN model ELSE 'other' END AS model,
    sum(calls)::bigint AS calls, sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens, sum(cost)::float8 AS cost,
    sum(unpriced)::bigint AS unpriced
FROM ranked GROUP BY 1 ORDER BY 1;

-- name: model_use_of
-- What an execution took of each model, the dearest first.
SELECT m.model, m.provider, m.calls, m.input_tokens, m.output_tokens, m.cached_tokens,
    m.reasoning_tokens, m.cost::float8 AS cost, m.unpriced
FROM {schema}.model_use m JOIN {schema}.execution e ON e.id = m.execution_id
WHERE e.fid = %(fid)s::uuid AND m.calls > 0
ORDER BY m.cost DESC, m.calls DESC, m.model, m.provider;

-- name: count_spans
-- How many spans an execution has.
SELECT count(*) FROM {schema}.span
WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s::uuid);
