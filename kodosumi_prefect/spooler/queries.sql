-- name: read_instance
-- The database's own id and the oldest writer protocol it accepts.
SELECT id::text, oldest_writer FROM {schema}.instance;

-- name: find_executions
-- Internal ids of the executions of a batch, to lock them in one order everywhere.
SELECT fid::text, id FROM {schema}.execution WHERE fid = ANY(%(fids)s::uuid[]) ORDER BY id;

-- name: lock_execution
-- Lock an execution and read what the next event depends on; the lock makes seq gap-free.
SELECT e.id, e.last_seq, e.status, extract(epoch FROM e.state_ts)::float8 AS state_ts, e.attempt,
    e.ended_seq, e.state_type, coalesce(w.last_batch, 0) AS last_batch,
    e.ended_seq IS NULL AND (e.final_attempt >= e.attempt OR e.error IS NOT NULL) IS TRUE AS closing,
    e.open_locks
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
    progress = coalesce(%(progress)s, progress),
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

-- name: status
-- The row of one execution, if it may be seen.
SELECT *, fid::text AS fid, deployment_id::text AS deployment_id,
    coalesce((SELECT r.name FROM {schema}.role r WHERE r.id::text = e.owner), e.owner) AS username,
    CASE WHEN e.open_locks > 0 THEN ARRAY(SELECT l.lid FROM {schema}.lock l
        WHERE l.execution_id = e.id AND l.state = 'open' ORDER BY l.opened_at, l.lid)
    ELSE '{}' END AS locks
FROM {schema}.execution e
WHERE fid = %(fid)s
    AND (%(owner)s::text IS NULL OR e.owner = %(owner)s
        OR (e.owner IS NULL AND %(unowned)s::boolean));

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
        count(*) OVER () AS found
    FROM chosen
)
SELECT seq, extract(epoch FROM ts)::float8 AS ts, kind, payload, attempt, source, found
FROM weighed WHERE before < 8000000 ORDER BY seq;

-- name: timeline
-- Executions that may be seen and match a filter, newest first, behind a cursor.
SELECT e.*, e.fid::text AS fid, e.deployment_id::text AS deployment_id,
    coalesce((SELECT r.name FROM {schema}.role r WHERE r.id::text = e.owner), e.owner) AS username,
    CASE WHEN e.open_locks > 0 THEN ARRAY(SELECT l.lid FROM {schema}.lock l
        WHERE l.execution_id = e.id AND l.state = 'open' ORDER BY l.opened_at, l.lid)
    ELSE '{}' END AS locks
FROM (
    SELECT l.execution_id, l.created_at FROM {schema}.listing l
    WHERE NOT l.archived
        AND (%(owner)s::text IS NULL OR l.owner = left(%(owner)s, 200)
            OR (l.owner IS NULL AND %(unowned)s::boolean))
        AND (%(of)s::text IS NULL OR l.owner = left(%(of)s, 200))
        AND (%(status)s::text IS NULL OR l.status = %(status)s)
        AND (%(statuses)s::text[] IS NULL OR l.status = ANY(%(statuses)s::text[]))
        AND (%(flow)s::text IS NULL OR l.flow_name = left(%(flow)s, 200))
        AND (%(since)s::float8 IS NULL OR l.created_at >= to_timestamp(%(since)s))
        AND (%(until)s::float8 IS NULL OR l.created_at < to_timestamp(%(until)s))
        AND (%(search)s::tsquery IS NULL OR l.words @@ %(search)s::tsquery)
        AND (%(at)s::timestamptz IS NULL
            OR (l.created_at, l.execution_id) < (%(at)s::timestamptz, %(id)s::bigint))
    ORDER BY l.created_at DESC, l.execution_id DESC LIMIT %(limit)s
) AS chosen
JOIN {schema}.execution e ON e.id = chosen.execution_id
ORDER BY chosen.created_at DESC, chosen.execution_id DESC;

-- name: change_counter
-- Everything changed by transactions older than this one is visible now; nothing older can come.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax;

-- name: changes
-- Executions that may be seen and changed since a counter, oldest change first, never cutting
-- through one transaction.
SELECT *, fid::text AS fid, deployment_id::text AS deployment_id,
    coalesce((SELECT r.name FROM {schema}.role r WHERE r.id::text = e.owner), e.owner) AS username,
    CASE WHEN e.open_locks > 0 THEN ARRAY(SELECT l.lid FROM {schema}.lock l
        WHERE l.execution_id = e.id AND l.state = 'open' ORDER BY l.opened_at, l.lid)
    ELSE '{}' END AS locks
FROM {schema}.execution e
WHERE changed >= %(since)s
    AND (%(owner)s::text IS NULL OR e.owner = %(owner)s
        OR (e.owner IS NULL AND %(unowned)s::boolean))
ORDER BY changed FETCH FIRST %(limit)s ROWS WITH TIES;

-- name: live_executions
-- Executions that are not over, for the reconciler; stale: the process fell silent.
SELECT e.id, e.fid::text, e.status, e.state_type,
    extract(epoch FROM e.state_ts)::float8 AS state_ts, e.attempt, e.process,
    e.inputs IS NOT NULL AS opened, e.error IS NOT NULL AS has_error, e.open_locks,
    extract(epoch FROM e.created_at)::float8 AS created_at,
    e.heartbeat_at IS NULL OR e.heartbeat_at < now() - make_interval(secs => %(timeout)s) AS stale,
    extract(epoch FROM now() - e.heartbeat_at)::float8 AS silent,
    r.fid IS NOT NULL AS has_runner, r.actor_name, r.node, r.pid, r.worker,
    extract(epoch FROM now() - r.lease_until)::float8 AS lapsed
FROM {schema}.execution e LEFT JOIN {schema}.runner r ON r.fid = e.fid
WHERE e.status IN ('starting', 'running', 'awaiting') AND e.id > %(after)s
ORDER BY e.id LIMIT %(limit)s;

-- name: known_executions
-- Which of these flow runs are executions, and how they stand; for the observer.
SELECT e.id, e.fid::text, e.status, e.state_type,
    extract(epoch FROM e.state_ts)::float8 AS state_ts, e.attempt, e.process,
    e.inputs IS NOT NULL AS opened, e.error IS NOT NULL AS has_error,
    e.heartbeat_at IS NULL OR e.heartbeat_at < now() - make_interval(secs => %(timeout)s) AS stale,
    e.ended_seq IS NULL AND (e.final_attempt >= e.attempt OR e.error IS NOT NULL) IS TRUE AS closing
FROM {schema}.execution e WHERE e.fid = ANY(%(fids)s::uuid[]);

