-- name: snapshot
-- Which transactions are visible now.
SELECT pg_current_snapshot()::text AS snapshot;

-- fragment: unseen
-- Whether the transaction in column changed of row c is visible now and was not to who asks, who has
-- of the transactions in `xids` what sorts up to the key beside each. The first condition is for the
-- index. A restored database may name transactions that are to come.
c.changed >= %(xmin)s::bigint
    AND NOT pg_visible_in_snapshot(c.changed::text::xid8, %(seen)s::pg_snapshot)
    AND pg_visible_in_snapshot(c.changed::text::xid8, (SELECT pg_current_snapshot()))
    AND (%(owner)s::text IS NULL OR c.owner = %(owner)s)
    AND NOT EXISTS (SELECT FROM unnest(%(xids)s::bigint[], %(keys)s::text[]) AS had (xid, key)
        WHERE had.xid = c.changed AND c.key <= had.key)

-- name: references_to_accounts
-- The names by which questions are asked of accounts, but for owner.
SELECT account, {schema}.references_to(account) AS names
FROM unnest(%(accounts)s::text[]) AS one (account);

-- fragment: in_service
-- Whether execution e is of the flow and the service that are asked for.
(%(flow)s::text IS NULL OR e.flow_name = %(flow)s)
    AND (%(service)s::text IS NULL OR e.app_url = %(service)s)

-- name: changes_behind
-- What changed that whoever asks may see and has not seen: executions, locks and deletions, each as
-- it is now, in the order of the transactions that changed them; and which are visible now. A row
-- without a key says only that.
WITH executions AS (
    SELECT c.changed, c.key, e.id FROM {schema}.execution e
    CROSS JOIN LATERAL (
        SELECT e.changed, e.owner, lpad(to_hex(e.id), 16, '0') COLLATE "C" AS key) AS c
    WHERE 'execution' = ANY(%(kinds)s::text[]) AND {unseen}
        AND {schema}.visible(e.owner, %(viewer)s, %(unowned)s)
        AND (%(statuses)s::text[] IS NULL OR e.status = ANY(%(statuses)s::text[]))
        AND {in_service}
    ORDER BY e.changed, e.id LIMIT %(limit)s
),
locks AS (
    SELECT c.changed, c.key, l.execution_id, l.lid FROM {schema}.lock l
    JOIN {schema}.execution e ON e.id = l.execution_id
    CROSS JOIN LATERAL (
        SELECT l.changed, e.owner, lpad(to_hex(e.id), 16, '0') || '.' || md5(l.lid) COLLATE "C" AS key) AS c
    WHERE 'lock' = ANY(%(kinds)s::text[]) AND {unseen}
        AND ({schema}.visible(e.owner, %(viewer)s, %(unowned)s)
            OR (l.asked && (SELECT {schema}.references_to(%(viewer)s)) AND %(viewer)s::text <> ALL(l.handed_on)))
        AND (%(statuses)s::text[] IS NULL OR l.state = ANY(%(statuses)s::text[]))
        AND {in_service}
    ORDER BY l.changed, c.key LIMIT %(limit)s
),
deletions AS (
    SELECT c.changed, c.key, d.fid, d.owner FROM {schema}.deleted d
    CROSS JOIN LATERAL (SELECT d.changed, d.owner, 'x' || d.fid::text COLLATE "C" AS key) AS c
    WHERE 'deletion' = ANY(%(kinds)s::text[]) AND {unseen}
        AND {schema}.visible(d.owner, %(viewer)s, %(unowned)s)
        AND NOT EXISTS (SELECT FROM {schema}.execution e WHERE e.fid = d.fid)
    ORDER BY d.changed, c.key LIMIT %(limit)s
),
chosen AS (
    SELECT x.changed, x.key, 'execution' AS kind, e.owner, e.flow_name, e.app_url, e.status,
        NULL::text[] AS asked, NULL::text[] AS handed_on,
        json_build_object(
            'kind', 'execution', 'fid', e.fid, 'status', e.status, 'cancelled', {cancelled},
            'state', e.state_name, 'attempt', e.attempt, 'summary', e.summary,
            'flow', e.flow_name, 'service', e.app_url, 'tags', coalesce(e.tags, '{}'),
            'username', coalesce(
                (SELECT r.name FROM {schema}.role r WHERE r.id::text = e.owner), e.owner),
            'error', left(e.error, 2000), 'open_locks', e.open_locks, 'files', e.files,
            'cost', e.cost::float8, 'input_tokens', e.input_tokens,
            'output_tokens', e.output_tokens, 'archived', e.archived_at IS NOT NULL,
            'created', extract(epoch FROM e.created_at)::float8,
            'started', extract(epoch FROM e.started_at)::float8,
            'ended', extract(epoch FROM e.ended_at)::float8)::text AS item
    FROM executions x JOIN {schema}.execution e ON e.id = x.id
    UNION ALL
    SELECT x.changed, x.key, 'lock', e.owner, e.flow_name, e.app_url, l.state, l.asked, l.handed_on,
        json_build_object(
            'kind', 'lock', 'fid', e.fid, 'lid', l.lid, 'name', l.name, 'title', l.title,
            'status', l.state, 'summary', e.summary, 'flow', e.flow_name, 'service', e.app_url,
            'opened', extract(epoch FROM l.opened_at)::float8,
            'expires', extract(epoch FROM l.expires_at)::float8,
            'answered', extract(epoch FROM l.answered_at)::float8,
            'answered_by',
            (SELECT r.name FROM {schema}.role r WHERE r.id::text = l.answered_by))::text
    FROM locks x JOIN {schema}.lock l ON l.execution_id = x.execution_id AND l.lid = x.lid
    JOIN {schema}.execution e ON e.id = x.execution_id
    UNION ALL
    SELECT changed, key, 'deletion', owner, NULL, NULL, NULL, NULL, NULL,
        json_build_object('kind', 'deletion', 'fid', fid)::text
    FROM deletions
    ORDER BY changed, key LIMIT %(limit)s
)
SELECT now.snapshot, chosen.* FROM (SELECT pg_current_snapshot()::text AS snapshot) AS now
LEFT JOIN chosen ON true
ORDER BY chosen.changed, chosen.key;
