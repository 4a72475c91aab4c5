-- name: store_payload
-- Keep inputs that must not, or do not, fit into Prefect's parameters.
INSERT INTO {schema}.payload (inputs, types, secrets, kept)
VALUES (%(inputs)s, %(types)s, %(secrets)s, %(kept)s)
RETURNING id::text;

-- name: take_payload
-- The inputs of a run; the first run that asks is the one they are for, unless they are kept.
UPDATE {schema}.payload SET fid = CASE WHEN kept THEN fid ELSE coalesce(fid, %(fid)s::uuid) END
WHERE id = %(id)s::uuid AND (kept OR fid IS NULL OR fid = %(fid)s::uuid)
RETURNING inputs, secrets, types;

-- name: show_payload
-- The part of inputs that people may see.
SELECT inputs FROM {schema}.payload WHERE id = %(id)s::uuid;

-- name: purge_secrets
-- A run is over: delete its secrets.
UPDATE {schema}.payload SET secrets = NULL
WHERE fid = %(fid)s::uuid AND NOT kept AND secrets IS NOT NULL;

-- name: lost_secrets
-- Whether inputs of a run held secrets that were deleted when it ended.
SELECT fid::text FROM {schema}.payload
WHERE fid = %(fid)s::uuid AND NOT kept AND secrets IS NULL AND inputs LIKE %(mask)s LIMIT 1;

-- name: forget_payload
-- Nothing refers to these inputs any more.
DELETE FROM {schema}.payload WHERE id = %(id)s::uuid;

-- name: wake_workers
-- Tell the workers of a work pool that there is a run for them.
SELECT pg_notify(%(channel)s, %(message)s);

-- name: lock_deployment
-- Only one process at a time makes the deployment of an endpoint; until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 0));
