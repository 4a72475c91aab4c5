-- name: budget_standing
-- How executions stand against their budgets, the most pressing budget of each.
SELECT f.fid, coalesce(b.state, CASE WHEN EXISTS (SELECT FROM {schema}.budget) THEN 'within'
        ELSE 'free' END), b.per, b.unit, b.spent::float8, b.allowed::float8
FROM unnest(%(fids)s::text[]) AS f (fid)
LEFT JOIN {schema}.execution e ON e.fid = f.fid::uuid
LEFT JOIN LATERAL {schema}.budget_standing(e.id) b ON e.id IS NOT NULL ORDER BY e.id;

-- name: set_budget
-- Set a budget; what somebody set is not overwritten by settings.
INSERT INTO {schema}.budget AS known (per, name, dollars, tokens, at_limit, source)
VALUES (%(per)s, %(name)s, %(dollars)s, %(tokens)s, %(at_limit)s, %(source)s)
ON CONFLICT (per, name) DO UPDATE SET dollars = excluded.dollars, tokens = excluded.tokens,
    at_limit = excluded.at_limit, source = excluded.source
WHERE known.source = 'settings' OR excluded.source <> 'settings'
RETURNING per;

-- name: keep_budgets_of_settings
-- Forget the budgets of settings that are no longer set.
DELETE FROM {schema}.budget WHERE source = 'settings' AND per <> ALL(%(pers)s::text[])
RETURNING per;

-- name: remove_budget
-- Forget a budget.
DELETE FROM {schema}.budget WHERE per = %(per)s AND name = %(name)s RETURNING per;

-- name: set_budget_rules
-- In which zone days begin, and what becomes of calls whose price is not known.
UPDATE {schema}.budget_rules SET zone = %(zone)s, unpriced = %(unpriced)s,
    unpriced_tokens = %(unpriced_tokens)s
RETURNING zone;

-- name: budget_zone
-- In which zone the days of budgets begin.
SELECT zone FROM {schema}.budget_rules;

-- name: budgets
-- All budgets, with what was spent today of those that are about a day and one subject.
SELECT b.per, b.name, b.dollars::float8 AS dollars, b.tokens, b.at_limit, b.source,
    (SELECT r.name FROM {schema}.role r WHERE b.per = 'owner' AND r.id::text = b.name) AS owner,
    s.dollars::float8 AS spent_dollars, s.tokens AS spent_tokens
FROM {schema}.budget b LEFT JOIN LATERAL (
    SELECT coalesce(sum(x.dollars), 0) AS dollars, coalesce(sum(x.tokens), 0)::bigint AS tokens
    FROM {schema}.spending x, {schema}.budget_rules r
    WHERE x.day = (now() AT TIME ZONE r.zone)::date AND (b.per = 'all'
        OR (b.per = 'owner' AND x.owner = b.name)
        OR (b.per = 'service' AND b.name IN (x.service, x.flow)))
) s ON b.per = 'all' OR (b.per <> 'run' AND b.name <> '')
ORDER BY b.per, b.name;

-- name: budget_marks
-- Budgets of executions that go on of which something has to be told or done.
SELECT m.execution_id, e.fid::text AS fid, e.attempt, m.per, m.unit, m.day::text AS day,
    m.spent::float8 AS spent, m.allowed::float8 AS allowed, m.granted::float8 AS granted,
    m.at_limit, m.calls_open, m.near_told,
    m.over_at IS NOT NULL AS over, m.over_told, m.lid, l.state AS lock_state, l.result,
    m.refused_at IS NOT NULL AS refused,
    extract(epoch FROM now() - coalesce(m.refused_at, m.over_at))::float8 AS over_for
FROM {schema}.budget_mark m
JOIN {schema}.execution e ON e.id = m.execution_id
LEFT JOIN {schema}.lock l ON l.execution_id = m.execution_id AND l.lid = m.lid
WHERE e.status NOT IN ('finished', 'error') AND m.near_at IS NOT NULL
    AND (NOT m.near_told OR (m.over_at IS NOT NULL AND m.stopped_at IS NULL))
ORDER BY m.execution_id, m.per, m.unit, m.day LIMIT %(limit)s;

-- name: told_of_budget
-- What was told of a budget, or done about it; null leaves it as it is.
UPDATE {schema}.budget_mark SET
    near_told = near_told OR %(near)s,
    over_told = CASE WHEN %(granted)s::numeric IS NOT NULL THEN false ELSE over_told OR %(over)s END,
    lid = CASE WHEN %(granted)s::numeric IS NOT NULL THEN NULL ELSE coalesce(%(lid)s, lid) END,
    refused_at = CASE WHEN %(refused)s THEN coalesce(refused_at, now()) ELSE refused_at END,
    stopped_at = CASE WHEN %(stopped)s THEN coalesce(stopped_at, now()) ELSE stopped_at END,
    granted = granted + coalesce(%(granted)s::numeric, 0),
    allowed = allowed + coalesce(%(granted)s::numeric, 0),
    over_at = CASE WHEN %(granted)s::numeric IS NOT NULL THEN NULL ELSE over_at END,
    calls_open = CASE WHEN %(granted)s::numeric IS NOT NULL THEN NULL ELSE calls_open END
WHERE execution_id = %(id)s AND per = %(per)s AND unit = %(unit)s AND day = %(day)s::date
RETURNING per;

-- name: weigh_unpriced
-- Weigh the budgets of executions with calls whose price was not known a moment ago.
SELECT {schema}.weigh_budgets(id) FROM {schema}.execution
WHERE status NOT IN ('finished', 'error') AND unpriced_calls > 0
    AND EXISTS (SELECT FROM {schema}.budget WHERE dollars IS NOT NULL)
ORDER BY id LIMIT %(limit)s;

-- name: budgets_of
-- The budgets of an execution of which four fifths are spent.
SELECT m.per, m.unit, m.spent::float8 AS spent, m.allowed::float8 AS allowed, m.calls_open,
    m.over_at IS NOT NULL AS over, m.refused_at IS NOT NULL OR m.stopped_at IS NOT NULL AS stopped
FROM {schema}.budget_mark m JOIN {schema}.execution e ON e.id = m.execution_id
WHERE e.fid = %(fid)s::uuid AND m.near_at IS NOT NULL
ORDER BY m.spent / nullif(m.allowed, 0) DESC;

-- name: forget_spending
-- What was spent on days that no budget is about any more.
DELETE FROM {schema}.spending WHERE day < current_date - 40;
