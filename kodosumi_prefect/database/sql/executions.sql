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

-- fragment: ordered
-- Executions of the panel's list that may be seen and match its filter.
{schema}.ordered_listing(%(owner)s, %(unowned)s, %(of)s, %(looks)s, %(flow)s, %(deployment)s,
    %(since)s, %(until)s, %(search)s) AS l

-- name: list_newest
-- Executions of the panel's list by when they began, newest first, behind a cursor.
SELECT {list_row}
FROM (
    SELECT l.execution_id, l.began FROM {ordered}
    WHERE (%(at)s::timestamptz IS NULL
        OR (l.began, l.execution_id) < (%(at)s::timestamptz, %(id)s::bigint))
    ORDER BY l.began DESC, l.execution_id DESC LIMIT %(limit)s
) AS chosen
JOIN {schema}.execution e ON e.id = chosen.execution_id
ORDER BY chosen.began DESC, chosen.execution_id DESC;

-- name: list_oldest
-- As list_newest, in the other direction.
SELECT {list_row}
FROM (
    SELECT l.execution_id, l.began FROM {ordered}
    WHERE (%(at)s::timestamptz IS NULL
        OR (l.began, l.execution_id) > (%(at)s::timestamptz, %(id)s::bigint))
    ORDER BY l.began ASC, l.execution_id ASC LIMIT %(limit)s
) AS chosen
JOIN {schema}.execution e ON e.id = chosen.execution_id
ORDER BY chosen.began ASC, chosen.execution_id ASC;

-- fragment: bound
-- The newest `most` executions that match the filter but for its words are sorted and counted; these
-- are all where there are no more. What they are bounded by is found in an index.
bound AS MATERIALIZED (
    SELECT l.began FROM {schema}.ordered_listing(%(owner)s, %(unowned)s, %(of)s, %(looks)s, %(flow)s,
        %(deployment)s, %(since)s, %(until)s, NULL) AS l
    ORDER BY l.began DESC, l.execution_id DESC OFFSET %(most)s LIMIT 1
)

-- fragment: within_bound
l.began > coalesce((SELECT began FROM bound), '-infinity')

-- fragment: numbered
-- What a list is sorted by, smallest first: sign times the number, and within that the newest first.
-- What has no number comes last.
coalesce(CASE %(sort)s::text
        WHEN 'status' THEN CASE l.status WHEN 'starting' THEN 0 WHEN 'running' THEN 1
            WHEN 'awaiting' THEN 2 WHEN 'error' THEN 3 WHEN 'cancelled' THEN 4 ELSE 5 END
        ELSE coalesce(l.seconds, CASE WHEN l.started THEN date_part('epoch', now() - l.began) END)
        END * %(sign)s::float8, 'infinity') AS key,
    l.began, l.execution_id AS id

-- name: list_by_number
-- The newest executions of the panel's list, at most `most`, by status or duration behind a cursor.
WITH {bound},
cursor AS (
    SELECT {numbered} FROM {schema}.listing_order l
    JOIN {schema}.execution e ON e.id = l.execution_id WHERE e.fid = %(cursor)s::uuid
),
keyed AS (
    SELECT {numbered} FROM {ordered} WHERE {within_bound}
),
chosen AS (
    SELECT key, began, id FROM keyed
    WHERE %(cursor)s::uuid IS NULL OR key > (SELECT key FROM cursor)
        OR (key = (SELECT key FROM cursor) AND (began, id) < (SELECT began, id FROM cursor))
    ORDER BY key, began DESC, id DESC LIMIT %(limit)s
)
SELECT {list_row}
FROM chosen JOIN {schema}.execution e ON e.id = chosen.id
ORDER BY chosen.key, chosen.began DESC, chosen.id DESC;

-- name: list_by_number_back
-- As list_by_number, in the other direction.
WITH {bound},
cursor AS (
    SELECT {numbered} FROM {schema}.listing_order l
    JOIN {schema}.execution e ON e.id = l.execution_id WHERE e.fid = %(cursor)s::uuid
),
keyed AS (
    SELECT {numbered} FROM {ordered} WHERE {within_bound}
),
chosen AS (
    SELECT key, began, id FROM keyed
    WHERE key < (SELECT key FROM cursor)
        OR (key = (SELECT key FROM cursor) AND (began, id) > (SELECT began, id FROM cursor))
    ORDER BY key DESC, began, id LIMIT %(limit)s
)
SELECT {list_row}
FROM chosen JOIN {schema}.execution e ON e.id = chosen.id
ORDER BY chosen.key DESC, chosen.began, chosen.id;