-- name: begun
-- Executions that began behind an internal id and that are young or not over.
SELECT id, fid::text FROM {schema}.execution
WHERE id > %(after)s AND (status IN ('starting', 'running', 'awaiting')
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

-- name: count_runners
-- Runners by state; one whose worker no longer answers for it has lapsed.
SELECT CASE WHEN lease_until < now() THEN 'lapsed' ELSE state END AS state, count(*) AS runners
FROM {schema}.runner GROUP BY 1;

-- name: deleted
-- Executions that could be seen, that retention deleted since a counter, and that no late event
-- brought back.
SELECT fid::text FROM {schema}.deleted d
WHERE changed >= %(since)s
    AND (%(owner)s::text IS NULL OR d.owner = %(owner)s
        OR (d.owner IS NULL AND %(unowned)s::boolean))
    AND NOT EXISTS (SELECT FROM {schema}.execution e WHERE e.fid = d.fid)
ORDER BY changed;

-- name: forget_deleted
-- What was deleted so long ago that no follower of changes asks for it.
DELETE FROM {schema}.deleted WHERE deleted_at < now() - make_interval(secs => %(age)s);

-- name: forget_services
-- Services that ended without deregistering so long ago that they are no longer reported.
DELETE FROM {schema}.service WHERE seen_at < now() - interval '1 day';

-- name: empty_partitions
-- Partitions of events that nothing is in and nothing can come into.
SELECT name FROM {schema}.empty_partitions() AS name;

-- name: drop_empty_partition
-- Drop one of them; false if it is in use now.
SELECT {schema}.drop_empty_partition(%(name)s) AS dropped;

-- name: report
-- Executions that began in a span of time, for reports over many runs.
SELECT fid::text, flow_name, summary, status, attempt, error,
    extract(epoch FROM coalesce(started_at, created_at))::float8 AS started_at,
    extract(epoch FROM ended_at)::float8 AS ended_at
FROM {schema}.execution
WHERE created_at >= to_timestamp(%(since)s) AND created_at < to_timestamp(%(until)s)
ORDER BY id LIMIT %(limit)s;

-- name: set_archived
-- Hide executions from lists, or show them again; their events stay.
UPDATE {schema}.execution SET
    archived_at = CASE WHEN %(archived)s::boolean THEN coalesce(archived_at, now()) END,
    changed = pg_current_xact_id()::text::bigint
WHERE fid = ANY(%(fids)s::uuid[]) RETURNING fid::text;

-- name: matching
-- Which of these executions may be seen, match a filter and are not archived.
SELECT e.fid::text FROM {schema}.execution e JOIN {schema}.listing l ON l.execution_id = e.id
WHERE e.fid = ANY(%(fids)s::uuid[]) AND NOT l.archived
    AND (%(owner)s::text IS NULL OR l.owner = left(%(owner)s, 200)
        OR (l.owner IS NULL AND %(unowned)s::boolean))
    AND (%(of)s::text IS NULL OR l.owner = left(%(of)s, 200))
    AND (%(status)s::text IS NULL OR l.status = %(status)s)
    AND (%(statuses)s::text[] IS NULL OR l.status = ANY(%(statuses)s::text[]))
    AND (%(flow)s::text IS NULL OR l.flow_name = left(%(flow)s, 200))
    AND (%(since)s::float8 IS NULL OR l.created_at >= to_timestamp(%(since)s))
    AND (%(until)s::float8 IS NULL OR l.created_at < to_timestamp(%(until)s))
    AND (%(search)s::tsquery IS NULL OR l.words @@ %(search)s::tsquery);

-- name: latest
-- The newest events of one execution before a seq, at most `limit` and about 8 MB, the last whole.
WITH found AS (
    SELECT seq, ts, kind, payload, attempt, source,
        sum(octet_length(payload)) OVER (ORDER BY seq DESC) - octet_length(payload) AS behind
    FROM {schema}.event
    WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
        AND seq < %(before)s AND kind = ANY(%(kinds)s::text[])
        AND (%(task_run)s::text IS NULL
            OR %(task_run)s IN (source->'task_run'->>'id', source->'task_run'->>'name'))
    ORDER BY seq DESC LIMIT %(limit)s
)
SELECT seq, extract(epoch FROM ts)::float8 AS ts, kind, payload, attempt, source
FROM found WHERE behind < 8000000 ORDER BY seq;

-- name: server
-- The version of the database, to see that it answers.
SELECT current_setting('server_version') AS version;

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

-- name: count_executions
-- How many executions there are by status, and how many events were appended to them.
SELECT status, count(*)::bigint AS executions, sum(last_seq)::bigint AS events
FROM {schema}.execution GROUP BY status;

-- name: rights
-- What the role in use lacks of what writers need, and of what retention needs beside it.
WITH needed (kind, name, privilege, to_clean) AS (
    VALUES ('table', 'instance', 'SELECT', false),
        ('table', 'execution', 'SELECT', false), ('table', 'execution', 'INSERT', false),
        ('table', 'execution', 'UPDATE', false), ('table', 'execution', 'DELETE', true),
        ('table', 'event', 'SELECT', false), ('table', 'event', 'INSERT', false),
        ('table', 'event', 'DELETE', true),
        ('table', 'writer', 'SELECT', false), ('table', 'writer', 'INSERT', false),
        ('table', 'writer', 'UPDATE', false),
        ('table', 'seen', 'SELECT', false), ('table', 'seen', 'INSERT', false),
        ('table', 'runner', 'SELECT', false), ('table', 'runner', 'INSERT', false),
        ('table', 'runner', 'UPDATE', false), ('table', 'runner', 'DELETE', true),
        ('table', 'payload', 'DELETE', true),
        ('table', 'lock', 'SELECT', false), ('table', 'lock', 'INSERT', false),
        ('table', 'lock', 'UPDATE', false),
        ('table', 'deleted', 'SELECT', false), ('table', 'deleted', 'INSERT', true),
        ('table', 'deleted', 'UPDATE', true), ('table', 'deleted', 'DELETE', true),
        ('function', 'ensure_partition(bigint)', 'EXECUTE', false)
),
missing AS (
    SELECT privilege || ' on ' || name AS what, to_clean FROM needed
    WHERE NOT CASE kind
        WHEN 'table' THEN has_table_privilege(format('%%I.%%I', %(schema)s::text, name), privilege)
        ELSE has_function_privilege(format('%%I.', %(schema)s::text) || name, privilege) END
)
SELECT current_user::text AS role,
    array(SELECT what FROM missing WHERE NOT to_clean ORDER BY what) AS missing,
    array(SELECT what FROM missing WHERE to_clean ORDER BY what) AS missing_to_clean;

-- name: expired
-- Executions that ended before a span of seconds, oldest first, in portions of about `events`.
WITH over AS (
    SELECT id, fid, last_seq, sum(last_seq) OVER (ORDER BY id) - last_seq AS before
    FROM {schema}.execution
    WHERE status IN ('finished', 'error') AND id > %(after)s
        AND ended_at < now() - make_interval(secs => %(age)s)
    ORDER BY id LIMIT %(limit)s
)
SELECT id, last_seq AS events FROM over WHERE before < %(events)s ORDER BY id;

-- name: delete_executions
-- Forget executions that are still over and not being written, with their events and ledgers.
WITH chosen AS (
    SELECT id, fid, owner FROM {schema}.execution
    WHERE id = ANY(%(ids)s::bigint[]) AND status IN ('finished', 'error')
        AND ended_at < now() - make_interval(secs => %(age)s)
    ORDER BY id FOR UPDATE SKIP LOCKED
),
events AS (
    DELETE FROM {schema}.event WHERE execution_id IN (SELECT id FROM chosen) RETURNING 1
),
runners AS (
    DELETE FROM {schema}.runner WHERE fid IN (SELECT fid FROM chosen)
),
payloads AS (
    DELETE FROM {schema}.payload WHERE fid IN (SELECT fid FROM chosen) AND NOT kept
),
gone AS (
    DELETE FROM {schema}.execution WHERE id IN (SELECT id FROM chosen) RETURNING 1
),
told AS (
    INSERT INTO {schema}.deleted (fid, owner) SELECT fid, owner FROM chosen
    ON CONFLICT (fid) DO UPDATE SET
        owner = excluded.owner, changed = excluded.changed, deleted_at = now()
)
SELECT (SELECT count(*) FROM gone) AS executions, (SELECT count(*) FROM events) AS events;

-- name: count_events
-- Events of some kinds that executions hold.
SELECT count(*) AS events FROM {schema}.event
WHERE execution_id = ANY(%(ids)s::bigint[])
    AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[]));

