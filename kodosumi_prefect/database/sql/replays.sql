-- name: replay_cursor
-- How far a leg has said again what the one before said; nothing if it has said nothing yet.
SELECT seq, misses FROM {schema}.replay
WHERE execution_id = %(id)s AND attempt = %(attempt)s AND leg = %(leg)s AND source = %(source)s;

-- name: words_before
-- What the leg before said behind a seq, as digests, in order; by one who says it.
SELECT seq, kind, sha256(convert_to(payload, 'UTF8')) AS digest FROM {schema}.event
WHERE execution_id = %(id)s AND seq > %(after)s AND attempt = %(attempt)s
    AND kind = ANY(%(kinds)s::text[])
    AND coalesce(source->>'call', '') = %(call)s
    AND coalesce(source->'subflow'->>'id', '') = %(subflow)s
    AND coalesce(source->>'leg', '0') = %(before)s
ORDER BY seq LIMIT %(limit)s;

-- name: move_replay
-- Remember how far a leg has said it again.
INSERT INTO {schema}.replay (execution_id, attempt, leg, source, seq, misses)
VALUES (%(id)s, %(attempt)s, %(leg)s, %(source)s, %(seq)s, %(misses)s)
ON CONFLICT (execution_id, attempt, leg, source) DO UPDATE
SET seq = excluded.seq, misses = excluded.misses;

-- name: notice_replay
-- Whether it is to be said now that code of this flow runs again: once for each.
INSERT INTO {schema}.replay_notice (flow)
SELECT coalesce(flow_name, '') FROM {schema}.execution WHERE id = %(id)s
ON CONFLICT DO NOTHING RETURNING flow;

-- name: mark_legs
-- These spans are of a later leg.
UPDATE {schema}.span SET leg = %(leg)s
WHERE execution_id = %(id)s AND id = ANY(%(ids)s::text[]) AND leg <> %(leg)s;

-- name: mark_calls_again
-- As many model calls of a leg as the one before made are made again.
UPDATE {schema}.span s SET again = true
WHERE s.execution_id = %(id)s AND s.id = ANY(%(ids)s::text[]) AND NOT s.again
    AND s.type IN ('llm', 'embedding')
    AND (SELECT count(*) FROM {schema}.span before
         WHERE before.execution_id = s.execution_id AND before.attempt = s.attempt
            AND before.leg = s.leg - 1 AND before.type = s.type AND before.name = s.name)
        >= (SELECT count(*) FROM {schema}.span its
            WHERE its.execution_id = s.execution_id AND its.attempt = s.attempt
                AND its.leg = s.leg AND its.type = s.type AND its.name = s.name
                AND its.first_seq <= s.first_seq);
