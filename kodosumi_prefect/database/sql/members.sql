-- fragment: open_to_team
-- Open locks l, of executions e, that a team is asked. Nothing here waits for one that is deleted.
l.state = 'open' AND coalesce(l.deadline, l.expires_at) > now()
    AND l.asked && ARRAY['team:' || lower(%(team)s)]

-- name: team_members
-- The accounts of a team.
SELECT role_id::text FROM {schema}.team_member WHERE team_id = %(team)s::uuid;

-- name: keep_words_for_members
-- What was told to nobody when a lock was opened, if one of these accounts listens. Before anything
-- of locks is changed: this waits for whoever writes to their executions.
INSERT INTO {schema}.outbox (uid, kind, execution_id, lid, facts, for_prefect)
SELECT md5(concat_ws(' ', e.fid, 'lock.opened', l.lid))::uuid, 'lock.opened', e.id, l.lid,
    jsonb_build_object('attempt', l.attempt), false
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE {open_to_team}
    AND EXISTS (SELECT FROM {schema}.webhook w WHERE w.role_id = ANY(%(accounts)s::uuid[])
        AND w.active AND NOT w.everyone AND 'lock.opened' = ANY (w.kinds))
ORDER BY e.id
ON CONFLICT (uid) DO NOTHING RETURNING id;

-- name: join_locks
-- Accounts are asked now what their team is: note it, and tell their webhooks, each once.
WITH asked AS MATERIALIZED (
    SELECT l.execution_id, l.lid, r.id AS role_id, r.name
    FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
        CROSS JOIN {schema}.role r
    WHERE {open_to_team} AND r.id = ANY(%(accounts)s::uuid[]) AND r.active
        AND r.id::text <> ALL(l.handed_on) AND NOT coalesce(
            {schema}.is_named(l.asked, l.handed_on, e.owner, r.id::text,
                array_remove({schema}.references_to(r.id::text), 'team:' || lower(%(team)s))), false)
    FOR KEY SHARE OF l SKIP LOCKED
),
told AS (
    INSERT INTO {schema}.webhook_delivery (outbox_id, webhook_id, execution_id)
    SELECT o.id, w.id, o.execution_id
    FROM asked JOIN {schema}.webhook w ON w.role_id = asked.role_id
        JOIN {schema}.outbox o ON o.execution_id = asked.execution_id AND o.lid = asked.lid
            AND o.kind = 'lock.opened'
    WHERE w.active AND NOT w.everyone AND 'lock.opened' = ANY (w.kinds)
    ORDER BY o.id
    ON CONFLICT DO NOTHING
)
INSERT INTO {schema}.lock_step (execution_id, lid, step, recipients, reached)
SELECT execution_id, lid, 'joined', ARRAY['team:' || lower(%(team)s)],
    array_agg(name ORDER BY lower(name))
FROM asked GROUP BY execution_id, lid RETURNING id;

-- name: leave_locks
-- Accounts are not asked any more what their team is, unless by another name: note it, revoke their
-- links, and do not tell their webhooks what they were not told yet.
WITH lost AS MATERIALIZED (
    SELECT l.execution_id, l.lid, e.owner, r.id AS role_id, r.name, r.operator
    FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
        CROSS JOIN {schema}.role r
    WHERE {open_to_team} AND r.id = ANY(%(accounts)s::uuid[])
        AND r.id::text <> ALL(l.handed_on)
        AND NOT {schema}.is_asked(l.asked, l.handed_on, e.owner, r.id::text)
    FOR KEY SHARE OF l SKIP LOCKED
),
links AS (
    SELECT k.hash FROM lost JOIN {schema}.lock_link k ON k.execution_id = lost.execution_id
        AND k.lid = lost.lid AND k.account = lost.role_id::text
    WHERE k.used_at IS NULL AND k.revoked_at IS NULL AND NOT lost.operator
    FOR NO KEY UPDATE OF k SKIP LOCKED
),
revoked AS (
    UPDATE {schema}.lock_link k SET revoked_at = now() FROM links WHERE k.hash = links.hash
),
untold AS (
    SELECT d.id FROM lost JOIN {schema}.webhook w ON w.role_id = lost.role_id
        JOIN {schema}.webhook_delivery d
            ON d.webhook_id = w.id AND d.execution_id = lost.execution_id
        JOIN {schema}.outbox o ON o.id = d.outbox_id AND o.lid = lost.lid
    WHERE NOT w.everyone AND lost.owner IS DISTINCT FROM lost.role_id::text
        AND d.state = 'waiting' AND NOT d.sending
    FOR UPDATE OF d SKIP LOCKED
),
dropped AS (
    DELETE FROM {schema}.webhook_delivery d USING untold WHERE d.id = untold.id
)
INSERT INTO {schema}.lock_step (execution_id, lid, step, recipients, reached)
SELECT execution_id, lid, 'left', ARRAY['team:' || lower(%(team)s)],
    array_agg(name ORDER BY lower(name))
FROM lost GROUP BY execution_id, lid RETURNING id;
