-- name: own_scheduled
-- Which schedule a run is of; it belongs to whoever made that, which is never overwritten.
UPDATE {schema}.execution SET
    schedule_id = %(schedule)s::uuid,
    owner = coalesce(owner,
        (SELECT s.owner FROM {schema}.schedule s WHERE s.id = %(schedule)s::uuid))
WHERE id = %(id)s;

-- name: note_schedule
-- Who made a schedule, and what its runs need beside their parameters.
INSERT INTO {schema}.schedule
    (id, deployment_id, endpoint_uid, owner, summary, parameters, payload_id)
VALUES (%(id)s::uuid, %(deployment_id)s::uuid, %(endpoint_uid)s, %(owner)s, %(summary)s,
    %(parameters)s, %(payload_id)s::uuid)
ON CONFLICT (id) DO UPDATE SET parameters = excluded.parameters, payload_id = excluded.payload_id
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
WHERE {schema}.visible(s.owner, %(owner)s, false)
    AND (%(id)s::uuid IS NULL OR s.id = %(id)s::uuid)
    AND (%(uids)s::text[] IS NULL OR s.endpoint_uid = ANY(%(uids)s::text[]))
ORDER BY s.created_at DESC, s.id;

-- name: last_of_schedules
-- The newest execution of each of these schedules.
SELECT s.id::text AS schedule_id, e.fid::text, e.status,
    extract(epoch FROM coalesce(e.started_at, e.created_at))::float8 AS started_at,
    {cancelled} AS cancelled, e.cost::float8 AS cost, e.input_tokens, e.output_tokens,
    e.unpriced_calls
FROM unnest(%(ids)s::uuid[]) AS s (id)
CROSS JOIN LATERAL (
    SELECT fid, status, state_type, started_at, created_at, cost, input_tokens, output_tokens,
        unpriced_calls
    FROM {schema}.execution WHERE schedule_id = s.id ORDER BY id DESC LIMIT 1
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
