-- fragment: execution_row
-- What readers get of execution e. No function, since it has subselects: Postgres would call it for
-- each row. No e.*, since a running process does not know columns that later migrations add.
{execution_head}, e.inputs, e.final

-- fragment: list_row
-- As execution_row, for pages of many: of inputs the beginning, of results nothing.
{execution_head}, left(e.inputs, 8000) AS inputs, NULL AS final, e.run_name,
    nullif(e.deployment_name, '') AS deployment_name

-- fragment: execution_head
e.fid::text AS fid, e.owner, e.flow_name, e.deployment_id::text AS deployment_id, e.work_pool,
    e.entry_point, e.app_url, e.summary, e.description, e.tags, e.author, e.organization, e.version,
    e.deprecated, e.status, {cancelled} AS cancelled, e.state_name, e.state_ts, e.attempt,
    e.final_attempt, e.error, e.progress, e.open_locks, e.created_at, e.started_at, e.ended_at,
    e.updated_at, e.heartbeat_at, e.archived_at, e.last_seq, e.again_of::text AS again_of, e.changed,
    e.files, e.file_bytes, e.model_calls, e.tool_calls, e.span_errors, e.input_tokens,
    e.output_tokens, e.cost::float8 AS cost, e.unpriced_calls,
    coalesce((SELECT r.name FROM {schema}.role r WHERE r.id::text = e.owner), e.owner) AS username,
    CASE WHEN e.open_locks > 0 THEN ARRAY(SELECT l.lid FROM {schema}.lock l
        WHERE l.execution_id = e.id AND l.state = 'open' ORDER BY l.opened_at, l.lid)
    ELSE '{}' END AS locks

-- fragment: cancelled
-- Whether execution e was cancelled, for which Kodosumi has no word but error.
(e.status = 'error' AND e.state_type = 'CANCELLED') IS TRUE

-- name: status
-- The row of one execution, if it may be seen.
SELECT {execution_row}
FROM {schema}.execution e
WHERE fid = %(fid)s
    AND {schema}.visible(e.owner, %(owner)s, %(unowned)s);

-- name: tail
-- Where the streams of these executions stand.
SELECT fid::text, last_seq, ended_seq FROM {schema}.execution WHERE fid = ANY(%(fids)s::uuid[]);

-- name: page
-- Events of one execution behind a cursor, at most `limit` of them and about 8 MB, the first whole.
WITH chosen AS (
    SELECT e.seq, e.ts, e.kind, e.payload, e.attempt, e.source
    FROM {schema}.event e
    WHERE e.execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
        AND e.seq > %(after)s
        AND e.seq <= coalesce(%(until)s, 9223372036854775807)
        AND (%(kinds)s::text[] IS NULL OR e.kind = ANY(%(kinds)s::text[]))
        AND (%(task_run)s::text IS NULL
            OR %(task_run)s IN (e.source->'task_run'->>'id', e.source->'task_run'->>'name'))
        AND (%(subflow)s::text IS NULL
            OR %(subflow)s IN (e.source->'subflow'->>'id', e.source->'subflow'->>'name'))
        AND (%(node)s::text IS NULL OR e.source->>'node' = %(node)s)
        AND (%(pid)s::text IS NULL OR e.source->>'pid' = %(pid)s)
    ORDER BY e.seq LIMIT %(limit)s
),
weighed AS (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY seq) - octet_length(payload) AS before,
        count(*) OVER () AS matches
    FROM chosen
)
SELECT seq, extract(epoch FROM ts)::float8 AS ts, kind, payload, attempt, source, matches
FROM weighed WHERE before < 8000000 ORDER BY seq;

-- name: latest
-- The newest events of one execution before a seq, at most `limit` and about 8 MB, the last whole.
WITH newest AS (
    SELECT seq, ts, kind, payload, attempt, source,
        sum(octet_length(payload)) OVER (ORDER BY seq DESC) - octet_length(payload) AS behind
    FROM {schema}.event
    WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
        AND seq < %(before)s AND kind = ANY(%(kinds)s::text[])
        AND (%(task_run)s::text IS NULL
            OR %(task_run)s IN (source->'task_run'->>'id', source->'task_run'->>'name'))
        AND (%(subflow)s::text IS NULL
            OR %(subflow)s IN (source->'subflow'->>'id', source->'subflow'->>'name'))
    ORDER BY seq DESC LIMIT %(limit)s
)
SELECT seq, extract(epoch FROM ts)::float8 AS ts, kind, payload, attempt, source
FROM newest WHERE behind < 8000000 ORDER BY seq;

-- name: latest_step
-- The newest event behind a seq that says what a run does: an agent, an action, or a task run.
SELECT seq, extract(epoch FROM ts)::float8 AS ts, kind, payload, attempt, source
FROM {schema}.event
WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
    AND seq > %(after)s
    AND (kind IN ('agent', 'action')
        OR kind = 'debug' AND source ? 'task_run' AND starts_with(payload, 'task '))
