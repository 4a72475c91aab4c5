-- name: add_source
-- Remember where endpoints are found; a row only if it was not known.
INSERT INTO {schema}.source (url, kind) VALUES (%(url)s, %(kind)s)
ON CONFLICT (url) DO NOTHING RETURNING id;

-- name: sources
-- All sources, how they were the last time, and how many endpoints they have.
SELECT s.id, s.url, s.kind, s.trouble,
    extract(epoch FROM s.checked_at)::float8 AS checked_at,
    extract(epoch FROM s.reached_at)::float8 AS reached_at,
    (SELECT count(*) FROM {schema}.endpoint e
        WHERE e.source_id = s.id AND e.gone_at IS NULL) AS endpoints
FROM {schema}.source s ORDER BY s.url;

-- name: claim_sources
-- Sources that nobody looked at for a while, for one of several panels; mounted ones only for a
-- panel that runs them.
UPDATE {schema}.source SET checked_at = now() WHERE id IN (
    SELECT id FROM {schema}.source
    WHERE (checked_at IS NULL OR checked_at < now() - make_interval(secs => %(interval)s))
        AND (kind <> 'mounted' OR url = ANY(%(mounted)s::text[]))
    ORDER BY checked_at NULLS FIRST FOR UPDATE SKIP LOCKED
)
RETURNING id, url, kind;

-- name: touch_sources
-- Sources to be looked at now: those with these addresses, or all that this panel can look at.
UPDATE {schema}.source SET checked_at = now()
WHERE (%(urls)s::text[] IS NULL OR url = ANY(%(urls)s::text[]))
    AND (kind <> 'mounted' OR url = ANY(%(mounted)s::text[]))
RETURNING id, url, kind;

-- name: lapse_mounted
-- Services whose panel has not reported for a while.
WITH lapsed AS (
    UPDATE {schema}.source SET trouble = %(trouble)s
    WHERE kind = 'mounted' AND trouble IS NULL
        AND checked_at < now() - make_interval(secs => %(silence)s)
    RETURNING id
)
UPDATE {schema}.endpoint SET reachable = false
WHERE source_id IN (SELECT id FROM lapsed) AND reachable RETURNING uid;

-- name: store_source
-- Store the endpoints of a source. One that it no longer lists is gone, but for those below a base
-- that could not be read. One that another source lists as well stays that one's as long as it is
-- reached there. Returns those that are gone by this.
WITH named AS (
    SELECT * FROM jsonb_to_recordset(%(endpoints)s::jsonb) AS x (
        uid text, method text, url text, target text, base_url text, deployment_id uuid,
        summary text, description text, deprecated boolean, author text, organization text,
        version text, tags jsonb)
),
source AS (
    UPDATE {schema}.source SET reached_at = now(), trouble = %(trouble)s
    WHERE id = %(id)s RETURNING id
),
gone AS (
    UPDATE {schema}.endpoint SET gone_at = now()
    WHERE source_id = %(id)s AND gone_at IS NULL AND uid NOT IN (SELECT uid FROM named)
        AND NOT base_url = ANY(%(failed)s::text[])
    RETURNING url
),
silent AS (
    UPDATE {schema}.endpoint SET reachable = false
    WHERE source_id = %(id)s AND reachable AND uid NOT IN (SELECT uid FROM named)
        AND base_url = ANY(%(failed)s::text[])
),
stored AS (
    INSERT INTO {schema}.endpoint AS e (uid, source_id, method, url, target, base_url,
        deployment_id, summary, description, deprecated, author, organization, version, tags)
    SELECT n.uid, source.id, n.method, n.url, n.target, n.base_url, n.deployment_id, n.summary,
        n.description, n.deprecated, n.author, n.organization, n.version,
        ARRAY(SELECT jsonb_array_elements_text(n.tags))
    FROM named n, source
    ON CONFLICT (uid) DO UPDATE SET source_id = excluded.source_id, method = excluded.method,
        url = excluded.url, target = excluded.target, base_url = excluded.base_url,
        deployment_id = excluded.deployment_id, summary = excluded.summary,
        description = excluded.description, deprecated = excluded.deprecated,
        author = excluded.author, organization = excluded.organization,
        version = excluded.version, tags = excluded.tags, reachable = true, gone_at = NULL
    WHERE (e.source_id = excluded.source_id OR e.gone_at IS NOT NULL OR NOT e.reachable)
        AND (e.source_id, e.method, e.url, e.target, e.base_url, e.deployment_id, e.summary,
            e.description, e.deprecated, e.author, e.organization, e.version, e.tags, e.reachable,
            e.gone_at)
        IS DISTINCT FROM (excluded.source_id, excluded.method, excluded.url, excluded.target,
            excluded.base_url, excluded.deployment_id, excluded.summary, excluded.description,
            excluded.deprecated, excluded.author, excluded.organization, excluded.version,
            excluded.tags, true, NULL::timestamptz)
)
SELECT url FROM gone;

