-- name: open_locks
-- The open locks of an execution, which is locked, and the attempts that wait for them.
SELECT lid, attempt FROM {schema}.lock WHERE execution_id = %(id)s AND state = 'open';

-- name: open_lock
-- Open a lock.
INSERT INTO {schema}.lock (execution_id, lid, name, attempt, data, elements, state, opened_at,
    expires_at, title, question)
VALUES (%(id)s, %(lid)s, %(name)s, %(attempt)s, %(data)s, %(elements)s, %(state)s,
    to_timestamp(%(opened)s), to_timestamp(%(expires)s), %(title)s, %(question)s)
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
SELECT l.lid, l.name, l.title, l.question, l.elements, l.data, l.state, l.attempt, e.fid::text AS fid, e.owner,
    e.summary, e.flow_name, e.app_url, e.inputs, e.status, l.attempt < e.attempt AS superseded,
    l.expires_at <= now() AS over,
    extract(epoch FROM l.opened_at)::float8 AS opened,
    extract(epoch FROM l.expires_at)::float8 AS expires
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE e.fid = %(fid)s AND l.lid = %(lid)s;

-- name: answerable_locks
-- Open locks, newest first, behind a cursor: those of one owner's executions, or all.
SELECT l.lid, l.name, l.title, l.question, l.elements, l.data, e.fid::text AS fid, e.owner,
    e.summary, e.flow_name, e.app_url,
    extract(epoch FROM l.opened_at)::float8 AS opened,
    extract(epoch FROM l.expires_at)::float8 AS expires
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE l.state = 'open' AND l.expires_at > now()
    AND {schema}.visible(e.owner, %(owner)s, false)
    AND (%(before)s::text IS NULL OR (l.opened_at, l.lid) < (
        SELECT b.opened_at, b.lid FROM {schema}.lock b
        JOIN {schema}.execution its ON its.id = b.execution_id
        WHERE b.lid = %(before)s AND {schema}.visible(its.owner, %(owner)s, false)
        ORDER BY b.execution_id DESC LIMIT 1))
ORDER BY l.opened_at DESC, l.lid DESC LIMIT %(limit)s;

-- name: outcomes_of_locks
-- What became of these locks, whether their run still waits for them, and who answered.
SELECT l.lid, l.state, extract(epoch FROM l.opened_at)::float8 AS opened,
    extract(epoch FROM l.expires_at)::float8 AS expires,
    extract(epoch FROM l.answered_at)::float8 AS answered,
    l.state = 'open' AND l.expires_at > now() AS waits,
    (SELECT r.name FROM {schema}.role r WHERE r.id::text = l.answered_by) AS answered_by
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE e.fid = %(fid)s AND l.lid = ANY(%(lids)s::text[]);

-- name: lease_lock
-- Answer a lock.
UPDATE {schema}.lock SET state = 'leased', result = %(result)s, answered_by = %(by)s,
    answered_at = now()
WHERE execution_id = %(id)s AND lid = %(lid)s AND state = 'open';

-- name: forget_answers
-- Sealed answers of an execution that is over: nobody needs them any more.
UPDATE {schema}.lock SET result = NULL
WHERE execution_id = %(id)s AND result LIKE 'sealed:%%';

-- name: count_answerable_locks
-- How many open locks there are of one owner's executions, or of all.
SELECT count(*) AS locks
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE l.state = 'open' AND l.expires_at > now()
    AND {schema}.visible(e.owner, %(owner)s, false);

-- name: answerable_lock_ids
-- Which locks are open, newest first: those of one owner's executions, or all.
SELECT l.lid, e.fid::text AS fid
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE l.state = 'open' AND l.expires_at > now()
    AND {schema}.visible(e.owner, %(owner)s, false)
ORDER BY l.opened_at DESC, l.lid DESC LIMIT %(limit)s;
