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
SELECT files, file_bytes AS bytes FROM {schema}.execution WHERE fid = %(fid)s::uuid;

-- name: given_files
-- Files that executions which may be seen were given: how many have any, how many they are, their
-- bytes, and the first names.
SELECT count(DISTINCT e.id)::int AS executions, count(f.path)::int AS files,
    coalesce(sum(f.size), 0)::bigint AS bytes,
    coalesce((array_agg(f.path ORDER BY f.path COLLATE "C"))[1:%(names)s], ARRAY[]::text[]) AS names
FROM {schema}.execution e JOIN {schema}.file f ON f.execution_id = e.id AND f.direction = 'in'
WHERE e.fid = ANY(%(fids)s::uuid[]) AND {schema}.visible(e.owner, %(owner)s, %(unowned)s);

-- name: owner_bytes
-- Bytes of all files of an owner's executions and uploads.
SELECT (SELECT coalesce(sum(e.file_bytes), 0) FROM {schema}.execution e
        WHERE e.owner = %(owner)s AND e.file_bytes > 0)::bigint
    + (SELECT coalesce(sum(coalesce(u.size, u.declared_size, (
            SELECT sum(c.size) FROM {schema}.upload_chunk c WHERE c.upload = u.id), 0)), 0)
        FROM {schema}.upload_batch b JOIN {schema}.upload u ON u.batch = b.id
        WHERE b.owner = %(owner)s AND u.refused IS NULL)::bigint AS bytes;

-- name: owner_bytes_of_run
-- Bytes of all files of the executions and uploads of an execution's owner; none without an owner.
SELECT (SELECT coalesce(sum(e.file_bytes), 0) FROM {schema}.execution e
        WHERE e.owner = run.owner AND e.file_bytes > 0)::bigint
    + (SELECT coalesce(sum(coalesce(u.size, u.declared_size, (
            SELECT sum(c.size) FROM {schema}.upload_chunk c WHERE c.upload = u.id), 0)), 0)
        FROM {schema}.upload_batch b JOIN {schema}.upload u ON u.batch = b.id
        WHERE b.owner = run.owner AND u.refused IS NULL)::bigint AS bytes
FROM {schema}.execution run WHERE run.fid = %(fid)s::uuid AND run.owner IS NOT NULL;

-- name: dropped_contents
-- Contents that no file has any more, for so many seconds.
SELECT key FROM {schema}.dropped_content d
WHERE since < now() - make_interval(secs => %(age)s) ORDER BY since LIMIT %(limit)s;

-- name: dropped_among
-- Those of some contents that no file has any more.
SELECT key FROM {schema}.dropped_content d
WHERE key = ANY(%(keys)s::text[]) AND NOT EXISTS (SELECT FROM {schema}.file f WHERE f.key = d.key);

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

-- fragment: upload_columns
-- An upload with what of it has arrived, and whose it is.
u.id::text, u.batch::text, b.owner, b.fid::text, u.path, u.comparable, u.chunks, u.media_type,
    u.key, u.size, u.sha256, u.declared_size, u.declared_sha256, u.refused,
    arrived.chunks AS received, arrived.bytes::bigint AS received_bytes
FROM {schema}.upload u JOIN {schema}.upload_batch b ON b.id = u.batch
CROSS JOIN LATERAL (SELECT count(*)::int AS chunks, coalesce(sum(c.size), 0) AS bytes
    FROM {schema}.upload_chunk c WHERE c.upload = u.id) arrived

-- name: add_upload_batch
-- Files that somebody is about to send together.
INSERT INTO {schema}.upload_batch (id, owner) VALUES (%(id)s::uuid, %(owner)s)
ON CONFLICT (id) DO NOTHING RETURNING id::text;

-- name: upload_batch
-- What somebody sent together.
SELECT id::text, owner, fid::text, schedule, answer FROM {schema}.upload_batch
WHERE id = %(id)s::uuid;

-- name: add_upload
-- A file that somebody is about to send; none if the batch has one of its name.
INSERT INTO {schema}.upload (id, batch, path, comparable, chunks, media_type, declared_size,
    declared_sha256)
