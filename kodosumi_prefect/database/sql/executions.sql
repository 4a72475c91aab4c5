-- name: timeline
-- Executions that may be seen and match a filter, newest first, behind a cursor.
SELECT {execution_row}
FROM (
    SELECT l.execution_id, l.created_at
    FROM {schema}.filtered_listing(%(owner)s, %(unowned)s, %(of)s, %(status)s, %(statuses)s,
        %(flow)s, %(since)s, %(until)s, %(search)s) AS l
    WHERE (%(at)s::timestamptz IS NULL
        OR (l.created_at, l.execution_id) < (%(at)s::timestamptz, %(id)s::bigint))
    ORDER BY l.created_at DESC, l.execution_id DESC LIMIT %(limit)s
) AS chosen
JOIN {schema}.execution e ON e.id = chosen.execution_id
ORDER BY chosen.created_at DESC, chosen.execution_id DESC;

-- name: timeline_newer
-- As timeline, in the other direction: those right above a cursor.
SELECT {execution_row}
FROM (
    SELECT l.execution_id, l.created_at
    FROM {schema}.filtered_listing(%(owner)s, %(unowned)s, %(of)s, %(status)s, %(statuses)s,
        %(flow)s, %(since)s, %(until)s, %(search)s) AS l
    WHERE (%(at)s::timestamptz IS NULL
        OR (l.created_at, l.execution_id) > (%(at)s::timestamptz, %(id)s::bigint))
    ORDER BY l.created_at ASC, l.execution_id ASC LIMIT %(limit)s
) AS chosen
JOIN {schema}.execution e ON e.id = chosen.execution_id
ORDER BY chosen.created_at DESC, chosen.execution_id DESC;

-- name: count_listed
-- How many executions that may be seen match a filter, counted up to a limit.
SELECT count(*) AS executions FROM (
    SELECT
    FROM {schema}.filtered_listing(%(owner)s, %(unowned)s, %(of)s, %(status)s, %(statuses)s,
        %(flow)s, %(since)s, %(until)s, %(search)s) AS l
    LIMIT %(limit)s
) AS counted;

-- name: list_position
-- Where an execution that may be seen stands in lists.
SELECT l.created_at, l.execution_id AS id FROM {schema}.listing l
JOIN {schema}.execution e ON e.id = l.execution_id WHERE e.fid = %(fid)s::uuid
    AND {schema}.visible(e.owner, %(owner)s, %(unowned)s);

-- name: asked_words
-- The words of a search, and accounts with a name of which a word begins so.
SELECT w.word, ARRAY(
    SELECT r.id::text FROM {schema}.role r
    WHERE EXISTS (SELECT FROM unnest({schema}.words_of(r.name)) AS part
        WHERE starts_with(part, w.word))
    ORDER BY r.id LIMIT 100) AS owners
FROM unnest({schema}.words_of(%(query)s)) AS w (word);

-- name: listed_flows
-- Names of flows that have executions to be seen, by jumping from name to name in an index. Function
-- visible in two halves, so that each is one look into an index, whoever asks.
WITH RECURSIVE named AS (
    (SELECT l.flow_name FROM {schema}.listing l
        WHERE NOT l.archived AND l.flow_name IS NOT NULL ORDER BY l.flow_name LIMIT 1)
    UNION ALL
    SELECT (SELECT l.flow_name FROM {schema}.listing l
        WHERE NOT l.archived AND l.flow_name > named.flow_name ORDER BY l.flow_name LIMIT 1)
    FROM named WHERE named.flow_name IS NOT NULL
)
SELECT flow_name FROM named
WHERE flow_name IS NOT NULL AND (%(owner)s::text IS NULL
    OR EXISTS (SELECT FROM {schema}.listing l WHERE NOT l.archived
        AND l.owner = left(%(owner)s, 200) AND l.flow_name = named.flow_name)
    OR %(unowned)s::boolean AND EXISTS (SELECT FROM {schema}.listing l WHERE NOT l.archived
        AND l.owner IS NULL AND l.flow_name = named.flow_name))
LIMIT %(limit)s;

-- name: change_counter
-- Everything changed by transactions older than this one is visible now; nothing older can come.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax;

-- name: changes
-- Executions that may be seen and changed since a counter, oldest change first, never cutting
-- through one transaction.
SELECT {execution_row}
FROM {schema}.execution e
WHERE changed >= %(since)s
    AND {schema}.visible(e.owner, %(owner)s, %(unowned)s)
ORDER BY changed FETCH FIRST %(limit)s ROWS WITH TIES;

-- name: deleted
-- Executions that could be seen, that retention deleted since a counter, and that no late event
-- brought back.
SELECT fid::text FROM {schema}.deleted d
WHERE changed >= %(since)s
    AND {schema}.visible(d.owner, %(owner)s, %(unowned)s)
    AND NOT EXISTS (SELECT FROM {schema}.execution e WHERE e.fid = d.fid)
ORDER BY changed;

-- name: set_archived
-- Hide executions from lists, or show them again; their events stay.
UPDATE {schema}.execution SET
    archived_at = CASE WHEN %(archived)s::boolean THEN coalesce(archived_at, now()) END,
    changed = pg_current_xact_id()::text::bigint
WHERE fid = ANY(%(fids)s::uuid[]) RETURNING fid::text;

-- name: matching
-- Which of these executions may be seen, match a filter and are not archived.
SELECT e.fid::text FROM {schema}.execution e
JOIN {schema}.filtered_listing(%(owner)s, %(unowned)s, %(of)s, %(status)s, %(statuses)s,
    %(flow)s, %(since)s, %(until)s, %(search)s) AS l ON l.execution_id = e.id
WHERE e.fid = ANY(%(fids)s::uuid[]);

-- name: count_executions
-- How many executions there are by status, and how many events were appended to them.
SELECT status, count(*)::bigint AS executions, sum(last_seq)::bigint AS events
FROM {schema}.execution GROUP BY status;

-- name: set_again
-- Whose inputs an execution was given.
UPDATE {schema}.execution SET
    again_of = %(of)s::uuid, changed = pg_current_xact_id()::text::bigint
WHERE fid = %(fid)s::uuid RETURNING fid::text;

-- name: ran_again
-- Executions that were given the inputs of this one, newest first.
SELECT fid::text FROM {schema}.execution WHERE again_of = %(fid)s::uuid ORDER BY id DESC LIMIT 20;

-- name: payload_again
-- Inputs that were kept for a run, and whether they are for every run that asks.
SELECT inputs, types, kept FROM {schema}.payload WHERE id = %(id)s::uuid;