-- name: delete_events
-- Forget events of some kinds of executions that are still over and not being written.
WITH chosen AS (
    SELECT id FROM {schema}.execution
    WHERE id = ANY(%(ids)s::bigint[]) AND status IN ('finished', 'error')
        AND ended_at < now() - make_interval(secs => %(age)s)
    ORDER BY id FOR UPDATE SKIP LOCKED
),
events AS (
    DELETE FROM {schema}.event
    WHERE execution_id IN (SELECT id FROM chosen) AND kind = ANY(%(kinds)s::text[]) RETURNING 1
)
SELECT 0 AS executions, count(*) AS events FROM events;

-- name: report_service
-- A service reports itself; sent every 10 seconds.
INSERT INTO {schema}.service (kind, name, host, pid, version, info)
VALUES (%(kind)s, %(name)s, %(host)s, %(pid)s, %(version)s, %(info)s::jsonb)
ON CONFLICT (kind, name) DO UPDATE SET
    host = excluded.host, pid = excluded.pid, version = excluded.version, info = excluded.info,
    seen_at = now(),
    started_at = CASE WHEN service.host = excluded.host AND service.pid = excluded.pid
        THEN service.started_at ELSE now() END
RETURNING name;

-- name: forget_service
-- A service ends in an orderly way.
DELETE FROM {schema}.service WHERE kind = %(kind)s AND name = %(name)s AND pid = %(pid)s
RETURNING name;

-- name: services
-- All services that reported within a day, and how many seconds ago.
SELECT kind, name, host, pid, version, info, extract(epoch FROM started_at)::float8 AS started_at,
    extract(epoch FROM now() - seen_at)::float8 AS silent
FROM {schema}.service WHERE seen_at > now() - interval '1 day' ORDER BY kind, name;

-- name: claim_runner
-- Answer for a flow run until the lease ends; no row if another worker does, unless it was handed
-- to this one by Prefect.
INSERT INTO {schema}.runner (fid, attempt, worker, pool, namespace, lease_until)
VALUES (%(fid)s, %(attempt)s, %(worker)s, %(pool)s, %(namespace)s,
    now() + %(lease)s * interval '1 second')
ON CONFLICT (fid) DO UPDATE SET
    worker = excluded.worker, pool = excluded.pool, namespace = excluded.namespace,
    lease_until = excluded.lease_until,
    attempt = excluded.attempt,
    actor_name = CASE WHEN %(mine)s THEN NULL ELSE runner.actor_name END,
    node = CASE WHEN %(mine)s THEN NULL ELSE runner.node END,
    pid = CASE WHEN %(mine)s THEN NULL ELSE runner.pid END,
    state = CASE WHEN %(mine)s THEN 'starting' ELSE runner.state END,
    started_at = CASE WHEN %(mine)s THEN now() ELSE runner.started_at END
WHERE %(mine)s OR runner.lease_until < now() OR runner.lease_until IS NULL
    OR runner.worker = excluded.worker
RETURNING actor_name, pid;

-- name: place_runner
-- Which Runner executes a flow run, and where once that is known.
UPDATE {schema}.runner SET actor_name = %(actor_name)s, node = coalesce(%(node)s, node),
    pid = coalesce(%(pid)s, pid), state = %(state)s
WHERE fid = %(fid)s AND worker = %(worker)s;

-- name: release_runners
-- The worker ends; others may answer for its flow runs at once.
UPDATE {schema}.runner SET lease_until = now() WHERE worker = %(worker)s;

-- name: renew_runners
-- The worker still answers for these flow runs.
UPDATE {schema}.runner SET lease_until = now() + %(lease)s * interval '1 second'
WHERE fid = ANY(%(fids)s::uuid[]) AND worker = %(worker)s;

-- name: forget_runner
-- The flow run is over, or another worker may begin it.
DELETE FROM {schema}.runner WHERE fid = %(fid)s AND worker = %(worker)s;

-- name: prune_runners
-- Rows of workers that never came back, whose runs are over or were deleted.
DELETE FROM {schema}.runner WHERE lease_until < now() - interval '1 day';

-- name: roles
-- All accounts by name.
SELECT id::text, name, email, active, operator, password, epoch FROM {schema}.role
ORDER BY lower(name);

-- name: role_by_id
-- One account.
SELECT id::text, name, email, active, operator, password, epoch FROM {schema}.role
WHERE id = %(id)s::uuid;

-- name: role_by_name
-- One account by its name, upper and lower case alike.
SELECT id::text, name, email, active, operator, password, epoch FROM {schema}.role
WHERE lower(name) = lower(%(name)s);

-- name: count_operators
-- How many accounts can manage accounts.
SELECT count(*)::bigint AS operators FROM {schema}.role WHERE operator AND active;

-- name: add_role
-- Create an account; no row if its name is taken.
INSERT INTO {schema}.role (name, email, password, operator, active)
VALUES (%(name)s, %(email)s, %(password)s, %(operator)s, %(active)s)
ON CONFLICT ((lower(name))) DO NOTHING
RETURNING id::text, name, email, active, operator, password, epoch;

-- name: add_first_operator
-- Make an operator if there is none; the name is unique, so of several panels only one makes it.
INSERT INTO {schema}.role (name, password, operator)
SELECT %(name)s, %(password)s, true
WHERE NOT EXISTS (SELECT FROM {schema}.role WHERE operator AND active)
ON CONFLICT ((lower(name))) DO NOTHING
RETURNING id::text, name, email, active, operator, password, epoch;

-- name: change_role
-- Change an account unless no active operator were left. All operators are locked first, in one
-- order, so that of two that demote each other at once one is left.
WITH operators AS (
    SELECT id FROM {schema}.role WHERE operator AND active ORDER BY id FOR UPDATE
)
UPDATE {schema}.role SET
    name = coalesce(%(name)s, name),
    email = CASE WHEN %(clear_email)s::boolean THEN NULL ELSE coalesce(%(email)s, email) END,
    password = coalesce(%(password)s, password),
    operator = coalesce(%(operator)s::boolean, operator),
    active = coalesce(%(active)s::boolean, active),
    epoch = epoch + CASE WHEN %(password)s::text IS NOT NULL OR NOT %(active)s::boolean
        THEN 1 ELSE 0 END,
    updated_at = now()
WHERE id = %(id)s::uuid
    AND ((coalesce(%(operator)s::boolean, operator) AND coalesce(%(active)s::boolean, active))
        OR NOT (operator AND active)
        OR EXISTS (SELECT FROM operators WHERE operators.id <> %(id)s::uuid))
