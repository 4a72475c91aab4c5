-- fragment: unfinished
-- Calls of one attempt that are not over.
k.execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
    AND k.attempt = %(attempt)s AND k.outcome IS NULL AND k.obstacle IS NULL

-- name: begin_apart
-- A task begins in another process than its flow's, unless its leg ends, or it is over: whether it
-- does, whether its leg is over, and how it ended before; no row if the execution is not recorded
-- yet. Nothing of all this: it is being decided, maybe by who changed the row at this moment.
WITH e AS (SELECT id FROM {schema}.execution WHERE fid = %(fid)s), begun AS (
    INSERT INTO {schema}.kept_result AS known (execution_id, attempt, place, series, ordinal,
        path, name, arguments, apart)
    SELECT e.id, %(attempt)s, %(place)s, %(series)s, %(ordinal)s, %(path)s, %(name)s,
        %(arguments)s, %(leg)s FROM e
    ON CONFLICT (execution_id, attempt, place, series, ordinal) DO UPDATE SET
        apart = excluded.apart, parked = NULL, said = NULL
        WHERE known.outcome IS NULL AND known.held IS DISTINCT FROM excluded.apart
            AND coalesce(known.apart, 0) <= excluded.apart
    RETURNING 1
)
SELECT EXISTS (SELECT FROM begun),
    coalesce(k.apart > %(leg)s, false) OR coalesce(k.said = %(over)s, false), k.outcome
FROM e LEFT JOIN {schema}.kept_result k ON k.execution_id = e.id AND k.attempt = %(attempt)s
    AND k.place = %(place)s AND k.series = %(series)s AND k.ordinal = %(ordinal)s;

-- name: park_apart
-- All of a task in another process waits at these locks, long enough; no row if its leg ends.
UPDATE {schema}.kept_result k SET parked = %(lids)s::text[], said = %(said)s
WHERE {unfinished} AND k.path = %(path)s AND k.apart = %(leg)s
    AND k.held IS DISTINCT FROM %(leg)s
RETURNING 1;

-- name: go_on_apart
-- It goes on; no row if its leg ends, or ended.
UPDATE {schema}.kept_result k SET parked = NULL, said = NULL
WHERE {unfinished} AND k.path = %(path)s AND k.apart = %(leg)s
    AND k.held IS DISTINCT FROM %(leg)s
RETURNING 1;

-- name: left_apart
-- Whether the leg of what did not go on is over, and whether that may still be decided; no row if
-- it is over in another way. Neither: nobody ever knew that it began, so that nothing holds it.
SELECT coalesce(k.apart > %(leg)s, false) OR coalesce(k.said = %(over)s, false),
    coalesce(k.apart = %(leg)s OR k.held = %(leg)s, false)
FROM {schema}.kept_result k WHERE {unfinished} AND k.path = %(path)s;

-- name: hold_apart
-- The leg is about to end: what waits does not go on, and what has not begun does not begin.
UPDATE {schema}.kept_result k SET held = %(leg)s
WHERE {unfinished} AND (k.parked IS NOT NULL OR k.apart IS DISTINCT FROM %(leg)s);

-- name: release_apart
-- The leg did not end after all.
UPDATE {schema}.kept_result k SET held = NULL
WHERE {unfinished} AND k.held = %(leg)s;

-- name: end_apart
-- The leg has ended, and with it what waits in other processes: what they are told by.
UPDATE {schema}.kept_result k SET said = 'over:' || substr(k.said, length('parked:') + 1)
WHERE {unfinished} AND k.apart = %(leg)s AND k.held = %(leg)s AND k.said LIKE 'parked:%%'
RETURNING k.said;

-- name: begun_apart
-- What of a leg began in other processes and is not over, and the locks that it waits at.
SELECT k.path, k.place, k.name, k.parked FROM {schema}.kept_result k
WHERE {unfinished} AND k.apart = %(leg)s;

-- name: places_apart
-- Where the calls of an attempt that are not over were made, in whatever process.
SELECT k.path, k.place FROM {schema}.kept_result k WHERE {unfinished};

-- name: said_apart
-- What of this was said by now.
SELECT k.said, 'said', NULL::text FROM {schema}.kept_result k
WHERE k.said = ANY(%(said)s::text[]);
