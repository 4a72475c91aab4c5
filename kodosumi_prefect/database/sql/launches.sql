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

-- name: claim_batches
-- Files are a launch's, or a schedule's, from now on: those chosen, all or none, if they are nobody
-- else's yet. What was uploaded with them and not chosen is dropped.
WITH free AS (
    SELECT id FROM {schema}.upload_batch
    WHERE id = ANY(%(batches)s::uuid[]) AND owner = %(owner)s
        AND (fid IS NULL OR fid = ANY(%(own)s::uuid[]))
        AND (schedule IS NULL OR schedule = %(schedule)s)
    ORDER BY id FOR UPDATE
),
claimed AS (
    UPDATE {schema}.upload_batch b SET fid = coalesce(b.fid, %(fid)s::uuid),
        schedule = %(schedule)s, touched_at = now()
    FROM free WHERE b.id = free.id
        AND (SELECT count(*) FROM free) = cardinality(%(batches)s::uuid[])
    RETURNING b.id
),
loose AS (
    SELECT u.id, u.key FROM {schema}.upload u JOIN claimed ON u.batch = claimed.id
    WHERE u.id <> ALL(%(uploads)s::uuid[])
),
dropped AS (
    INSERT INTO {schema}.dropped_content (key)
    SELECT key FROM loose WHERE key IS NOT NULL
    UNION SELECT c.key FROM {schema}.upload_chunk c JOIN loose ON c.upload = loose.id
    ON CONFLICT DO NOTHING
),
gone AS (
    DELETE FROM {schema}.upload WHERE id IN (SELECT id FROM loose)
)
SELECT id::text FROM claimed;

-- name: note_run_of_batches
-- The run that came of a launch has its files.
UPDATE {schema}.upload_batch SET fid = %(fid)s::uuid WHERE fid = %(launch)s::uuid
RETURNING id::text;

-- name: unclaim_batches
-- Nothing came of a launch: its files can be used for another one.
UPDATE {schema}.upload_batch SET fid = NULL WHERE fid = %(launch)s::uuid RETURNING id::text;

-- name: batches_of_run
-- What a run was given: by its launch, or by the schedule that it is of.
SELECT id::text FROM {schema}.upload_batch
WHERE fid = ANY(%(fids)s::uuid[]) OR schedule = %(schedule)s
ORDER BY created_at, id;

-- name: free_batches
-- Nothing came of a schedule: its files can be used for another one.
UPDATE {schema}.upload_batch SET schedule = NULL WHERE schedule = %(schedule)s RETURNING id::text;

-- name: release_batches
-- Schedules are gone, and nobody needs their files any more.
WITH gone AS (
    DELETE FROM {schema}.upload_batch WHERE schedule = ANY(%(schedules)s::text[]) RETURNING id
),
parts AS (
    SELECT u.key FROM {schema}.upload u JOIN gone ON u.batch = gone.id WHERE u.key IS NOT NULL
    UNION SELECT c.key FROM {schema}.upload_chunk c JOIN {schema}.upload u ON u.id = c.upload
    JOIN gone ON u.batch = gone.id
)
INSERT INTO {schema}.dropped_content (key) SELECT key FROM parts
ON CONFLICT DO NOTHING RETURNING key;

-- name: copy_batch
-- Files of an execution as if somebody had uploaded them, in a batch of theirs that is not used yet.
WITH batch AS (
    INSERT INTO {schema}.upload_batch AS known (id, owner) VALUES (%(id)s::uuid, %(owner)s)
    ON CONFLICT (id) DO UPDATE SET touched_at = now()
    WHERE known.owner = excluded.owner AND known.fid IS NULL AND known.schedule IS NULL
    RETURNING id
)
INSERT INTO {schema}.upload (id, batch, path, comparable, chunks, media_type, key, size, sha256)
SELECT file.id, batch.id, file.path, file.comparable, 0, file.media_type, file.key, file.size,
    file.sha256
FROM batch, jsonb_to_recordset(%(files)s::jsonb) AS file (id uuid, path text, comparable text,
    media_type text, key text, size bigint, sha256 text)
ON CONFLICT DO NOTHING RETURNING id::text;

-- name: given_batches
-- What a run was given: by its launch, or by the schedule that it is of.
SELECT b.id::text FROM {schema}.upload_batch b
WHERE b.fid = %(fid)s::uuid OR b.schedule = (
    SELECT e.schedule_id::text FROM {schema}.execution e WHERE e.fid = %(fid)s::uuid)
ORDER BY b.created_at, b.id;