RETURNING id::text, name, email, active, operator, password, epoch;

-- name: remove_role
-- Delete an account unless it is the last active operator; locks as change_role does.
WITH operators AS (
    SELECT id FROM {schema}.role WHERE operator AND active ORDER BY id FOR UPDATE
)
DELETE FROM {schema}.role
WHERE id = %(id)s::uuid
    AND (NOT (operator AND active)
        OR EXISTS (SELECT FROM operators WHERE operators.id <> %(id)s::uuid))
RETURNING id::text, name, email, active, operator, password, epoch;

-- name: end_sessions
-- Have everybody who is signed in to an account sign in again.
UPDATE {schema}.role SET epoch = epoch + 1, updated_at = now() WHERE id = %(id)s::uuid
RETURNING id::text;

-- name: end_session
-- End a session; those whose tokens have expired need no row.
WITH expired AS (DELETE FROM {schema}.ended_session WHERE expires_at < now())
INSERT INTO {schema}.ended_session (id, expires_at)
-- A session's other token may expire a little later, and clocks differ.
VALUES (%(id)s, to_timestamp(%(expires)s) + interval '1 hour')
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: session_ended
-- A row if a session was ended before its time.
SELECT id FROM {schema}.ended_session WHERE id = %(id)s;

-- name: an_operator
-- The eldest active operator.
SELECT id::text, epoch FROM {schema}.role WHERE operator AND active ORDER BY created_at LIMIT 1;

-- name: add_api_key
-- Store a new API key, of which only the hash is kept.
INSERT INTO {schema}.api_key (role_id, name, prefix, hash, expires_at)
VALUES (%(role)s::uuid, %(name)s, %(prefix)s, %(hash)s, %(expires_at)s)
RETURNING id::text, name, prefix, created_at, expires_at, used_at;

-- name: api_keys
-- The API keys of an account that were not revoked, newest first.
SELECT id::text, name, prefix, created_at, expires_at, used_at FROM {schema}.api_key
WHERE role_id = %(role)s::uuid AND revoked_at IS NULL ORDER BY created_at DESC, id;

-- name: revoke_api_key
-- Revoke an API key.
UPDATE {schema}.api_key SET revoked_at = now()
WHERE id = %(id)s::uuid AND revoked_at IS NULL
    AND (%(role)s::uuid IS NULL OR role_id = %(role)s::uuid)
RETURNING id::text;

-- name: api_key_by_hash
-- Whose API key this is if it is valid, and whether its use is to be noted: once a minute at most.
SELECT id::text, role_id::text,
    coalesce(used_at < now() - interval '1 minute', true) AS unnoted
FROM {schema}.api_key
WHERE hash = %(hash)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- name: note_api_key
-- Note that an API key is in use.
UPDATE {schema}.api_key SET used_at = now()
WHERE id = %(id)s::uuid AND coalesce(used_at < now() - interval '1 minute', true)
RETURNING id::text;

-- name: count_login
-- Count a login as failed until it succeeded; no row if its source has to wait. Past `free`
-- failures the wait after each doubles; failures older than `window` are forgotten.
INSERT INTO {schema}.login_failure AS f (key, failures) VALUES (%(key)s, 1)
ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN f.failed_at < now() - make_interval(secs => %(window)s)
        THEN 1 ELSE f.failures + 1 END,
    failed_at = now()
WHERE f.failures < %(free)s
    OR f.failed_at <= now() - make_interval(secs =>
        least(%(longest)s, %(first)s * power(2.0::float8, least(f.failures - %(free)s, 30))))
RETURNING failures;

-- name: login_wait
-- For how many seconds a source still has to wait.
SELECT extract(epoch FROM f.failed_at - now())::float8
    + least(%(longest)s, %(first)s * power(2.0::float8, least(f.failures - %(free)s, 30)))
    AS seconds
FROM {schema}.login_failure f WHERE key = %(key)s;

-- name: discount_login
-- A login that was counted succeeded.
UPDATE {schema}.login_failure SET failures = greatest(failures - 1, 0) WHERE key = %(key)s
RETURNING failures;

-- name: forget_login
-- Failures of a name whose owner signed in, or got a new password.
DELETE FROM {schema}.login_failure WHERE key = %(key)s RETURNING failures;

-- name: recent_failures
-- What failed logins of the last hour are counted under, the most first.
SELECT key, failures FROM {schema}.login_failure
WHERE failures > 0 AND failed_at > now() - interval '1 hour' ORDER BY failures DESC LIMIT 1000;

-- name: clean_logins
-- Failures that are forgotten.
DELETE FROM {schema}.login_failure WHERE failed_at < now() - make_interval(secs => %(window)s)
RETURNING key;

-- name: own_scheduled
-- Which schedule a run is of; it belongs to whoever made that, which is never overwritten.
UPDATE {schema}.execution SET
    schedule_id = %(schedule)s::uuid,
    owner = coalesce(owner,
        (SELECT s.owner FROM {schema}.schedule s WHERE s.id = %(schedule)s::uuid))
WHERE id = %(id)s;

-- name: store_payload
-- Keep inputs that must not, or do not, fit into Prefect's parameters.
INSERT INTO {schema}.payload (inputs, secrets, kept) VALUES (%(inputs)s, %(secrets)s, %(kept)s)
RETURNING id::text;

-- name: take_payload
-- The inputs of a run; the first run that asks is the one they are for, unless they are kept.
UPDATE {schema}.payload SET fid = CASE WHEN kept THEN fid ELSE coalesce(fid, %(fid)s::uuid) END
WHERE id = %(id)s::uuid AND (kept OR fid IS NULL OR fid = %(fid)s::uuid)
RETURNING inputs, secrets;

-- name: show_payload
-- The part of inputs that people may see.
SELECT inputs FROM {schema}.payload WHERE id = %(id)s::uuid;

-- name: purge_secrets
-- A run is over: delete its secrets.
UPDATE {schema}.payload SET secrets = NULL
WHERE fid = %(fid)s::uuid AND NOT kept AND secrets IS NOT NULL;

-- name: forget_payload
-- Nothing refers to these inputs any more.
DELETE FROM {schema}.payload WHERE id = %(id)s::uuid;

-- name: prune_payloads
-- Inputs of launches that failed.
DELETE FROM {schema}.payload
WHERE fid IS NULL AND NOT kept AND created_at < now() - interval '1 day';

-- name: wake_workers
-- Tell the workers of a work pool that there is a run for them.
SELECT pg_notify(%(channel)s, %(message)s);

-- name: lock_deployment
-- Only one process at a time makes the deployment of an endpoint; until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0));

-- name: note_schedule
-- Who made a schedule, and what its runs need beside their parameters.
INSERT INTO {schema}.schedule
    (id, deployment_id, endpoint_uid, owner, summary, parameters, payload_id)
VALUES (%(id)s::uuid, %(deployment_id)s::uuid, %(endpoint_uid)s, %(owner)s, %(summary)s,
    %(parameters)s, %(payload_id)s::uuid)
RETURNING id::text;

-- name: scheduled_parameters
-- The parameters that a schedule was made with.
SELECT parameters FROM {schema}.schedule WHERE id = %(id)s::uuid;