-- name: fail_source
-- A source cannot be read now; its endpoints stay and are marked.
WITH source AS (
    UPDATE {schema}.source SET trouble = %(trouble)s WHERE id = %(id)s RETURNING id
)
UPDATE {schema}.endpoint SET reachable = false
WHERE source_id IN (SELECT id FROM source) AND reachable RETURNING uid;

-- name: source_endpoints
-- Ids of the endpoints of sources, also of those that are gone.
SELECT e.uid FROM {schema}.endpoint e JOIN {schema}.source s ON s.id = e.source_id
WHERE s.url = ANY(%(urls)s::text[]);

-- name: forget_sources
-- Remove sources, with their endpoints.
DELETE FROM {schema}.source WHERE url = ANY(%(urls)s::text[]) RETURNING url;

-- name: endpoints
-- Endpoints by summary behind a cursor, optionally holding every word of a query and every tag, or
-- some of them by id, or without some. Of services that a panel runs itself, only those that this one does.
SELECT e.uid, e.method, e.url, e.target, e.base_url, e.deployment_id::text AS deployment_id,
    s.kind, e.summary, e.description, e.deprecated, e.author, e.organization, e.version, e.tags,
    e.reachable, false AS gone, s.url AS source, s.trouble,
    extract(epoch FROM s.reached_at)::float8 AS reached_at
FROM {schema}.endpoint e JOIN {schema}.source s ON s.id = e.source_id
WHERE e.gone_at IS NULL
    AND (s.kind <> 'mounted' OR s.url = ANY(%(mounted)s::text[]))
    AND (%(after)s::text IS NULL OR (lower(coalesce(e.summary, '')), e.uid) > (
        SELECT lower(coalesce(summary, '')), uid FROM {schema}.endpoint WHERE uid = %(after)s))
    AND (%(words)s::text[] IS NULL OR NOT EXISTS (
        SELECT FROM unnest(%(words)s::text[]) AS word
        WHERE position(lower(word) IN lower(concat_ws(' ', e.summary, e.description, e.author,
            e.organization, array_to_string(e.tags, ' '), e.url))) = 0))
    AND (%(tags)s::text[] IS NULL OR e.tags @> %(tags)s::text[])
    AND (%(uids)s::text[] IS NULL OR e.uid = ANY(%(uids)s::text[]))
    AND NOT e.uid = ANY(%(without)s::text[])
ORDER BY lower(coalesce(e.summary, '')), e.uid LIMIT %(limit)s;

-- name: endpoint_tags
-- How many endpoints have which tag, of those that the query endpoints lists.
SELECT tag, count(*) AS endpoints
FROM {schema}.endpoint e JOIN {schema}.source s ON s.id = e.source_id, unnest(e.tags) AS tag
WHERE e.gone_at IS NULL AND (s.kind <> 'mounted' OR s.url = ANY(%(mounted)s::text[]))
GROUP BY tag ORDER BY count(*) DESC, tag;

-- name: endpoint
-- The endpoint of one of these ids, also if it is gone.
SELECT e.uid, e.method, e.url, e.target, e.base_url, e.deployment_id::text AS deployment_id,
    s.kind, e.summary,
    e.description, e.deprecated, e.author, e.organization, e.version, e.tags, e.reachable,
    e.gone_at IS NOT NULL AS gone, s.url AS source, s.trouble,
    extract(epoch FROM s.reached_at)::float8 AS reached_at
FROM {schema}.endpoint e JOIN {schema}.source s ON s.id = e.source_id
WHERE e.uid = ANY(%(uids)s::text[]) ORDER BY gone, e.uid LIMIT 1;

-- name: is_base
-- Whether a registered endpoint's service lives there.
SELECT EXISTS (SELECT FROM {schema}.endpoint WHERE base_url = %(base)s AND gone_at IS NULL) AS known;

-- fragment: endpoint_of_execution
-- Which registered endpoint execution x was launched from, as far as its row tells: the deployment,
-- or the service and the path that its flow's name ends with; its schedule and its summary decide
-- between several.
SELECT e.uid FROM {schema}.endpoint e
CROSS JOIN LATERAL (
    SELECT btrim(regexp_replace(lower(CASE WHEN starts_with(e.target, e.base_url)
        THEN substr(e.target, length(e.base_url) + 1) ELSE e.target END),
        '[^a-z0-9]+', '-', 'g'), '-') AS slug
) AS s
WHERE e.gone_at IS NULL AND (e.deployment_id = x.deployment_id
    OR (e.deployment_id IS NULL AND e.base_url = x.app_url AND (s.slug = ''
        OR e.summary = x.summary
        OR right('-' || x.flow_name, length(s.slug) + 1) = '-' || s.slug)))
ORDER BY e.deployment_id IS NULL,
    e.uid IS DISTINCT FROM (
        SELECT c.endpoint_uid FROM {schema}.schedule c WHERE c.id = x.schedule_id),
    e.summary IS DISTINCT FROM x.summary, length(s.slug) DESC, e.uid
