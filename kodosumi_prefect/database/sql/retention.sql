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

-- name: expired_contents
-- Executions that ended before a span of seconds, and events of theirs since the last time.
SELECT id, last_seq - contents_until AS events FROM {schema}.execution
WHERE status IN ('finished', 'error') AND id > %(after)s AND last_seq > contents_until
    AND ended_at < now() - make_interval(secs => %(age)s)
ORDER BY id LIMIT %(limit)s;

-- name: lock_expired_contents
-- How far it goes, of one that is still over and not being written.
SELECT last_seq, contents_until FROM {schema}.execution
WHERE id = %(id)s AND status IN ('finished', 'error')
    AND ended_at < now() - make_interval(secs => %(age)s)
FOR UPDATE SKIP LOCKED;

-- name: contents_after
-- Events that prompts and answers are in.
SELECT execution_id, seq, ts, kind, payload, attempt, source::text AS source
FROM {schema}.event
WHERE execution_id = %(id)s AND seq > %(after)s AND kind = ANY(%(kinds)s::text[])
ORDER BY seq LIMIT %(limit)s;

-- name: delete_event
-- Take one event out, to put it back with another payload: writers may not change events.
DELETE FROM {schema}.event WHERE execution_id = %(execution_id)s AND seq = %(seq)s;

-- name: put_event_back
-- Put it back where it was.
INSERT INTO {schema}.event (execution_id, seq, ts, kind, payload, attempt, source)
VALUES (%(execution_id)s, %(seq)s, %(ts)s, %(kind)s, %(payload)s, %(attempt)s,
    %(source)s::jsonb);

-- name: note_contents
-- Remember how far contents were deleted.
UPDATE {schema}.execution SET contents_until = %(until)s WHERE id = %(id)s;

-- name: count_old_audit
-- How many entries are older than a span of seconds.
SELECT count(*)::bigint AS entries FROM {schema}.audit
WHERE at < now() - make_interval(secs => %(age)s);

-- name: forget_audit
-- Delete some of the entries that are older than a span of seconds.
SELECT {schema}.forget_audit(%(age)s, %(most)s) AS entries;

-- name: clean_logins
-- Failures that are forgotten.
DELETE FROM {schema}.login_failure WHERE failed_at < now() - make_interval(secs => %(window)s)
RETURNING key;

-- name: prune_payloads
-- Inputs of launches that failed.
DELETE FROM {schema}.payload
WHERE fid IS NULL AND NOT kept AND created_at < now() - interval '1 day';

-- name: prune_runners
-- Rows of workers that never came back, whose runs are over or were deleted.
DELETE FROM {schema}.runner r
WHERE r.lease_until < now() - interval '1 day' AND NOT EXISTS (
    SELECT FROM {schema}.execution e
    WHERE e.fid = r.fid AND e.status NOT IN ('finished', 'error'));

-- name: executions_of_owner
-- All that an owner has: internal ids, whether they are over, and how many events they hold.
SELECT id, fid::text, status IN ('finished', 'error') AS over, last_seq AS events
FROM {schema}.execution WHERE owner = %(owner)s AND id > %(after)s ORDER BY id LIMIT %(limit)s;

-- name: execution_record
-- All that is known of an execution, as JSON.
SELECT (to_jsonb(e) - 'id' - 'contents_until')::text FROM {schema}.execution e WHERE id = %(id)s;

-- name: event_records
-- Its events as JSON, in their order.
SELECT json_build_object('seq', seq, 'ts', ts, 'kind', kind, 'attempt', attempt,
    'source', source, 'payload', payload)::text
FROM {schema}.event WHERE execution_id = %(id)s ORDER BY seq;

-- name: file_records
-- Its files, and where their contents are.
SELECT direction, path, size, key FROM {schema}.file WHERE execution_id = %(id)s
ORDER BY direction, path;

-- name: batches_of_owner
-- Files that an owner sent.
SELECT id::text FROM {schema}.upload_batch WHERE owner = %(owner)s;

-- name: forget_owner
-- What else is kept of an owner: keys of launches, favourites, saved views, budgets; what they
-- spent is still part of what all did.
WITH keys AS (DELETE FROM {schema}.launch_key WHERE owner = %(owner)s),
favourites AS (DELETE FROM {schema}.favourite WHERE owner = %(owner)s),
budgets AS (DELETE FROM {schema}.budget WHERE per = 'owner' AND name = %(owner)s),
spent AS (UPDATE {schema}.spending SET owner = NULL WHERE owner = %(owner)s)
DELETE FROM {schema}.saved_view WHERE owner = %(owner)s;
