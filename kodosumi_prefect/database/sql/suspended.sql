-- name: asked_before
-- A lock as an earlier leg of its execution left it, and the seconds until its deadline.
SELECT l.state, l.result,
    extract(epoch FROM coalesce(l.deadline, l.expires_at) - now())::float8 AS left
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE e.fid = %(fid)s AND l.lid = %(lid)s;

-- name: suspend
-- A leg is about to end at these locks: whether one of them is settled already, and what is asked
-- first until when; no row if they are not all stored, or the execution is over.
WITH asked AS (
    SELECT l.execution_id, count(*) AS locks,
        (array_agg(coalesce(l.title, l.name) ORDER BY l.expires_at, l.lid))[1] AS heading,
        extract(epoch FROM min(l.expires_at))::float8 AS expires,
        min(CASE WHEN l.state = 'open' THEN coalesce(l.deadline, l.expires_at) ELSE now() END)
            AS resume_at
    FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
    WHERE e.fid = %(fid)s AND l.lid = ANY(%(lids)s::text[]) GROUP BY 1
)
UPDATE {schema}.execution e SET suspended_leg = %(leg)s, resume_at = asked.resume_at
FROM asked
WHERE e.id = asked.execution_id AND asked.locks = cardinality(%(lids)s::text[])
    AND e.ended_seq IS NULL
RETURNING e.resume_at <= now(), asked.heading, asked.expires;

-- name: keep_code
-- The code of a leg that is about to end: digests of its files by module, as JSON.
UPDATE {schema}.execution SET suspended_code = %(code)s WHERE fid = %(fid)s RETURNING id;

-- name: suspended_code
-- The code of the last leg that ended.
SELECT suspended_code FROM {schema}.execution WHERE fid = %(fid)s;

-- name: not_suspended
-- The leg did not end after all, or the next one is under way.
UPDATE {schema}.execution SET suspended_leg = NULL, resume_at = NULL
WHERE fid = %(fid)s AND suspended_leg = %(leg)s RETURNING id;

-- name: due_to_resume
-- Suspended executions that somebody answered, or whose time is up.
SELECT fid::text, suspended_leg AS leg FROM {schema}.execution
WHERE suspended_leg IS NOT NULL AND resume_at <= now() ORDER BY resume_at LIMIT %(limit)s;

-- name: claim_resuming
-- Resume a suspended execution that is due, for so many seconds alone.
UPDATE {schema}.execution SET resume_at = now() + %(claim)s * interval '1 second'
WHERE fid = %(fid)s AND suspended_leg IS NOT NULL AND resume_at <= now()
RETURNING suspended_leg;

-- name: resume_by_set_back_clock
-- Have executions be due that wait neither for a deadline of theirs nor for who claimed them: their
-- time was noted before the clock was set back.
UPDATE {schema}.execution e SET resume_at = now()
WHERE e.suspended_leg IS NOT NULL AND e.resume_at > now() + %(claim)s * interval '1 second'
    AND NOT EXISTS (SELECT FROM {schema}.lock l WHERE l.execution_id = e.id
        AND l.state = 'open' AND coalesce(l.deadline, l.expires_at) = e.resume_at)
RETURNING e.id;

-- name: leg_ended
-- Prefect holds the execution for suspended, so the process of its leg is no more.
UPDATE {schema}.execution SET process = NULL, heartbeat_at = NULL
WHERE fid = %(fid)s AND suspended_leg = %(leg)s RETURNING id;

-- name: resume_again
-- What could not be resumed now is due again in so many seconds.
UPDATE {schema}.execution SET resume_at = least(resume_at, now() + %(wait)s * interval '1 second')
WHERE fid = %(fid)s AND suspended_leg = %(leg)s RETURNING id;

-- name: suspended_executions
-- Executions that wait without a process, behind a cursor; for the observer, as live ones.
SELECT {live}
FROM {schema}.execution e LEFT JOIN {schema}.runner r ON r.fid = e.fid
WHERE e.suspended_leg IS NOT NULL AND e.status IN ('starting', 'running', 'awaiting')
    AND e.id > %(after)s AND (%(fids)s::uuid[] IS NULL OR e.fid = ANY(%(fids)s::uuid[]))
ORDER BY e.id LIMIT %(limit)s;

-- name: awaiting_in_process
-- Executions that wait for people in a process, and what is asked, for their state in Prefect.
SELECT e.fid::text, e.state_type, e.open_locks,
    asked.heading, extract(epoch FROM asked.expires_at)::float8 AS expires
FROM {schema}.execution e LEFT JOIN LATERAL (
    SELECT coalesce(l.title, l.name) AS heading, l.expires_at FROM {schema}.lock l
    WHERE l.execution_id = e.id AND l.state = 'open' ORDER BY l.expires_at, l.lid LIMIT 1
) asked ON true
WHERE e.suspended_leg IS NULL AND e.ended_seq IS NULL
    AND (e.open_locks > 0 OR e.state_type = 'PAUSED' AND e.state_name = 'AwaitingInput');

-- name: still_asking
-- Which of these executions have questions that are not settled.
SELECT fid::text FROM {schema}.execution WHERE fid = ANY(%(fids)s::uuid[]) AND open_locks > 0;

-- name: has_no_process
-- Whether an execution is suspended; no row if there is no such execution.
SELECT suspended_leg IS NOT NULL FROM {schema}.execution WHERE fid = %(fid)s;

-- name: lapsed_runners
-- Flow runs of a work pool that no worker answers for any more.
SELECT fid FROM {schema}.runner
WHERE pool = %(pool)s AND namespace = %(namespace)s AND lease_until < now();