-- fragment: lettered
-- What a list is sorted by, and within that by `way` the newest (1) or the oldest (-1) first.
CASE %(sort)s::text WHEN 'owner' THEN lower(coalesce(r.name, l.owner, ''))
        WHEN 'flow' THEN lower(coalesce(l.flow_name, '')) ELSE l.title END AS key,
    -date_part('epoch', l.began) * %(way)s::int AS age, -l.execution_id * %(way)s::int AS place,
    l.execution_id AS id

-- fragment: lettered_rows
-- Where `lettered` finds it: the newest executions of the panel's list, and the cursor's.
{bound},
cursor AS (
    SELECT {lettered} FROM {schema}.listing_order l
    JOIN {schema}.execution e ON e.id = l.execution_id
    LEFT JOIN {schema}.role r ON r.id::text = l.owner AND %(sort)s::text = 'owner'
    WHERE e.fid = %(cursor)s::uuid
),
keyed AS (
    SELECT {lettered} FROM {ordered}
    LEFT JOIN {schema}.role r ON r.id::text = l.owner AND %(sort)s::text = 'owner'
    WHERE {within_bound}
)

-- name: list_from_a
-- The newest executions of the panel's list, at most `most`, by name, owner or flow from A to Z
-- behind a cursor.
WITH {lettered_rows},
chosen AS (
    SELECT key, age, place, id FROM keyed
    WHERE %(cursor)s::uuid IS NULL OR key > (SELECT key FROM cursor)
        OR (key = (SELECT key FROM cursor)
            AND (age, place) > (SELECT age, place FROM cursor))
    ORDER BY key, age, place LIMIT %(limit)s
)
SELECT {list_row}
FROM chosen JOIN {schema}.execution e ON e.id = chosen.id
ORDER BY chosen.key, chosen.age, chosen.place;

-- name: list_from_z
-- As list_from_a, from Z to A.
WITH {lettered_rows},
chosen AS (
    SELECT key, age, place, id FROM keyed
    WHERE %(cursor)s::uuid IS NULL OR key < (SELECT key FROM cursor)
        OR (key = (SELECT key FROM cursor)
            AND (age, place) > (SELECT age, place FROM cursor))
    ORDER BY key DESC, age, place LIMIT %(limit)s
)
SELECT {list_row}
FROM chosen JOIN {schema}.execution e ON e.id = chosen.id
ORDER BY chosen.key DESC, chosen.age, chosen.place;

-- name: order_position
-- Where an execution that may be seen stands in the panel's list.
SELECT l.began, l.execution_id AS id FROM {schema}.listing_order l
JOIN {schema}.execution e ON e.id = l.execution_id WHERE e.fid = %(fid)s::uuid
    AND {schema}.visible(e.owner, %(owner)s, %(unowned)s);

-- name: count_ordered
-- How many executions of the panel's list match, counted up to a limit.
SELECT count(*) AS executions FROM (SELECT FROM {ordered} LIMIT %(limit)s) AS counted;

-- name: matching_ordered
-- Which of these executions may be seen, match the filter of the panel's list and are not archived.
SELECT e.fid::text FROM {schema}.execution e JOIN {ordered} ON l.execution_id = e.id
WHERE e.fid = ANY(%(fids)s::uuid[]);

