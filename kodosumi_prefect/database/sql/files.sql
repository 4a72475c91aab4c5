-- name: put_files
-- Files that an execution has from now on; one of the same path is replaced.
INSERT INTO {schema}.file AS known (execution_id, direction, comparable, path, key, size, sha256,
    media_type, created_at, attempt, task_run, node)
SELECT %(id)s, file.direction, file.comparable, file.path, file.key, file.size, file.sha256,
    file.media_type, to_timestamp(file.ts), file.attempt, file.task_run, file.node
FROM jsonb_to_recordset(%(files)s::jsonb) AS file (direction text, comparable text, path text,
    key text, size bigint, sha256 text, media_type text, ts float8, attempt integer,
    task_run text, node text)
ON CONFLICT (execution_id, direction, comparable) DO UPDATE SET
    path = excluded.path, key = excluded.key, size = excluded.size, sha256 = excluded.sha256,
    media_type = excluded.media_type, created_at = excluded.created_at,
    attempt = excluded.attempt, task_run = excluded.task_run, node = excluded.node;

-- name: drop_files
-- Files that an execution no longer has.
DELETE FROM {schema}.file f USING jsonb_to_recordset(%(files)s::jsonb) AS gone (
    direction text, comparable text)
WHERE f.execution_id = %(id)s AND f.direction = gone.direction
    AND f.comparable = gone.comparable;

-- name: count_files
-- How many files an execution has, and their bytes, as its row shows them.
UPDATE {schema}.execution SET (files, file_bytes) = (
        SELECT count(*), coalesce(sum(size), 0) FROM {schema}.file WHERE execution_id = %(id)s),
    changed = pg_current_xact_id()::text::bigint
WHERE id = %(id)s;

-- name: files_of
-- Files of an execution behind a path, in the order of their paths.
SELECT f.direction || '/' || f.path AS path, f.key, f.size, f.sha256, f.media_type,
    extract(epoch FROM f.created_at)::float8 AS created, f.attempt, f.task_run, f.node
FROM {schema}.file f JOIN {schema}.execution e ON e.id = f.execution_id
WHERE e.fid = %(fid)s::uuid AND f.direction = %(direction)s
    AND (%(after)s::text IS NULL OR f.path COLLATE "C" > %(after)s)
    AND (%(folder)s::text = '' OR f.path = %(folder)s
        OR starts_with(f.path, %(folder)s || '/'))
ORDER BY f.path COLLATE "C" LIMIT %(limit)s;

-- name: file_at
-- One file of an execution by its path, or one that a file system would take for it.
SELECT f.direction || '/' || f.path AS path, f.key, f.size, f.sha256, f.media_type,
    extract(epoch FROM f.created_at)::float8 AS created, f.attempt, f.task_run, f.node
FROM {schema}.file f JOIN {schema}.execution e ON e.id = f.execution_id
WHERE e.fid = %(fid)s::uuid AND f.direction = %(direction)s AND f.comparable = %(comparable)s;

-- name: file_totals
-- How many files an execution has, and how many bytes.
SELECT files, file_bytes FROM {schema}.execution WHERE fid = %(fid)s::uuid;

-- name: owner_bytes
-- Bytes of all files of an owner's executions and uploads.
SELECT (SELECT coalesce(sum(e.file_bytes), 0) FROM {schema}.execution e
        WHERE e.owner = %(owner)s AND e.file_bytes > 0)::bigint
    + (SELECT coalesce(sum(c.size), 0) FROM {schema}.upload_batch b
        JOIN {schema}.upload u ON u.batch = b.id JOIN {schema}.upload_chunk c ON c.upload = u.id
        WHERE b.owner = %(owner)s)::bigint AS bytes;

-- name: dropped_contents
-- Contents that no file has any more, for so many seconds.
SELECT key FROM {schema}.dropped_content d
WHERE since < now() - make_interval(secs => %(age)s) ORDER BY since LIMIT %(limit)s;

-- name: forget_dropped
-- They are deleted from the storage.
DELETE FROM {schema}.dropped_content WHERE key = ANY(%(keys)s::text[]);

-- name: files_past
-- Executions with files that ended before a span of seconds.
SELECT id FROM {schema}.execution
WHERE files > 0 AND status IN ('finished', 'error') AND id > %(after)s
    AND ended_at < now() - make_interval(secs => %(age)s)
ORDER BY id LIMIT %(limit)s;

-- name: delete_files
-- Forget the files of executions that are still over; their events stay.
WITH chosen AS (
    SELECT id FROM {schema}.execution
    WHERE id = ANY(%(ids)s::bigint[]) AND status IN ('finished', 'error')
        AND ended_at < now() - make_interval(secs => %(age)s)
    ORDER BY id FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM {schema}.file WHERE execution_id IN (SELECT id FROM chosen) RETURNING size
),
counted AS (
    UPDATE {schema}.execution SET files = 0, file_bytes = 0,
        changed = pg_current_xact_id()::text::bigint
    WHERE id IN (SELECT id FROM chosen)
)
SELECT count(*) AS files, coalesce(sum(size), 0)::bigint AS bytes FROM gone;

-- name: known_to_writers
-- Whether an execution ended more than some seconds ago, and whether it is known whose it is.
SELECT ended_at IS NOT NULL AND ended_at < now() - make_interval(secs => %(late)s) AS closed,
    owner IS NOT NULL AS owned
FROM {schema}.execution WHERE fid = %(fid)s::uuid;

-- name: registered_storage
-- What tells the storage that holds the contents from all others.
SELECT identity FROM {schema}.file_storage;

-- name: register_storage
-- Contents are in this storage from now on, unless another one has been registered before.
INSERT INTO {schema}.file_storage (identity, url) VALUES (%(identity)s, %(url)s)
ON CONFLICT (one) DO UPDATE SET
    identity = excluded.identity, url = excluded.url, since = now()
WHERE file_storage.identity <> excluded.identity
    AND NOT EXISTS (SELECT FROM {schema}.file) AND NOT EXISTS (SELECT FROM {schema}.upload)
RETURNING identity;
