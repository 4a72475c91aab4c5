-- name: due_lock_steps
-- What is due about locks by the clock of this database, the eldest first.
SELECT e.fid::text AS fid, p.lid, p.step, p.number
FROM {schema}.lock_plan p JOIN {schema}.execution e ON e.id = p.execution_id
WHERE p.due_at <= now() ORDER BY p.due_at LIMIT %(limit)s;

-- name: overdue_locks
-- Open locks whose deadline was `grace` seconds ago: the runs that wait for them did not say so.
SELECT e.fid::text AS fid, l.lid
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE l.state = 'open' AND l.deadline <= now() - make_interval(secs => %(grace)s)
ORDER BY l.deadline LIMIT %(limit)s;

-- name: begin_lock_step
-- Take a step out of the plan, for this transaction to do; no row if another one has.
DELETE FROM {schema}.lock_plan
WHERE execution_id = %(id)s AND lid = %(lid)s AND step = %(step)s AND number = %(number)s
    AND due_at <= now()
RETURNING recipients;

-- name: add_lock_step
-- Note what was done about a lock; no row if it was before.
INSERT INTO {schema}.lock_step (execution_id, lid, step, number, who, who_name, means, recipients,
    reached, result, visible_result)
VALUES (%(id)s, %(lid)s, %(step)s, %(number)s, %(who)s, %(who_name)s, %(means)s,
    %(recipients)s::text[], %(reached)s::text[], %(result)s, %(visible_result)s)
ON CONFLICT DO NOTHING RETURNING id;

-- name: people_asked
-- Whom each of these names stands for: no account, if it is nobody's.
SELECT one.name AS reference, p.id, p.name
FROM unnest(%(names)s::text[]) WITH ORDINALITY AS one (name, place)
LEFT JOIN LATERAL {schema}.people_of(one.name, %(owner)s) p ON true
ORDER BY one.place, lower(p.name);

-- name: set_asked
-- Have others asked, by names and ids.
UPDATE {schema}.lock SET asked = %(asked)s::text[], handed_on = %(handed_on)s::text[]
WHERE execution_id = %(id)s AND lid = %(lid)s;

-- name: answers_of_lock
-- Answers to a lock that needs several, in their order.
SELECT who, who_name, result, visible_result FROM {schema}.lock_step
WHERE execution_id = %(id)s AND lid = %(lid)s AND step = 'answered' ORDER BY id;

-- name: lock_steps
-- What was done about these locks of these executions, in its order.
SELECT e.fid::text AS fid, s.lid, s.step, s.number, extract(epoch FROM s.at)::float8 AS at, s.who_name, s.means,
    s.recipients, s.reached
FROM {schema}.lock_step s JOIN {schema}.execution e ON e.id = s.execution_id
WHERE e.fid = ANY(%(fids)s::uuid[]) AND s.lid = ANY(%(lids)s::text[]) ORDER BY s.id;

-- name: names_of_accounts
-- Accounts by id.
SELECT id::text AS id, name FROM {schema}.role WHERE id::text = ANY(%(ids)s::text[]);

-- name: active_account
-- An account by its name, upper and lower case alike.
SELECT id::text AS id, name FROM {schema}.role WHERE lower(name) = lower(%(name)s) AND active;
