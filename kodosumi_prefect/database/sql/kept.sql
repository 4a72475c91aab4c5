-- name: keep_results
-- Keep what finished calls of one attempt returned; none of an execution that is not there yet.
-- One that is not over by what its flow knows keeps what the process that it ran in said.
INSERT INTO {schema}.kept_result AS known (execution_id, attempt, place, series, ordinal, path,
    name, arguments, outcome, content, obstacle)
SELECT e.id, %(attempt)s, k.* FROM {schema}.execution e, unnest(%(place)s::text[],
    %(series)s::text[], %(ordinal)s::integer[], %(path)s::text[], %(name)s::text[], %(arguments)s::text[],
    %(outcome)s::text[], %(content)s::bytea[], %(obstacle)s::text[]) AS k
WHERE e.fid = %(fid)s
ON CONFLICT (execution_id, attempt, place, series, ordinal) DO UPDATE SET
    name = excluded.name, arguments = excluded.arguments,
    outcome = CASE WHEN excluded.outcome IS NULL AND excluded.obstacle IS NULL
        THEN known.outcome ELSE excluded.outcome END,
    content = CASE WHEN excluded.outcome IS NULL AND excluded.obstacle IS NULL
        THEN known.content ELSE excluded.content END,
    obstacle = coalesce(excluded.obstacle, CASE WHEN excluded.outcome IS NULL
        THEN known.obstacle END)
RETURNING ordinal;

-- name: kept_calls
-- Which calls of an attempt were made, and whether they are finished, without their results.
SELECT k.place, k.series, k.ordinal, k.arguments, k.outcome IS NOT NULL AS finished
FROM {schema}.kept_result k JOIN {schema}.execution e ON e.id = k.execution_id
WHERE e.fid = %(fid)s AND k.attempt = %(attempt)s
    AND (%(place)s::text IS NULL OR k.place = %(place)s)
ORDER BY k.place, k.series, k.ordinal;

-- name: kept_result
-- What one finished call returned or raised.
SELECT k.outcome, k.content, k.obstacle
FROM {schema}.kept_result k JOIN {schema}.execution e ON e.id = k.execution_id
WHERE e.fid = %(fid)s AND k.attempt = %(attempt)s AND k.place = %(place)s
    AND k.series = %(series)s AND k.ordinal = %(ordinal)s;

-- name: obstacles_to_reuse
-- Finished calls that could not be returned in another leg, but for those below a finished one.
SELECT k.name, k.obstacle, count(*) AS calls
FROM {schema}.kept_result k JOIN {schema}.execution e ON e.id = k.execution_id
WHERE e.fid = %(fid)s AND k.attempt = %(attempt)s AND k.obstacle IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM {schema}.kept_result around
        WHERE around.execution_id = k.execution_id AND around.attempt = k.attempt
            AND around.path = k.place AND around.outcome IS NOT NULL)
GROUP BY k.name, k.obstacle ORDER BY k.name, k.obstacle;

-- name: which_are_kept
-- Which of these calls ended where that was kept.
SELECT k.path FROM {schema}.kept_result k JOIN {schema}.execution e ON e.id = k.execution_id
WHERE e.fid = %(fid)s AND k.attempt = %(attempt)s AND k.path = ANY(%(paths)s::text[]);

-- name: forget_results
-- The execution is over: no leg follows.
DELETE FROM {schema}.kept_result WHERE execution_id = %(id)s;