-- name: noted_schedules
-- Schedules with the name of who made them; those of one owner, or all.
SELECT s.id::text, s.deployment_id::text, s.endpoint_uid, s.owner, s.summary, s.paused_because,
    extract(epoch FROM s.created_at)::float8 AS created_at, coalesce(r.name, s.owner) AS username,
    s.parameters
FROM {schema}.schedule s LEFT JOIN {schema}.role r ON r.id::text = s.owner
WHERE (%(owner)s::text IS NULL OR s.owner = %(owner)s)
    AND (%(id)s::uuid IS NULL OR s.id = %(id)s::uuid)
    AND (%(uids)s::text[] IS NULL OR s.endpoint_uid = ANY(%(uids)s::text[]))
ORDER BY s.created_at DESC, s.id;

-- name: last_of_schedules
-- The newest execution of each of these schedules.
SELECT s.id::text AS schedule_id, e.fid::text, e.status,
    extract(epoch FROM coalesce(e.started_at, e.created_at))::float8 AS started_at
FROM unnest(%(ids)s::uuid[]) AS s (id)
CROSS JOIN LATERAL (
    SELECT fid, status, started_at, created_at FROM {schema}.execution
    WHERE schedule_id = s.id ORDER BY id DESC LIMIT 1
) AS e;

-- name: explain_schedule
-- Why a schedule is paused; null once it is resumed.
UPDATE {schema}.schedule SET paused_because = %(why)s WHERE id = %(id)s::uuid RETURNING id::text;

-- name: forget_schedules
-- Schedules that are no longer in Prefect, with the inputs that were kept for them.
WITH gone AS (
    DELETE FROM {schema}.schedule WHERE id = ANY(%(ids)s::uuid[]) RETURNING payload_id
)
DELETE FROM {schema}.payload WHERE id IN (SELECT payload_id FROM gone) RETURNING id::text;

-- name: add_source
-- Remember where endpoints are found; a row only if it was not known.
INSERT INTO {schema}.source (url, kind) VALUES (%(url)s, %(kind)s)
ON CONFLICT (url) DO NOTHING RETURNING id;

-- name: sources
-- All sources, how they were the last time, and how many endpoints they have.
SELECT s.id, s.url, s.kind, s.trouble,
    extract(epoch FROM s.checked_at)::float8 AS checked_at,
    extract(epoch FROM s.reached_at)::float8 AS reached_at,
    (SELECT count(*) FROM {schema}.endpoint e
        WHERE e.source_id = s.id AND e.gone_at IS NULL) AS endpoints
FROM {schema}.source s ORDER BY s.url;

-- name: claim_sources
-- Sources that nobody looked at for a while, for one of several panels; mounted ones only for a
-- panel that runs them.
UPDATE {schema}.source SET checked_at = now() WHERE id IN (
    SELECT id FROM {schema}.source
    WHERE (checked_at IS NULL OR checked_at < now() - make_interval(secs => %(interval)s))
        AND (kind <> 'mounted' OR url = ANY(%(mounted)s::text[]))
    ORDER BY checked_at NULLS FIRST FOR UPDATE SKIP LOCKED
)
RETURNING id, url, kind;

-- name: touch_sources
-- Sources to be looked at now: those with these addresses, or all that this panel can look at.
UPDATE {schema}.source SET checked_at = now()
WHERE (%(urls)s::text[] IS NULL OR url = ANY(%(urls)s::text[]))
    AND (kind <> 'mounted' OR url = ANY(%(mounted)s::text[]))
RETURNING id, url, kind;

-- name: lapse_mounted
-- Services whose panel has not reported for a while.
WITH lapsed AS (
    UPDATE {schema}.source SET trouble = %(trouble)s
    WHERE kind = 'mounted' AND trouble IS NULL
        AND checked_at < now() - make_interval(secs => %(silence)s)
    RETURNING id
)
UPDATE {schema}.endpoint SET reachable = false
WHERE source_id IN (SELECT id FROM lapsed) AND reachable RETURNING uid;

-- name: store_source
-- Store the endpoints of a source. One that it no longer lists is gone, but for those below a base
-- that could not be read. One that another source lists as well stays that one's as long as it is
-- reached there. Returns those that are gone by this.
WITH named AS (
    SELECT * FROM jsonb_to_recordset(%(endpoints)s::jsonb) AS x (
        uid text, method text, url text, target text, base_url text, deployment_id uuid,
        summary text, description text, deprecated boolean, author text, organization text,
        version text, tags jsonb)
),
source AS (
    UPDATE {schema}.source SET reached_at = now(), trouble = %(trouble)s
    WHERE id = %(id)s RETURNING id
),
gone AS (
    UPDATE {schema}.endpoint SET gone_at = now()
    WHERE source_id = %(id)s AND gone_at IS NULL AND uid NOT IN (SELECT uid FROM named)
        AND NOT base_url = ANY(%(failed)s::text[])
    RETURNING url
),
silent AS (
    UPDATE {schema}.endpoint SET reachable = false
    WHERE source_id = %(id)s AND reachable AND uid NOT IN (SELECT uid FROM named)
        AND base_url = ANY(%(failed)s::text[])
),
stored AS (
    INSERT INTO {schema}.endpoint AS e (uid, source_id, method, url, target, base_url,
        deployment_id, summary, description, deprecated, author, organization, version, tags)
    SELECT n.uid, source.id, n.method, n.url, n.target, n.base_url, n.deployment_id, n.summary,
        n.description, n.deprecated, n.author, n.organization, n.version,
        ARRAY(SELECT jsonb_array_elements_text(n.tags))
    FROM named n, source
    ON CONFLICT (uid) DO UPDATE SET source_id = excluded.source_id, method = excluded.method,
        url = excluded.url, target = excluded.target, base_url = excluded.base_url,
        deployment_id = excluded.deployment_id, summary = excluded.summary,
        description = excluded.description, deprecated = excluded.deprecated,
        author = excluded.author, organization = excluded.organization,
        version = excluded.version, tags = excluded.tags, reachable = true, gone_at = NULL
    WHERE (e.source_id = excluded.source_id OR e.gone_at IS NOT NULL OR NOT e.reachable)
        AND (e.source_id, e.method, e.url, e.target, e.base_url, e.deployment_id, e.summary,
            e.description, e.deprecated, e.author, e.organization, e.version, e.tags, e.reachable,
            e.gone_at)
        IS DISTINCT FROM (excluded.source_id, excluded.method, excluded.url, excluded.target,
            excluded.base_url, excluded.deployment_id, excluded.summary, excluded.description,
            excluded.deprecated, excluded.author, excluded.organization, excluded.version,
            excluded.tags, true, NULL::timestamptz)
)
SELECT url FROM gone;

-- name: fail_source
-- A source cannot be read now; its endpoints stay and are marked.
WITH source AS (
    UPDATE {schema}.source SET trouble = %(trouble)s WHERE id = %(id)s RETURNING id
)
UPDATE {schema}.endpoint SET reachable = false
WHERE source_id IN (SELECT id FROM source) AND reachable RETURNING uid;

-- name: source_endpoints
-- Ids of the endpoints of sources, also of those that are gone.
SELECT e.uid FROM {schema}.endpoint e JOIN {schema}.source s ON s.id = e.source_id
WHERE s.url = ANY(%(urls)s::text[]);