ORDER BY seq DESC LIMIT 1;

-- name: kind_at
-- The kind of one event.
SELECT kind FROM {schema}.event
WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s) AND seq = %(seq)s;

-- name: subflows
-- Subflows' runs that the events behind a seq name, in the order they were first named.
SELECT source->'subflow'->>'id' AS id, max(source->'subflow'->>'name') AS name, min(seq) AS first
FROM {schema}.event
WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
    AND seq > %(after)s AND seq <= %(until)s AND source->'subflow'->>'id' IS NOT NULL
GROUP BY 1 ORDER BY first LIMIT %(limit)s;

-- name: attempts
-- What the events of each attempt span.
SELECT attempt, min(seq) AS first, max(seq) AS last,
    min(ts) FILTER (WHERE kind = 'status' AND payload = 'running') AS began, max(ts) AS ended,
    count(*) FILTER (WHERE kind = ANY(%(kinds)s::text[])) AS lines
FROM {schema}.event
WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
GROUP BY attempt ORDER BY attempt;

-- name: newest_attempts
-- When the newest attempts of these executions began: each when it first ran, else by its first
-- event. Attempts follow each other, so that the seq at which one begins is found by halving.
WITH RECURSIVE halved AS (
    SELECT e.id, e.attempt, 0::bigint AS low, e.last_seq AS high
    FROM {schema}.execution e WHERE e.fid = ANY(%(fids)s::uuid[])
    UNION ALL
    SELECT id, attempt, CASE WHEN older THEN middle ELSE low END,
        CASE WHEN older THEN high ELSE middle END
    FROM (
        SELECT id, attempt, low, high, (low + high) / 2 AS middle, (
            SELECT v.attempt FROM {schema}.event v
            WHERE v.execution_id = halved.id AND v.seq = (low + high) / 2
        ) < attempt AS older
        FROM halved WHERE high - low > 1
    ) AS half
)
SELECT e.fid::text AS fid, coalesce(
    (SELECT v.ts FROM {schema}.event v
        WHERE v.execution_id = h.id AND v.seq >= h.high AND v.seq < h.high + 1000
            AND v.attempt = h.attempt AND v.kind = 'status' AND v.payload = 'running'
        ORDER BY v.seq LIMIT 1),
    (SELECT v.ts FROM {schema}.event v
        WHERE v.execution_id = h.id AND v.seq = h.high AND v.attempt = h.attempt)) AS began
FROM halved h JOIN {schema}.execution e ON e.id = h.id
WHERE h.high - h.low <= 1;

-- name: reruns
-- The execution that this one was made like, and those made like this one, as far as they may be
-- seen: the older one, then the newest.
SELECT e.fid::text AS fid, e.summary, e.flow_name, e.entry_point, e.status, e.attempt,
    {cancelled} AS cancelled, e.again_of IS NOT DISTINCT FROM %(fid)s::uuid AS later
FROM {schema}.execution e
WHERE (e.fid = %(of)s::uuid OR e.again_of = %(fid)s::uuid)
    AND {schema}.visible(e.owner, %(owner)s, %(unowned)s)
ORDER BY later, e.id DESC LIMIT 20;

-- name: deployment_name_of
-- The name of an execution's deployment; null while it is not known.
SELECT nullif(deployment_name, '') FROM {schema}.execution WHERE fid = %(fid)s::uuid;

-- name: seq_at
-- The first event of some kinds at a point in time or behind it, else the last before it.
SELECT coalesce(min(seq) FILTER (WHERE ts >= to_timestamp(%(ts)s)), max(seq)) AS seq
FROM {schema}.event
WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
    AND kind = ANY(%(kinds)s::text[]);

-- name: find_text
-- Of the events of some kinds that hold a text, upper and lower case alike: how many there are, the
-- next one in a direction from a seq, round the end if need be, and its position among the matches.
-- Terminal sequences are left out of what is searched, as panel/ansi.py leaves them out of pages.
WITH hit AS (
    SELECT seq FROM {schema}.event
    WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
        AND kind = ANY(%(kinds)s::text[])
        AND position(lower(%(text)s) IN lower(
            CASE WHEN position(chr(27) IN payload) = 0 THEN payload
            ELSE regexp_replace(
                payload,
                '\u001b(\[[0-9;:?<=>]*[ -/]*[@-~]'
                '|\][^\u0007\u001b]*(\u0007|\u001b\\)?|[@-Z\\-_]?)',
                '',
                'g'
            ) END
        )) > 0
),
chosen AS (
    SELECT CASE WHEN %(forwards)s::boolean
        THEN coalesce(min(seq) FILTER (WHERE seq > %(start)s), min(seq))
        ELSE coalesce(max(seq) FILTER (WHERE seq < %(start)s), max(seq)) END AS seq
    FROM hit
)
SELECT chosen.seq, (SELECT count(*) FROM hit) AS total,
    (SELECT count(*) FROM hit WHERE hit.seq <= chosen.seq) AS number
