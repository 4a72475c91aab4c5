-- name: read_instance
-- The database's own id and the oldest writer protocol it accepts.
SELECT id::text, oldest_writer FROM {schema}.instance;

-- name: find_executions
-- Internal ids of the executions of a batch, to lock them in one order everywhere.
SELECT fid::text, id FROM {schema}.execution WHERE fid = ANY(%(fids)s::uuid[]) ORDER BY id;

-- fragment: closing
-- Whether the outcome of execution e is known and its end is still to come.
e.ended_seq IS NULL AND (e.final_attempt >= e.attempt OR e.error IS NOT NULL) IS TRUE

-- name: lock_execution
-- Lock an execution and read what the next event depends on; the lock makes seq gap-free.
SELECT e.id, e.last_seq, e.status, extract(epoch FROM e.state_ts)::float8 AS state_ts, e.attempt,
    e.ended_seq, e.state_type, coalesce(w.last_batch, 0) AS last_batch,
    {closing} AS closing,
    e.open_locks, e.state_name
FROM {schema}.execution e
LEFT JOIN {schema}.writer w ON w.execution_id = e.id AND w.writer_id = %(writer)s
WHERE e.fid = %(fid)s
FOR UPDATE OF e;

-- name: create_execution
-- Insert the row of an unknown execution.
INSERT INTO {schema}.execution (fid) VALUES (%(fid)s) ON CONFLICT (fid) DO NOTHING RETURNING id;

-- name: ensure_partitions
-- Have the partition of this execution, and the next one ahead of need.
SELECT {schema}.ensure_partition(%(id)s), {schema}.ensure_partition(%(id)s + 500);

-- name: describe_execution
-- Fill what is not known yet about an execution from a batch's header. Its owner and origin are
-- never overwritten; the flow's own metadata wins over what others reported first.
UPDATE {schema}.execution SET
    owner = coalesce(owner, %(owner)s),
    deployment_id = coalesce(deployment_id, %(deployment_id)s::uuid),
    app_url = coalesce(app_url, %(app_url)s),
    flow_name = CASE WHEN %(own)s THEN coalesce(%(flow_name)s, flow_name)
        ELSE coalesce(flow_name, %(flow_name)s) END,
    entry_point = CASE WHEN %(own)s THEN coalesce(%(entry_point)s, entry_point)
        ELSE coalesce(entry_point, %(entry_point)s) END,
    summary = CASE WHEN %(own)s THEN coalesce(%(summary)s, summary)
        ELSE coalesce(summary, %(summary)s) END,
    description = CASE WHEN %(own)s THEN coalesce(%(description)s, description)
        ELSE coalesce(description, %(description)s) END,
    tags = CASE WHEN %(own)s THEN coalesce(%(tags)s::text[], tags)
        ELSE coalesce(tags, %(tags)s::text[]) END,
    author = CASE WHEN %(own)s THEN coalesce(%(author)s, author)
        ELSE coalesce(author, %(author)s) END,
    organization = CASE WHEN %(own)s THEN coalesce(%(organization)s, organization)
        ELSE coalesce(organization, %(organization)s) END,
    version = CASE WHEN %(own)s THEN coalesce(%(version)s, version)
        ELSE coalesce(version, %(version)s) END,
    deprecated = CASE WHEN %(own)s THEN coalesce(%(deprecated)s, deprecated)
        ELSE coalesce(deprecated, %(deprecated)s) END,
    changed = pg_current_xact_id()::text::bigint
WHERE id = %(id)s;

-- name: remember_process
-- Which process runs the execution now, to distinguish a dead one from a slow one.
UPDATE {schema}.execution SET process = %(process)s::jsonb WHERE id = %(id)s;

-- name: goes_on
-- A process runs the execution, whoever resumed it.
UPDATE {schema}.execution SET suspended_leg = NULL, resume_at = NULL
WHERE id = %(id)s AND suspended_leg IS NOT NULL;

