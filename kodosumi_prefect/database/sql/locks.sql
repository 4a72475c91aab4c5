-- name: open_locks
-- The open locks of an execution, which is locked, and the attempts that wait for them.
SELECT lid, attempt FROM {schema}.lock WHERE execution_id = %(id)s AND state = 'open';

-- name: open_locks_of
-- The same by the execution's fid.
SELECT l.lid, l.attempt FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE e.fid = %(fid)s AND l.state = 'open';

-- name: open_lock
-- Open a lock.
INSERT INTO {schema}.lock (execution_id, lid, name, attempt, data, elements, state, opened_at,
    expires_at, title, question)
VALUES (%(id)s, %(lid)s, %(name)s, %(attempt)s, %(data)s, %(elements)s, %(state)s,
    to_timestamp(%(opened)s), to_timestamp(%(expires)s), %(title)s, %(question)s)
ON CONFLICT (execution_id, lid) DO NOTHING;

-- name: ask_lock
-- Say of a new lock who is asked, and plan what follows; a lock that was said again keeps both.
WITH said AS (
    UPDATE {schema}.lock l SET asked = %(asked)s::text[], quorum = %(quorum)s,
        on_expiry = %(on_expiry)s, link = %(link)s
    WHERE execution_id = %(id)s AND lid = %(lid)s AND state = 'open'
        AND asked IS NULL AND quorum = 1 AND on_expiry IS NULL AND NOT link
        AND NOT EXISTS (SELECT FROM {schema}.lock_step s
            WHERE s.execution_id = l.execution_id AND s.lid = l.lid)
    RETURNING execution_id, lid
)
INSERT INTO {schema}.lock_plan (execution_id, lid, step, number, due_at, recipients)
SELECT said.execution_id, said.lid, p.step, p.number, now() + make_interval(secs => p.after),
    p.recipients
FROM said, jsonb_to_recordset(%(plan)s::jsonb)
    AS p (step text, number int, after float8, recipients text[])
ON CONFLICT DO NOTHING;

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
-- One lock with what its readers have to know of its execution; is_asked, has_answered: `account`.
SELECT l.lid, l.name, l.title, l.question, l.elements, l.data, l.state, l.attempt,
    e.fid::text AS fid, e.owner, e.summary, e.flow_name, e.app_url, e.inputs, e.status,
    l.attempt < e.attempt AS superseded,
    coalesce(l.deadline, l.expires_at) <= now() AS over,
    l.asked, l.handed_on, l.quorum, l.on_expiry, l.link,
    {schema}.is_asked(l.asked, l.handed_on, e.owner, %(account)s) AS is_asked,
    EXISTS (SELECT FROM {schema}.lock_step s WHERE s.execution_id = l.execution_id
        AND s.lid = l.lid AND s.step = 'answered' AND s.who = %(account)s) AS has_answered,
    extract(epoch FROM l.opened_at)::float8 AS opened,
    extract(epoch FROM l.expires_at)::float8 AS expires
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE e.fid = %(fid)s AND l.lid = %(lid)s;

-- fragment: answerable_lock
-- Open locks that nobody has answered in place of `account`, and that it is asked; null: all.
l.state = 'open' AND coalesce(l.deadline, l.expires_at) > now()
    AND (%(account)s::text IS NULL OR (
        ({schema}.is_named(l.asked, l.handed_on, e.owner, %(account)s,
            (SELECT {schema}.references_to(%(account)s)))
            OR CASE WHEN e.owner = %(account)s
                THEN {schema}.falls_to(l.asked, e.owner, %(account)s) ELSE false END)
        AND (l.quorum = 1 OR NOT EXISTS (SELECT FROM {schema}.lock_step s
            WHERE s.execution_id = l.execution_id AND s.lid = l.lid AND s.step = 'answered'
                AND s.who = %(account)s))))

-- name: answerable_locks
-- Open locks, newest first, behind a cursor: those that an account is asked, or all.
SELECT l.lid, l.name, l.title, l.question, l.elements, l.data, e.fid::text AS fid, e.owner,
    e.summary, e.flow_name, e.app_url, l.asked, l.quorum, l.link,
    extract(epoch FROM l.opened_at)::float8 AS opened,
    extract(epoch FROM l.expires_at)::float8 AS expires
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE {answerable_lock}
    AND (%(before)s::text IS NULL OR (l.opened_at, l.lid) < (
        SELECT b.opened_at, b.lid FROM {schema}.lock b
        JOIN {schema}.execution its ON its.id = b.execution_id
        WHERE b.lid = %(before)s AND (%(account)s::text IS NULL
            OR {schema}.is_asked(b.asked, b.handed_on, its.owner, %(account)s))
        ORDER BY b.execution_id DESC LIMIT 1))
ORDER BY l.opened_at DESC, l.lid DESC LIMIT %(limit)s;

-- name: outcomes_of_locks
-- What became of these locks, whether their run still waits for them, and who answered.
SELECT l.lid, l.state, extract(epoch FROM l.opened_at)::float8 AS opened,
    extract(epoch FROM l.expires_at)::float8 AS expires,
    extract(epoch FROM l.answered_at)::float8 AS answered,
    l.state = 'open' AND coalesce(l.deadline, l.expires_at) > now() AS waits, l.asked, l.quorum,
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

-- name: forget_given_answers
-- The same of answers to locks that need several.
UPDATE {schema}.lock_step SET result = NULL
WHERE execution_id = %(id)s AND step = 'answered' AND result LIKE 'sealed:%%';

-- name: count_answerable_locks
-- How many open locks an account is asked, or how many there are.
SELECT count(*) AS locks
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE {answerable_lock};

-- name: answerable_lock_ids
-- Which locks are open, newest first: those that an account is asked, or all.
SELECT l.lid, e.fid::text AS fid
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE {answerable_lock}
ORDER BY l.opened_at DESC, l.lid DESC LIMIT %(limit)s;