FROM chosen;

-- fragment: live
-- How an execution e that is not over stands, with its Runner r; stale: the process fell silent.
e.id, e.fid::text, e.status, e.state_type,
    extract(epoch FROM e.state_ts)::float8 AS state_ts, e.attempt, e.process,
    e.inputs IS NOT NULL AS opened, e.error IS NOT NULL AS has_error, e.open_locks,
    extract(epoch FROM e.created_at)::float8 AS created_at,
    e.heartbeat_at IS NULL OR e.heartbeat_at < now() - make_interval(secs => %(timeout)s) AS stale,
    extract(epoch FROM now() - e.heartbeat_at)::float8 AS silent,
    r.fid IS NOT NULL AS has_runner, r.actor_name, r.node, r.pid, r.worker,
    extract(epoch FROM now() - r.lease_until)::float8 AS lapsed

-- name: live_executions
-- Executions that are not over, those that wait without a process aside, for the reconciler.
SELECT {live}
FROM {schema}.execution e LEFT JOIN {schema}.runner r ON r.fid = e.fid
WHERE e.status IN ('starting', 'running', 'awaiting') AND e.suspended_leg IS NULL
    AND e.id > %(after)s
ORDER BY e.id LIMIT %(limit)s;

-- name: known_executions
-- Which of these flow runs are executions, and how they stand; for the observer.
SELECT e.fid::text, e.status, e.state_type,
    extract(epoch FROM e.state_ts)::float8 AS state_ts, e.attempt, e.process,
    e.inputs IS NOT NULL AS opened, e.error IS NOT NULL AS has_error,
    e.heartbeat_at IS NULL OR e.heartbeat_at < now() - make_interval(secs => %(timeout)s) AS stale,
    {closing} AS closing
FROM {schema}.execution e WHERE e.fid = ANY(%(fids)s::uuid[]);

-- name: begun
-- Executions that began behind an internal id and that are young, or not over and not suspended.
SELECT id, fid::text FROM {schema}.execution
WHERE id > %(after)s AND (status IN ('starting', 'running', 'awaiting') AND suspended_leg IS NULL
    OR created_at > now() - make_interval(secs => %(young)s))
ORDER BY id LIMIT %(limit)s;

-- name: newest_log
-- When the newest of an execution's events that came from Prefect's logs was logged.
SELECT extract(epoch FROM max(ts))::float8 AS ts FROM {schema}.event
WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
    AND kind = 'debug' AND source ? 'log';

-- name: place_executions
-- Which work pools executions run in; whoever shows them links there.
UPDATE {schema}.execution e SET
    work_pool = placed.pool, changed = pg_current_xact_id()::text::bigint
FROM unnest(%(fids)s::uuid[], %(pools)s::text[]) AS placed (fid, pool)
WHERE e.fid = placed.fid AND e.work_pool IS DISTINCT FROM placed.pool
RETURNING e.fid::text;

-- name: server
-- The version of the database, to see that it answers.
SELECT current_setting('server_version') AS version;

-- name: report
-- Executions that began in a span of time, for reports over many runs.
SELECT fid::text, flow_name, summary, status, attempt, error,
    extract(epoch FROM coalesce(started_at, created_at))::float8 AS started_at,
    extract(epoch FROM ended_at)::float8 AS ended_at
FROM {schema}.execution
WHERE created_at >= to_timestamp(%(since)s) AND created_at < to_timestamp(%(until)s)
ORDER BY id LIMIT %(limit)s;

-- name: task_runs
-- Task runs that the events behind a seq name, each with where it was last seen.
SELECT DISTINCT ON (task.id) task.id, task.name, e.source->'subflow' AS subflow,
    e.source->>'node' AS node, e.source->'pid' AS pid
FROM {schema}.event e
CROSS JOIN LATERAL (
    SELECT e.source->'task_run'->>'id' AS id, e.source->'task_run'->>'name' AS name) AS task
WHERE e.execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
    AND e.seq > %(after)s AND task.id IS NOT NULL
ORDER BY task.id, e.source ? 'node' DESC, e.seq DESC LIMIT %(limit)s;

-- name: task_run_spans
-- When task runs were first and last seen in the events behind a seq.
SELECT e.source->'task_run'->>'id' AS id, min(e.ts) AS first, max(e.ts) AS last
FROM {schema}.event e
WHERE e.execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
    AND e.seq > %(after)s AND e.source->'task_run'->>'id' IS NOT NULL
GROUP BY 1;

-- name: fids_between
-- Ids of executions that begin alike, as people type them; three are enough to say that it is not one.
SELECT fid::text FROM {schema}.execution
WHERE fid BETWEEN %(first)s::uuid AND %(last)s::uuid ORDER BY fid LIMIT 3;