VALUES (%(id)s::uuid, %(batch)s::uuid, %(path)s, %(comparable)s, %(chunks)s, %(media_type)s,
    %(size)s, %(sha256)s)
ON CONFLICT (batch, comparable) DO NOTHING RETURNING id::text;

-- name: upload_of_name
-- The file of a batch by its path, or one that a file system would take for it.
SELECT {upload_columns}
WHERE u.batch = %(batch)s::uuid AND u.comparable = %(comparable)s;

-- name: upload
-- One file that is being sent, or was.
SELECT {upload_columns}
WHERE u.id = %(id)s::uuid;

-- name: uploads_of
-- Files of a batch, in the order of their paths.
SELECT {upload_columns}
WHERE u.batch = %(batch)s::uuid ORDER BY u.path COLLATE "C";

-- name: add_chunk
-- A part of a file has arrived; none if it is there, or the file is whole or gone. How many parts
-- are there then, without those that are added at the same moment.
WITH touched AS (
    UPDATE {schema}.upload_batch b SET touched_at = now()
    FROM {schema}.upload u WHERE u.id = %(upload)s::uuid AND b.id = u.batch
        AND b.touched_at < now() - interval '1 minute'
),
added AS (
    INSERT INTO {schema}.upload_chunk (upload, number, key, size, sha256)
    SELECT u.id, %(number)s, %(key)s, %(size)s, %(sha256)s FROM {schema}.upload u
    WHERE u.id = %(upload)s::uuid AND u.size IS NULL AND u.refused IS NULL
    ON CONFLICT (upload, number) DO NOTHING RETURNING upload
)
SELECT (SELECT count(*) FROM {schema}.upload_chunk c WHERE c.upload = added.upload)::int + 1
FROM added;

-- name: chunks_of
-- The parts of a file that have arrived.
SELECT number, key, size, sha256 FROM {schema}.upload_chunk
WHERE upload = %(upload)s::uuid ORDER BY number;

-- name: forget_chunk
-- A part is not as it was when it arrived, and has to be sent again.
DELETE FROM {schema}.upload_chunk WHERE upload = %(upload)s::uuid AND number = %(number)s;

-- name: expect_content
-- A file is sent straight to the storage, under this key.
UPDATE {schema}.upload SET key = %(key)s WHERE id = %(id)s::uuid RETURNING id::text;

-- name: settle_upload
-- A file is whole, for whoever says so first. The contents of its parts are no longer needed; their
-- rows are, for parts that come again.
WITH whole AS (
    UPDATE {schema}.upload SET key = %(key)s, size = %(size)s, sha256 = %(sha256)s
    WHERE id = %(id)s::uuid AND size IS NULL AND refused IS NULL RETURNING id
)
SELECT coalesce((SELECT array_agg(c.key) FROM {schema}.upload_chunk c
    WHERE c.upload = whole.id), '{}') AS keys
FROM whole;

-- name: refuse_upload
-- A file is not taken, unless it was already.
WITH refused AS (
    UPDATE {schema}.upload SET refused = %(reason)s
    WHERE id = %(id)s::uuid AND size IS NULL RETURNING id
),
parts AS (
    DELETE FROM {schema}.upload_chunk c USING refused WHERE c.upload = refused.id RETURNING c.key
)
SELECT coalesce((SELECT array_agg(key) FROM parts), '{}') AS keys FROM refused;

-- name: drop_uploads
-- Files that are no longer wanted; where their contents are.
WITH parts AS (
    SELECT key FROM {schema}.upload_chunk WHERE upload = ANY(%(ids)s::uuid[])
),
gone AS (
    DELETE FROM {schema}.upload WHERE id = ANY(%(ids)s::uuid[]) RETURNING key
)
SELECT key FROM parts UNION SELECT key FROM gone WHERE key IS NOT NULL;

-- name: answer_batch
-- Files of a batch are an execution's now; what is answered to whoever completes them again.
UPDATE {schema}.upload_batch SET fid = %(fid)s::uuid, touched_at = now(),
    answer = (coalesce(answer, '{}')::jsonb || jsonb_build_object(
        %(name)s::text, %(answer)s::jsonb))::text