-- name: name_run
-- What Prefect calls the flow run; renaming it is of no account here.
UPDATE {schema}.execution SET run_name = %(name)s WHERE id = %(id)s AND run_name IS NULL
RETURNING id;

-- name: mark_seen
-- Which of these events are new: those that several reporters know are stored once.
INSERT INTO {schema}.seen (execution_id, dedupe_key)
SELECT %(id)s, key FROM unnest(%(keys)s::text[]) AS key
ON CONFLICT DO NOTHING RETURNING dedupe_key;

-- name: copy_events
-- Store events; text format, which is written without a conversion per value.
COPY {schema}.event (execution_id, seq, ts, kind, payload, attempt, source) FROM STDIN;

-- name: finish_batch
-- Record the batch and move last_seq; counts 0 if another transaction booked it meanwhile.
WITH booked AS (
    INSERT INTO {schema}.writer AS w (execution_id, writer_id, last_batch)
    VALUES (%(id)s, %(writer)s, %(number)s)
    ON CONFLICT (execution_id, writer_id) DO UPDATE SET last_batch = excluded.last_batch
        WHERE w.last_batch = %(before)s
    RETURNING 1
)
UPDATE {schema}.execution SET
    last_seq = %(last_seq)s,
    updated_at = now(),
    heartbeat_at = CASE WHEN %(alive)s::boolean THEN now() WHEN NOT %(alive)s::boolean THEN NULL
        ELSE heartbeat_at END
WHERE id = %(id)s
RETURNING (SELECT count(*) FROM booked) AS booked;

-- name: project
-- Carry what the events of a batch mean into the row, in the batch's own transaction.
UPDATE {schema}.execution SET
    status = coalesce(%(status)s, status),
    state_type = coalesce(%(state_type)s, state_type),
    state_name = coalesce(%(state_name)s, state_name),
    state_ts = coalesce(to_timestamp(%(state_ts)s), state_ts),
    attempt = greatest(attempt, %(attempt)s),
    inputs = coalesce(inputs, %(inputs)s),
    final = coalesce(%(final)s, CASE WHEN %(reopened)s::boolean THEN NULL ELSE final END),
    final_attempt = coalesce(%(final_attempt)s,
        CASE WHEN %(reopened)s::boolean THEN NULL ELSE final_attempt END),
    error = coalesce(%(error)s, CASE WHEN %(reopened)s::boolean THEN NULL ELSE error END),
    progress = coalesce(%(progress)s,
        CASE WHEN NOT %(reopened)s::boolean AND (attempt = 0 OR attempt >= %(attempt)s)
            THEN progress END),
    open_locks = %(open_locks)s,
    started_at = coalesce(started_at, to_timestamp(%(started_at)s)),
    ended_at = coalesce(to_timestamp(%(ended_at)s),
        CASE WHEN %(reopened)s::boolean THEN NULL ELSE ended_at END),
    ended_seq = coalesce(%(ended_seq)s, CASE WHEN %(reopened)s::boolean THEN NULL ELSE ended_seq END),
    changed = CASE WHEN %(visible)s::boolean THEN pg_current_xact_id()::text::bigint ELSE changed END
WHERE id = %(id)s;

-- name: heartbeat
-- The process of these executions is alive.
UPDATE {schema}.execution SET heartbeat_at = now()
WHERE fid = ANY(%(fids)s::uuid[]) AND status NOT IN ('finished', 'error');

-- name: notify
-- Wake the feeds of these executions; in a transaction of its own, after the commit.
SELECT pg_notify(%(channel)s, fid) FROM unnest(%(fids)s::text[]) AS fid;

-- name: add_event
-- Store one event of an execution that is locked.
INSERT INTO {schema}.event (execution_id, seq, ts, kind, payload, attempt, source)
VALUES (%(id)s, %(seq)s, to_timestamp(%(ts)s), %(kind)s, %(payload)s, %(attempt)s,
    %(source)s::jsonb);

-- name: advance
-- Move last_seq behind events that were stored one by one.
UPDATE {schema}.execution SET last_seq = %(last_seq)s, updated_at = now() WHERE id = %(id)s;