-- name: forget_sources
-- Remove sources, with their endpoints.
DELETE FROM {schema}.source WHERE url = ANY(%(urls)s::text[]) RETURNING url;

-- name: schedules_of_gone
-- Endpoints that are gone, of which something is still scheduled.
SELECT e.uid, s.url AS source FROM {schema}.endpoint e
JOIN {schema}.source s ON s.id = e.source_id
WHERE e.gone_at IS NOT NULL AND EXISTS (
    SELECT FROM {schema}.schedule c WHERE c.endpoint_uid = e.uid AND c.paused_because IS NULL);

-- name: schedules_of_returned
-- Endpoints that are back, of which schedules are paused because they were gone.
SELECT e.uid FROM {schema}.endpoint e
WHERE e.gone_at IS NULL AND EXISTS (
    SELECT FROM {schema}.schedule c WHERE c.endpoint_uid = e.uid AND c.paused_because IS NOT NULL);

-- name: endpoints
-- Endpoints by summary behind a cursor, optionally holding every word of a query and every tag, or
-- some of them by id.
SELECT e.uid, e.method, e.url, s.url AS source, s.kind, e.summary, e.description, e.deprecated,
    e.author, e.organization, e.version, e.tags, e.base_url, e.reachable, s.trouble,
    extract(epoch FROM s.reached_at)::float8 AS reached_at, e.deployment_id::text AS deployment_id
FROM {schema}.endpoint e JOIN {schema}.source s ON s.id = e.source_id
WHERE e.gone_at IS NULL
    AND (%(after)s::text IS NULL OR (lower(coalesce(e.summary, '')), e.uid) > (
        SELECT lower(coalesce(summary, '')), uid FROM {schema}.endpoint WHERE uid = %(after)s))
    AND (%(words)s::text[] IS NULL OR NOT EXISTS (
        SELECT FROM unnest(%(words)s::text[]) AS word
        WHERE position(lower(word) IN lower(concat_ws(' ', e.summary, e.description, e.author,
            e.organization, array_to_string(e.tags, ' '), e.url))) = 0))
    AND (%(tags)s::text[] IS NULL OR e.tags @> %(tags)s::text[])
    AND (%(uids)s::text[] IS NULL OR e.uid = ANY(%(uids)s::text[]))
ORDER BY lower(coalesce(e.summary, '')), e.uid LIMIT %(limit)s;

-- name: endpoint_tags
-- How many endpoints have which tag.
SELECT tag, count(*) AS endpoints FROM {schema}.endpoint, unnest(tags) AS tag
WHERE gone_at IS NULL GROUP BY tag ORDER BY count(*) DESC, tag;

-- name: endpoint
-- The endpoint of one of these ids, also if it is gone.
SELECT e.uid, e.method, e.url, e.target, e.base_url, e.deployment_id::text, s.kind, e.summary,
    e.description, e.deprecated, e.author, e.organization, e.version, e.tags, e.reachable,
    e.gone_at IS NOT NULL AS gone, s.url AS source, s.trouble,
    extract(epoch FROM s.reached_at)::float8 AS reached_at
FROM {schema}.endpoint e JOIN {schema}.source s ON s.id = e.source_id
WHERE e.uid = ANY(%(uids)s::text[]) ORDER BY gone, e.uid LIMIT 1;

-- name: is_base
-- Whether a registered endpoint's service lives there.
SELECT EXISTS (SELECT FROM {schema}.endpoint WHERE base_url = %(base)s AND gone_at IS NULL) AS known;

-- name: open_locks
-- The open locks of an execution, which is locked, and the attempts that wait for them.
SELECT lid, attempt FROM {schema}.lock WHERE execution_id = %(id)s AND state = 'open';

-- name: open_lock
-- Open a lock.
INSERT INTO {schema}.lock (execution_id, lid, name, attempt, data, elements, state, opened_at,
    expires_at)
VALUES (%(id)s, %(lid)s, %(name)s, %(attempt)s, %(data)s, %(elements)s, %(state)s,
    to_timestamp(%(opened)s), to_timestamp(%(expires)s))
ON CONFLICT (execution_id, lid) DO NOTHING;

-- name: end_locks
-- Nobody waits for these locks any more.
UPDATE {schema}.lock l SET state = ended.state
FROM unnest(%(lids)s::text[], %(states)s::text[]) AS ended (lid, state)
WHERE l.execution_id = %(id)s AND l.lid = ended.lid AND l.state = 'open';

-- name: settled_locks
-- Which of these locks are no longer open, and what was answered.
SELECT l.lid, l.state, l.result FROM {schema}.lock l
JOIN {schema}.execution e ON e.id = l.execution_id
WHERE e.fid = ANY(%(fids)s::uuid[]) AND l.lid = ANY(%(lids)s::text[]) AND l.state <> 'open';

-- name: lock
-- One lock with what its readers have to know of its execution.
SELECT l.*, e.fid::text AS fid, e.owner, e.summary, e.flow_name, e.app_url, e.inputs, e.status,
    l.attempt < e.attempt AS superseded, l.expires_at <= now() AS over,
    extract(epoch FROM l.opened_at)::float8 AS opened,
    extract(epoch FROM l.expires_at)::float8 AS expires
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE e.fid = %(fid)s AND l.lid = %(lid)s;

-- name: answerable_locks
-- Open locks, newest first, behind a cursor: those of one owner's executions, or all.
SELECT l.lid, l.name, l.elements, l.data, e.fid::text AS fid, e.owner, e.summary, e.flow_name,
    e.app_url,
    extract(epoch FROM l.opened_at)::float8 AS opened,
    extract(epoch FROM l.expires_at)::float8 AS expires
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE l.state = 'open' AND l.expires_at > now()
    AND (%(owner)s::text IS NULL OR e.owner = %(owner)s)
    AND (%(before)s::text IS NULL OR (l.opened_at, l.lid) < (
        SELECT b.opened_at, b.lid FROM {schema}.lock b
        JOIN {schema}.execution its ON its.id = b.execution_id
        WHERE b.lid = %(before)s AND (%(owner)s::text IS NULL OR its.owner = %(owner)s)
        ORDER BY b.execution_id DESC LIMIT 1))
ORDER BY l.opened_at DESC, l.lid DESC LIMIT %(limit)s;

-- name: lease_lock
-- Answer a lock.
UPDATE {schema}.lock SET state = 'leased', result = %(result)s, answered_by = %(by)s,
    answered_at = now()
WHERE execution_id = %(id)s AND lid = %(lid)s AND state = 'open';

-- name: add_event
-- Store one event of an execution that is locked.
INSERT INTO {schema}.event (execution_id, seq, ts, kind, payload, attempt, source)
VALUES (%(id)s, %(seq)s, to_timestamp(%(ts)s), %(kind)s, %(payload)s, %(attempt)s,
    %(source)s::jsonb);

-- name: advance
-- Move last_seq behind events that were stored one by one.
UPDATE {schema}.execution SET last_seq = %(last_seq)s, updated_at = now() WHERE id = %(id)s;

-- name: forget_answers
-- Sealed answers of an execution that is over: nobody needs them any more.
UPDATE {schema}.lock SET result = NULL
WHERE execution_id = %(id)s AND result LIKE 'sealed:%%';