LIMIT 1

-- name: endpoints_of_executions
-- Which registered endpoint each of these executions was launched from, if this panel lists it.
SELECT x.fid::text AS fid, e.uid FROM {schema}.execution x
CROSS JOIN LATERAL ({endpoint_of_execution}) AS e
WHERE x.fid = ANY(%(fids)s::uuid[]) AND EXISTS (
    SELECT FROM {schema}.endpoint n JOIN {schema}.source s ON s.id = n.source_id
    WHERE n.uid = e.uid AND (s.kind <> 'mounted' OR s.url = ANY(%(mounted)s::text[])));

-- name: last_of_endpoints
-- The newest execution of each of these endpoints among those that may be seen. Executions of a
-- service are looked for by the names of its flows, of which there are few, however many ran.
WITH RECURSIVE wanted AS (
    SELECT uid, base_url, deployment_id FROM {schema}.endpoint WHERE uid = ANY(%(uids)s::text[])
),
flows AS (
    SELECT b.base_url, (SELECT min(x.flow_name) FROM {schema}.execution x
        WHERE x.app_url = b.base_url AND x.archived_at IS NULL) AS flow_name
    FROM (SELECT DISTINCT base_url FROM wanted WHERE deployment_id IS NULL) AS b
    UNION ALL
    SELECT f.base_url, (SELECT min(x.flow_name) FROM {schema}.execution x
        WHERE x.app_url = f.base_url AND x.archived_at IS NULL AND x.flow_name > f.flow_name)
    FROM flows f WHERE f.flow_name IS NOT NULL
),
newest AS (
    SELECT l.* FROM flows f CROSS JOIN LATERAL (
        SELECT x.id FROM {schema}.execution x
        WHERE x.app_url = f.base_url AND x.flow_name = f.flow_name AND x.archived_at IS NULL
            AND {schema}.visible(x.owner, %(owner)s, %(unowned)s)
        ORDER BY x.id DESC LIMIT 1
    ) AS l
    UNION ALL
    SELECT l.* FROM wanted w CROSS JOIN LATERAL (
        SELECT x.id FROM {schema}.execution x
        WHERE x.deployment_id = w.deployment_id AND x.archived_at IS NULL
            AND {schema}.visible(x.owner, %(owner)s, %(unowned)s)
        ORDER BY x.id DESC LIMIT 1
    ) AS l
)
SELECT DISTINCT ON (e.uid) e.uid, x.fid::text AS fid, x.status, x.state_name,
    coalesce(x.started_at, x.created_at) AS began,
    (x.status = 'error' AND x.state_type = 'CANCELLED') IS TRUE AS cancelled,
    x.cost::float8 AS cost, x.input_tokens, x.output_tokens, x.unpriced_calls
FROM newest n JOIN {schema}.execution x ON x.id = n.id
CROSS JOIN LATERAL ({endpoint_of_execution}) AS e
ORDER BY e.uid, x.id DESC;

-- name: use_of_endpoints
-- How many of the executions that may be seen began in the last so many days, by endpoint; counted
-- in the indexes, by the flows of services and by deployments.
WITH since AS (
    SELECT execution_id AS id FROM {schema}.listing
    WHERE NOT archived AND created_at >= now() - make_interval(days => %(days)s)
    ORDER BY created_at, execution_id LIMIT 1
),
counted AS (
    SELECT max(x.id) AS newest, count(*) AS runs FROM {schema}.execution x, since
    WHERE x.app_url IS NOT NULL AND x.archived_at IS NULL AND x.id >= since.id
        AND {schema}.visible(x.owner, %(owner)s, %(unowned)s)
    GROUP BY x.app_url, x.flow_name
    UNION ALL
    SELECT max(x.id), count(*) FROM {schema}.execution x, since
    WHERE x.deployment_id IN (
            SELECT deployment_id FROM {schema}.endpoint WHERE deployment_id IS NOT NULL)
        AND x.archived_at IS NULL AND x.id >= since.id
        AND {schema}.visible(x.owner, %(owner)s, %(unowned)s)
    GROUP BY x.deployment_id
)
SELECT e.uid, sum(c.runs)::bigint AS runs
FROM counted c JOIN {schema}.execution x ON x.id = c.newest
CROSS JOIN LATERAL ({endpoint_of_execution}) AS e
GROUP BY e.uid;

-- name: favourites
-- The endpoints that somebody has first.
SELECT endpoint_uid FROM {schema}.favourite WHERE owner = %(owner)s ORDER BY created_at;

-- name: add_favourite
-- Put an endpoint first for somebody.
INSERT INTO {schema}.favourite (owner, endpoint_uid) VALUES (%(owner)s, %(uid)s)
ON CONFLICT DO NOTHING RETURNING endpoint_uid;

-- name: remove_favourite
-- Put it where it was.
DELETE FROM {schema}.favourite WHERE owner = %(owner)s AND endpoint_uid = %(uid)s
RETURNING endpoint_uid;