WHERE id = %(id)s::uuid AND schedule IS NULL RETURNING id::text;

-- name: copies_of_uploads
-- Which of these uploads an execution's files are copies of, each with the copies' keys.
SELECT u.id, array_agg(f.key) FROM {schema}.file f
JOIN {schema}.execution e ON e.id = f.execution_id
JOIN unnest(%(uploads)s::text[]) AS u (id) ON u.id = split_part(split_part(f.key, '/', 3), '.', 1)
WHERE e.fid = %(fid)s::uuid GROUP BY u.id;

-- name: arrived_chunk
-- A part of a file, if it has arrived.
SELECT number, key, size, sha256 FROM {schema}.upload_chunk
WHERE upload = %(upload)s::uuid AND number = %(number)s;

-- name: batch_size
-- How many files a batch has.
SELECT count(*)::int FROM {schema}.upload WHERE batch = %(batch)s::uuid;

-- name: received_chunks
-- How many parts of a file have arrived.
SELECT count(*)::int FROM {schema}.upload_chunk WHERE upload = %(upload)s::uuid;

-- name: count_files_of
-- How many files these executions have.
SELECT coalesce(sum(files), 0)::bigint AS files, coalesce(sum(file_bytes), 0)::bigint AS bytes
FROM {schema}.execution WHERE id = ANY(%(ids)s::bigint[]);

-- name: stale_batches
-- Uploads that nobody has touched for a span of seconds and that belong to nothing any more: they
-- were never launched with, the launch came to nothing, or the run has its copy or is over.
SELECT b.id::text FROM {schema}.upload_batch b
LEFT JOIN {schema}.execution e ON e.fid = b.fid
WHERE b.touched_at < now() - make_interval(secs => %(age)s) AND b.schedule IS NULL
    AND (e.id IS NULL OR b.answer IS NOT NULL OR e.status IN ('finished', 'error'))
ORDER BY b.touched_at LIMIT %(limit)s;

-- name: delete_batches
-- Forget uploads.
DELETE FROM {schema}.upload_batch WHERE id = ANY(%(ids)s::uuid[]) RETURNING id::text;

-- name: known_contents
-- Which of these keys are those of files, or of contents that are about to be deleted.
SELECT key FROM {schema}.file WHERE key = ANY(%(keys)s::text[])
UNION SELECT key FROM {schema}.dropped_content WHERE key = ANY(%(keys)s::text[]);

-- name: executions_over
-- Which of these executions ended more than some seconds ago.
SELECT fid::text FROM {schema}.execution
WHERE fid = ANY(%(fids)s::uuid[]) AND status IN ('finished', 'error')
    AND ended_at < now() - make_interval(secs => %(age)s);

-- name: known_uploads
-- Which of these keys are those of uploads and their parts.
SELECT key FROM {schema}.upload WHERE key = ANY(%(keys)s::text[])
UNION SELECT key FROM {schema}.upload_chunk WHERE key = ANY(%(keys)s::text[]);

-- name: files_after
-- All files, behind one of them.
SELECT f.execution_id, f.direction, f.comparable, e.fid::text, f.direction || '/' || f.path,
    f.key, f.size
FROM {schema}.file f JOIN {schema}.execution e ON e.id = f.execution_id
WHERE (f.execution_id, f.direction, f.comparable)
    > (%(id)s::bigint, %(direction)s::text, %(comparable)s::text)
ORDER BY f.execution_id, f.direction, f.comparable LIMIT %(limit)s;

-- name: upload_events
-- What executions said of their files, since there is a storage.
SELECT e.id AS execution_id, e.fid::text AS fid, extract(epoch FROM v.ts)::float8 AS ts,
    v.payload, v.attempt, v.source::text AS source
FROM {schema}.execution e JOIN {schema}.event v ON v.execution_id = e.id
WHERE v.kind = 'upload' AND e.updated_at >= (SELECT since FROM {schema}.file_storage)
ORDER BY e.id, v.seq;