-- name: timeline_newer
-- As timeline, in the other direction: those right above a cursor.
SELECT e.*, e.fid::text AS fid, e.deployment_id::text AS deployment_id,
    coalesce((SELECT r.name FROM {schema}.role r WHERE r.id::text = e.owner), e.owner) AS username,
    CASE WHEN e.open_locks > 0 THEN ARRAY(SELECT l.lid FROM {schema}.lock l
        WHERE l.execution_id = e.id AND l.state = 'open' ORDER BY l.opened_at, l.lid)
    ELSE '{}' END AS locks
FROM (
    SELECT l.execution_id, l.created_at FROM {schema}.listing l
    WHERE NOT l.archived
        AND (%(owner)s::text IS NULL OR l.owner = left(%(owner)s, 200)
            OR (l.owner IS NULL AND %(unowned)s::boolean))
        AND (%(of)s::text IS NULL OR l.owner = left(%(of)s, 200))
        AND (%(status)s::text IS NULL OR l.status = %(status)s)
        AND (%(statuses)s::text[] IS NULL OR l.status = ANY(%(statuses)s::text[]))
        AND (%(flow)s::text IS NULL OR l.flow_name = left(%(flow)s, 200))
        AND (%(since)s::float8 IS NULL OR l.created_at >= to_timestamp(%(since)s))
        AND (%(until)s::float8 IS NULL OR l.created_at < to_timestamp(%(until)s))
        AND (%(search)s::tsquery IS NULL OR l.words @@ %(search)s::tsquery)
        AND (%(at)s::timestamptz IS NULL
            OR (l.created_at, l.execution_id) > (%(at)s::timestamptz, %(id)s::bigint))
    ORDER BY l.created_at ASC, l.execution_id ASC LIMIT %(limit)s
) AS chosen
JOIN {schema}.execution e ON e.id = chosen.execution_id
ORDER BY chosen.created_at DESC, chosen.execution_id DESC;

-- name: count_listed
-- How many executions that may be seen match a filter, counted up to a limit.
SELECT count(*) AS executions FROM (
    SELECT FROM {schema}.listing l
    WHERE NOT l.archived
        AND (%(owner)s::text IS NULL OR l.owner = left(%(owner)s, 200)
            OR (l.owner IS NULL AND %(unowned)s::boolean))
        AND (%(of)s::text IS NULL OR l.owner = left(%(of)s, 200))
        AND (%(status)s::text IS NULL OR l.status = %(status)s)
        AND (%(statuses)s::text[] IS NULL OR l.status = ANY(%(statuses)s::text[]))
        AND (%(flow)s::text IS NULL OR l.flow_name = left(%(flow)s, 200))
        AND (%(since)s::float8 IS NULL OR l.created_at >= to_timestamp(%(since)s))
        AND (%(until)s::float8 IS NULL OR l.created_at < to_timestamp(%(until)s))
        AND (%(search)s::tsquery IS NULL OR l.words @@ %(search)s::tsquery)
    LIMIT %(limit)s
) AS found;

-- name: list_position
-- Where an execution that may be seen stands in lists.
SELECT l.created_at, l.execution_id AS id FROM {schema}.listing l
JOIN {schema}.execution e ON e.id = l.execution_id WHERE e.fid = %(fid)s::uuid
    AND (%(owner)s::text IS NULL OR e.owner = %(owner)s OR (%(unowned)s AND e.owner IS NULL));

-- name: asked_words
-- The words of a search, and accounts with a name of which a word begins so.
SELECT w.word, ARRAY(
    SELECT r.id::text FROM {schema}.role r
    WHERE EXISTS (SELECT FROM unnest({schema}.words_of(r.name)) AS part
        WHERE starts_with(part, w.word))
    ORDER BY r.id LIMIT 100) AS owners
FROM unnest({schema}.words_of(%(query)s)) AS w (word);

-- name: listed_flows
-- Names of flows that have executions to be seen, by jumping from name to name in an index.
WITH RECURSIVE named AS (
    (SELECT l.flow_name FROM {schema}.listing l
        WHERE NOT l.archived AND l.flow_name IS NOT NULL ORDER BY l.flow_name LIMIT 1)
    UNION ALL
    SELECT (SELECT l.flow_name FROM {schema}.listing l
        WHERE NOT l.archived AND l.flow_name > named.flow_name ORDER BY l.flow_name LIMIT 1)
    FROM named WHERE named.flow_name IS NOT NULL
)
SELECT flow_name FROM named
WHERE flow_name IS NOT NULL AND (%(owner)s::text IS NULL OR EXISTS (
    SELECT FROM {schema}.listing l WHERE NOT l.archived AND l.flow_name = named.flow_name
        AND (l.owner = left(%(owner)s, 200) OR (l.owner IS NULL AND %(unowned)s::boolean))))
LIMIT %(limit)s;

-- name: set_again
-- Whose inputs an execution was given.
UPDATE {schema}.execution SET
    again_of = %(of)s::uuid, changed = pg_current_xact_id()::text::bigint
WHERE fid = %(fid)s::uuid RETURNING fid::text;

-- name: ran_again
-- Executions that were given the inputs of this one, newest first.
SELECT fid::text FROM {schema}.execution WHERE again_of = %(fid)s::uuid ORDER BY id DESC LIMIT 20;

-- name: payload_again
-- Inputs that were kept for a run, and whether they are for every run that asks.
SELECT inputs, kept FROM {schema}.payload WHERE id = %(id)s::uuid;

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

-- name: seq_at
-- The first event of some kinds at a point in time or behind it, else the last before it.
SELECT coalesce(min(seq) FILTER (WHERE ts >= to_timestamp(%(ts)s)), max(seq)) AS seq
FROM {schema}.event
WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
    AND kind = ANY(%(kinds)s::text[]);

-- name: count_answerable_locks
-- How many open locks there are of one owner's executions, or of all.
SELECT count(*) AS locks
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE l.state = 'open' AND l.expires_at > now()
    AND (%(owner)s::text IS NULL OR e.owner = %(owner)s);

-- name: answerable_lock_ids
-- Which locks are open, newest first: those of one owner's executions, or all.
SELECT l.lid, e.fid::text AS fid
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE l.state = 'open' AND l.expires_at > now()
    AND (%(owner)s::text IS NULL OR e.owner = %(owner)s)
ORDER BY l.opened_at DESC, l.lid DESC LIMIT %(limit)s;

-- name: roles_seen
-- When accounts were last active, as far as that is kept: by an API key, or by one of the newest
-- runs.
SELECT id, max(seen_at) AS seen_at FROM (
    SELECT role_id::text AS id, used_at AS seen_at FROM {schema}.api_key WHERE used_at IS NOT NULL
    UNION ALL
    (SELECT owner, created_at FROM {schema}.execution ORDER BY id DESC LIMIT 5000)
) AS found WHERE id IS NOT NULL GROUP BY id;

-- name: database_facts
-- How large the database is, at which revision our schema stands, and who is connected.
SELECT current_setting('server_version') AS version,
    pg_database_size(current_database())::bigint AS bytes,
    (SELECT version_num FROM {schema}.schema_version) AS revision,
    (SELECT count(*)::bigint FROM pg_stat_activity WHERE datname = current_database())
        AS connections,
    current_setting('max_connections')::int AS most_connections;

