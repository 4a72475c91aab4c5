-- fragment: dashboard_row
-- What the dashboard shows of execution e; a run that is not over lasts until its last event.
e.fid::text AS fid, e.owner, coalesce(nullif(e.summary, ''), e.flow_name) AS name, e.status,
    extract(epoch FROM e.created_at)::float8 AS started,
    extract(epoch FROM coalesce(e.ended_at, e.updated_at))::float8 AS ended,
    coalesce((SELECT r.name FROM {schema}.role r WHERE r.id::text = e.owner), e.owner) AS username,
    meta.payload AS meta,
    CASE WHEN e.files > 0 THEN (SELECT count(*) FROM {schema}.file f
        WHERE f.execution_id = e.id AND f.direction = 'in') ELSE 0 END AS uploads,
    CASE WHEN e.files > 0 THEN (SELECT count(*) FROM {schema}.file f
        WHERE f.execution_id = e.id AND f.direction = 'out') ELSE 0 END AS downloads,
    CASE WHEN e.status = 'error' THEN coalesce(failure.payload, e.error) END AS error,
    CASE WHEN e.status = 'error'
        THEN extract(epoch FROM coalesce(failure.ts, e.ended_at))::float8 END AS failed

-- fragment: dashboard_meta
-- The event that describes execution e, which is among its first.
LEFT JOIN LATERAL (
    SELECT v.payload FROM {schema}.event v
    WHERE v.execution_id = e.id AND v.seq <= 100 AND v.kind = 'meta'
    ORDER BY v.seq LIMIT 1
) AS meta ON true

-- fragment: dashboard_failure
-- The error that ended execution e, which is among its last events. The end of a long one is kept,
-- since that says what went wrong.
LEFT JOIN LATERAL (
    SELECT right(v.payload, %(longest)s) AS payload, v.ts FROM {schema}.event v
    WHERE e.status = 'error' AND v.execution_id = e.id
        AND v.seq > e.ended_seq - 100 AND v.seq <= e.ended_seq AND v.kind = 'error'
    ORDER BY v.seq DESC LIMIT 1
) AS failure ON true

-- name: dashboard_executions
-- The newest executions of a span that may be seen and match, and how many match, of those that were
-- looked through: the newest `scanned` by what an index narrows down.
WITH candidate AS (
    SELECT l.execution_id AS id
    FROM {schema}.filtered_listing(%(owner)s, %(unowned)s, %(of)s, %(status)s, NULL, NULL,
        %(since)s, NULL, NULL) AS l
    ORDER BY l.created_at DESC, l.execution_id DESC LIMIT %(scanned)s
),
matching AS (
    SELECT e.id, e.created_at FROM candidate JOIN {schema}.execution e USING (id)
    CROSS JOIN LATERAL (SELECT coalesce(nullif(e.summary, ''), e.flow_name) AS name) AS called
    WHERE (%(name)s::text IS NULL
            OR position(lower(%(name)s::text) IN lower(called.name)) > 0)
        AND (%(search)s::text IS NULL OR position(lower(%(search)s::text)
            IN lower(concat_ws(chr(10), e.fid::text, called.name, e.owner, e.status))) > 0)
),
chosen AS (
    SELECT id FROM matching ORDER BY created_at DESC, id DESC LIMIT %(limit)s
)
SELECT {dashboard_row}, (SELECT count(*) FROM matching) AS total
FROM chosen JOIN {schema}.execution e USING (id)
{dashboard_meta}
{dashboard_failure}
ORDER BY e.created_at DESC, e.id DESC;

-- name: dashboard_execution
-- One execution, which may be seen.
SELECT {dashboard_row}, 1::bigint AS total
FROM {schema}.execution e
{dashboard_meta}
{dashboard_failure}
WHERE e.fid = %(fid)s::uuid;

-- name: dashboard_errors
-- Failures of a span that may be seen, what was cancelled left out, the latest first, and how many there are; looked for among the
-- newest `scanned` executions that failed.
WITH candidate AS (
    SELECT l.execution_id AS id
    FROM {schema}.filtered_listing(%(owner)s, %(unowned)s, NULL, 'error', NULL, NULL, NULL, NULL,
        NULL) AS l
    ORDER BY l.created_at DESC, l.execution_id DESC LIMIT %(scanned)s
),
matching AS (
    SELECT e.id, e.ended_at FROM candidate JOIN {schema}.execution e USING (id)
    WHERE e.ended_at >= to_timestamp(%(since)s) AND NOT {cancelled}
),
counted AS (
    SELECT count(*) AS total FROM matching
),
chosen AS (
    SELECT id FROM matching ORDER BY ended_at DESC, id DESC LIMIT %(limit)s
)
SELECT counted.total, e.fid::text AS fid, e.owner, coalesce(failure.payload, e.error) AS error,
    extract(epoch FROM coalesce(failure.ts, e.ended_at))::float8 AS failed
FROM counted LEFT JOIN (chosen JOIN {schema}.execution e USING (id)) ON true
{dashboard_failure}
ORDER BY failed DESC, e.id DESC;

-- name: dashboard_figures
-- By owner and status how many executions there are among the newest that may be seen, and for how
-- many seconds they ran in all.
WITH candidate AS (
    SELECT l.execution_id AS id, l.owner, l.status
    FROM {schema}.filtered_listing(%(owner)s, %(unowned)s, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL) AS l
    ORDER BY l.created_at DESC, l.execution_id DESC LIMIT %(scanned)s
)
SELECT e.owner, candidate.status, count(*) AS executions,
    coalesce(sum(greatest(
        extract(epoch FROM coalesce(e.ended_at, e.updated_at) - e.created_at), 0)), 0)::float8
        AS seconds,
    count(*) FILTER (WHERE {cancelled}) AS cancelled
FROM candidate JOIN {schema}.execution e USING (id)
GROUP BY e.owner, candidate.status ORDER BY executions DESC, e.owner, candidate.status;