-- name: runs_over_time
-- How many executions of the panel's list, of the newest `most` that match, began in each stretch of
-- time, by status. The shortest step that makes at most `bars` of the span is taken.
WITH {bound},
ends AS (
    SELECT coalesce(%(since)s::float8, (SELECT date_part('epoch', began) FROM bound),
            (SELECT date_part('epoch', l.began) FROM {ordered} ORDER BY l.began LIMIT 1),
            date_part('epoch', now()) - 3600) AS since,
        coalesce(%(until)s::float8, date_part('epoch', now())) AS until
),
step AS MATERIALIZED (
    SELECT since, until, coalesce((SELECT min(seconds) FROM unnest(%(steps)s::float8[]) AS seconds
        WHERE seconds * (%(bars)s::int - 1) >= until - since), (until - since) / %(bars)s::int)
        AS seconds
    FROM ends
),
counted AS (
    SELECT l.status,
        floor(date_part('epoch', l.began) / (SELECT seconds FROM step))::bigint AS bar,
        count(*) AS executions
    FROM {ordered} WHERE {within_bound}
    GROUP BY 1, 2
)
SELECT step.since, step.until, step.seconds AS step, counted.status, counted.bar,
    coalesce(counted.executions, 0) AS executions, EXISTS (SELECT FROM bound) AS more
FROM step LEFT JOIN counted ON true;

-- name: listed_deployments
-- Names of deployments that have executions to be seen, by jumping from name to name in an index.
WITH RECURSIVE named AS (
    (SELECT l.deployment FROM {schema}.listing_order l
        WHERE NOT l.archived AND l.deployment IS NOT NULL ORDER BY l.deployment LIMIT 1)
    UNION ALL
    SELECT (SELECT l.deployment FROM {schema}.listing_order l
        WHERE NOT l.archived AND l.deployment IS NOT NULL AND l.deployment > named.deployment
        ORDER BY l.deployment LIMIT 1)
    FROM named WHERE named.deployment IS NOT NULL
)
SELECT deployment FROM named
WHERE deployment IS NOT NULL AND (%(owner)s::text IS NULL
    OR EXISTS (SELECT FROM {schema}.listing_order l WHERE NOT l.archived
        AND l.deployment = named.deployment
        AND {schema}.visible(l.owner, left(%(owner)s, 200), %(unowned)s)))
LIMIT %(limit)s;

-- name: unnamed_deployments
-- Deployments that executions name by their id alone, by jumping from id to id in an index.
WITH RECURSIVE unnamed AS (
    (SELECT e.deployment_id FROM {schema}.execution e
        WHERE e.deployment_id IS NOT NULL AND e.deployment_name IS NULL
        ORDER BY e.deployment_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.deployment_id FROM {schema}.execution e
        WHERE e.deployment_id IS NOT NULL AND e.deployment_name IS NULL
            AND e.deployment_id > unnamed.deployment_id ORDER BY e.deployment_id LIMIT 1)
    FROM unnamed WHERE unnamed.deployment_id IS NOT NULL
)
SELECT deployment_id::text FROM unnamed WHERE deployment_id IS NOT NULL LIMIT %(limit)s;

-- name: name_deployment
-- What a deployment is called, for its newest executions that lack it.
UPDATE {schema}.execution SET deployment_name = %(name)s
WHERE id IN (SELECT e.id FROM {schema}.execution e
    WHERE e.deployment_id = %(id)s::uuid AND e.deployment_name IS NULL
    ORDER BY e.id DESC LIMIT %(limit)s)
RETURNING id;

-- name: saved_views
-- Views that an account saved, and those that are shared with everybody.
SELECT v.id::text AS id, v.name, v.query, v.shared, v.owner,
    coalesce((SELECT r.name FROM {schema}.role r WHERE r.id::text = v.owner), v.owner) AS username
FROM {schema}.saved_view v WHERE v.owner = %(account)s OR v.shared
ORDER BY v.owner <> %(account)s, lower(v.name), v.id LIMIT %(limit)s;

-- name: save_view
-- Name a filter; one of the same name is replaced. None beyond a number of them.
INSERT INTO {schema}.saved_view AS v (owner, name, query, shared)
SELECT %(account)s, %(name)s, %(query)s, %(shared)s::boolean
WHERE (SELECT count(*) FROM {schema}.saved_view o
    WHERE o.owner = %(account)s AND o.name <> %(name)s) < %(most)s
ON CONFLICT (owner, name) DO UPDATE SET query = excluded.query, shared = excluded.shared
RETURNING id::text;

-- name: forget_view
-- Delete a view that one saved, or, as an operator, one that is shared.
DELETE FROM {schema}.saved_view
WHERE id = %(id)s::uuid AND (owner = %(account)s OR (shared AND %(operator)s::boolean))
RETURNING id::text;