-- name: endpoints_of_executions
-- Which registered endpoint each of these executions was launched from, as far as its row tells:
-- the deployment, or the service and the path that its flow's name ends with; its schedule and its
-- summary decide between several.
SELECT x.fid::text AS fid, e.uid FROM {schema}.execution x
CROSS JOIN LATERAL (
    SELECT e.uid FROM {schema}.endpoint e
    CROSS JOIN LATERAL (
        SELECT btrim(regexp_replace(lower(CASE WHEN starts_with(e.target, e.base_url)
            THEN substr(e.target, length(e.base_url) + 1) ELSE e.target END),
            '[^a-z0-9]+', '-', 'g'), '-') AS slug
    ) AS s
    WHERE e.gone_at IS NULL AND (e.deployment_id = x.deployment_id
        OR (e.deployment_id IS NULL AND e.base_url = x.app_url AND (s.slug = ''
            OR e.summary = x.summary
            OR right('-' || x.flow_name, length(s.slug) + 1) = '-' || s.slug)))
    ORDER BY e.deployment_id IS NULL,
        e.uid IS DISTINCT FROM (
            SELECT c.endpoint_uid FROM {schema}.schedule c WHERE c.id = x.schedule_id),
        e.summary IS DISTINCT FROM x.summary, length(s.slug) DESC, e.uid
    LIMIT 1
) AS e
WHERE x.fid = ANY(%(fids)s::uuid[]);

-- name: last_of_endpoints
-- The newest execution of each of these endpoints among those that may be seen. Executions of a
-- service are looked for by the names of its flows, of which there are few, however many ran.
WITH RECURSIVE wanted AS (
    SELECT uid, base_url, deployment_id FROM {schema}.endpoint WHERE uid = ANY(%(uids)s::text[])
),
flows AS (
    SELECT b.base_url, (SELECT min(x.flow_name) FROM {schema}.execution x
        WHERE x.app_url = b.base_url AND x.archived_at IS NULL) AS flow_name
    FROM (SELECT DISTINCT base_url FROM wanted WHERE deployment_id IS NULL) AS b
    UNION ALL
    SELECT f.base_url, (SELECT min(x.flow_name) FROM {schema}.execution x
        WHERE x.app_url = f.base_url AND x.archived_at IS NULL AND x.flow_name > f.flow_name)
    FROM flows f WHERE f.flow_name IS NOT NULL
),
newest AS (
    SELECT l.* FROM flows f CROSS JOIN LATERAL (
        SELECT x.id FROM {schema}.execution x
        WHERE x.app_url = f.base_url AND x.flow_name = f.flow_name AND x.archived_at IS NULL
            AND (%(owner)s::text IS NULL OR x.owner = %(owner)s
                OR (x.owner IS NULL AND %(unowned)s::boolean))
        ORDER BY x.id DESC LIMIT 1
    ) AS l
    UNION ALL
    SELECT l.* FROM wanted w CROSS JOIN LATERAL (
        SELECT x.id FROM {schema}.execution x
        WHERE x.deployment_id = w.deployment_id AND x.archived_at IS NULL
            AND (%(owner)s::text IS NULL OR x.owner = %(owner)s
                OR (x.owner IS NULL AND %(unowned)s::boolean))
        ORDER BY x.id DESC LIMIT 1
    ) AS l
)
SELECT DISTINCT ON (e.uid) e.uid, x.fid::text AS fid, x.status, x.state_name,
    coalesce(x.started_at, x.created_at) AS began
FROM newest n JOIN {schema}.execution x ON x.id = n.id
CROSS JOIN LATERAL (
    SELECT e.uid FROM {schema}.endpoint e
    CROSS JOIN LATERAL (
        SELECT btrim(regexp_replace(lower(CASE WHEN starts_with(e.target, e.base_url)
            THEN substr(e.target, length(e.base_url) + 1) ELSE e.target END),
            '[^a-z0-9]+', '-', 'g'), '-') AS slug
    ) AS s
    WHERE e.gone_at IS NULL AND (e.deployment_id = x.deployment_id
        OR (e.deployment_id IS NULL AND e.base_url = x.app_url AND (s.slug = ''
            OR e.summary = x.summary
            OR right('-' || x.flow_name, length(s.slug) + 1) = '-' || s.slug)))
    ORDER BY e.deployment_id IS NULL,
        e.uid IS DISTINCT FROM (
            SELECT c.endpoint_uid FROM {schema}.schedule c WHERE c.id = x.schedule_id),
        e.summary IS DISTINCT FROM x.summary, length(s.slug) DESC, e.uid
    LIMIT 1
) AS e
ORDER BY e.uid, x.id DESC;

-- name: task_run_spans
-- When task runs were first and last seen in the events behind a seq.
SELECT e.source->'task_run'->>'id' AS id, min(e.ts) AS first, max(e.ts) AS last
FROM {schema}.event e
WHERE e.execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
    AND e.seq > %(after)s AND e.source->'task_run'->>'id' IS NOT NULL
GROUP BY 1;

-- name: add_audit
-- Record what was done; `entries` is a JSON array of objects of these names.
INSERT INTO {schema}.audit (action, outcome, actor_id, actor_name, means, key_id, key_name,
    address, user_agent, target_kind, target_id, target_name, details)
SELECT action, outcome, actor_id, actor_name, means, key_id, key_name,
    address, user_agent, target_kind, target_id, target_name, coalesce(details, '{}')
FROM jsonb_to_recordset(%(entries)s::jsonb) AS entry(action text, outcome text, actor_id text,
    actor_name text, means text, key_id text, key_name text, address text, user_agent text,
    target_kind text, target_id text, target_name text, details jsonb)
RETURNING id;

-- name: audit
-- What was recorded, newest first, behind the entry `before`.
SELECT id, at, action, outcome, actor_id, actor_name, means, key_id, key_name, address,
    user_agent, target_kind, target_id, target_name, details
FROM {schema}.audit
WHERE (%(before)s::bigint IS NULL OR id < %(before)s)
    AND (%(actor)s::text IS NULL OR actor_id = %(actor)s
        OR lower(actor_name) = lower(%(actor)s))
    AND (%(target)s::text IS NULL OR target_id = %(target)s
        OR lower(target_name) = lower(%(target)s))
    AND (%(actions)s::text[] IS NULL OR action = ANY(%(actions)s))
    AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
    AND (%(since)s::float8 IS NULL OR at >= to_timestamp(%(since)s))
    AND (%(until)s::float8 IS NULL OR at < to_timestamp(%(until)s))
ORDER BY id DESC LIMIT %(limit)s;

-- name: count_old_audit
-- How many entries are older than a span of seconds.
SELECT count(*)::bigint AS entries FROM {schema}.audit
WHERE at < now() - make_interval(secs => %(age)s);

-- name: forget_audit
-- Delete some of the entries that are older than a span of seconds.
SELECT {schema}.forget_audit(%(age)s, %(most)s) AS entries;

-- name: api_key_named
-- Which API key a request was sent with.
SELECT id::text, name FROM {schema}.api_key WHERE hash = %(hash)s;
