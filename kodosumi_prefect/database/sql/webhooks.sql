-- fragment: webhook
-- A webhook with how its deliveries fare; its secrets are not in here.
w.id::text AS id, w.role_id::text AS owner, r.name AS username, w.name, w.url, w.kinds,
    w.everyone, w.with_data, w.with_links, w.active,
    CASE WHEN NOT r.active THEN 'account_disabled'
        WHEN w.everyone AND NOT r.operator THEN 'no_operator' END AS idle, w.paused_because, w.failures, w.created_at,
    CASE WHEN w.old_until > now() THEN w.old_until END AS old_until,
    (SELECT count(*) FROM {schema}.webhook_delivery d
        WHERE d.webhook_id = w.id AND d.state = 'waiting') AS waiting,
    (SELECT count(*) FROM {schema}.webhook_delivery d
        WHERE d.webhook_id = w.id AND d.state = 'set_aside') AS set_aside

-- name: webhooks
-- Webhooks of one account, or all, the newest first.
SELECT {webhook} FROM {schema}.webhook w JOIN {schema}.role r ON r.id = w.role_id
WHERE (%(owner)s::text IS NULL OR w.role_id::text = %(owner)s)
    AND (%(id)s::uuid IS NULL OR w.id = %(id)s::uuid)
ORDER BY w.created_at DESC, w.id;

-- name: count_webhooks
-- How many an account has.
SELECT count(*) FROM {schema}.webhook WHERE role_id::text = %(owner)s;

-- name: add_webhook
-- A new one.
INSERT INTO {schema}.webhook (role_id, name, url, kinds, everyone, with_data, with_links, secret)
VALUES (%(owner)s::uuid, %(name)s, %(url)s, %(kinds)s, %(everyone)s, %(with_data)s,
    %(with_links)s, %(secret)s)
RETURNING id::text;

-- name: change_webhook
-- What is null stays as it is. One that was of all executions, and is no more, keeps what its
-- account would have got without that.
WITH before AS (
    SELECT id, everyone FROM {schema}.webhook WHERE id = %(id)s::uuid FOR UPDATE
),
changed AS (
    UPDATE {schema}.webhook w SET name = coalesce(%(name)s, name), url = coalesce(%(url)s, url),
        kinds = coalesce(%(kinds)s::text[], kinds),
        everyone = coalesce(%(everyone)s, w.everyone),
        with_data = coalesce(%(with_data)s, with_data),
        with_links = coalesce(%(with_links)s, with_links), active = coalesce(%(active)s, active),
        paused_because = CASE WHEN %(active)s IS NULL THEN paused_because END,
        failures = CASE WHEN %(active)s IS NULL AND %(url)s::text IS NULL THEN failures ELSE 0 END,
        updated_at = now()
    FROM before WHERE w.id = before.id
    RETURNING w.id, w.role_id::text AS owner, before.everyone AND NOT w.everyone AS narrowed
),
of_others AS (
    DELETE FROM {schema}.webhook_delivery d
    USING changed c, {schema}.outbox o LEFT JOIN {schema}.execution e ON e.id = o.execution_id
        LEFT JOIN {schema}.lock l ON l.execution_id = o.execution_id AND l.lid = o.lid
    WHERE c.narrowed AND d.webhook_id = c.id AND o.id = d.outbox_id
        AND coalesce(e.owner, o.owner) IS DISTINCT FROM c.owner
        AND NOT coalesce({schema}.is_asked(l.asked, l.handed_on, e.owner, c.owner), false)
)
SELECT id::text FROM changed;

-- name: rotate_webhook
-- A new secret; the one before signs too for a while.
UPDATE {schema}.webhook SET old_secret = secret, secret = %(secret)s,
    old_until = now() + make_interval(secs => %(grace)s), updated_at = now()
WHERE id = %(id)s::uuid RETURNING id::text;

-- name: remove_webhook
-- With what was to be sent to it.
WITH gone AS (
    DELETE FROM {schema}.webhook WHERE id = %(id)s::uuid RETURNING id
),
unsent AS (
    DELETE FROM {schema}.webhook_delivery d USING gone WHERE d.webhook_id = gone.id
)
SELECT id::text FROM gone;

-- name: deliveries
-- Of a webhook, the newest first, behind one of them; none of one that is of all executions, and
-- its account no longer an operator's.
SELECT d.id, d.state, d.tries, d.began_at, d.ended_at,
    CASE WHEN d.state = 'waiting' THEN d.next_at END AS next_at, d.status, d.trouble,
    o.uid::text AS uid, o.kind, o.occurred_at, e.fid::text AS fid,
    coalesce(e.summary, e.run_name, e.flow_name, o.facts ->> 'title') AS title
FROM {schema}.webhook_delivery d
    JOIN {schema}.outbox o ON o.id = d.outbox_id
    LEFT JOIN {schema}.execution e ON e.id = d.execution_id
WHERE d.webhook_id = %(webhook)s::uuid
    AND EXISTS (SELECT FROM {schema}.webhook w JOIN {schema}.role r ON r.id = w.role_id
        WHERE w.id = d.webhook_id AND (r.operator OR NOT w.everyone))
    AND (%(state)s::text IS NULL OR d.state = %(state)s)
    AND (%(before)s::bigint IS NULL OR d.id < %(before)s)
ORDER BY d.id DESC LIMIT %(limit)s;

-- name: send_again
-- What was set aside of a webhook: one, or all.
UPDATE {schema}.webhook_delivery SET state = 'waiting', next_at = now(), began_at = NULL,
    ended_at = NULL
WHERE webhook_id = %(webhook)s::uuid AND state = 'set_aside'
    AND (%(id)s::bigint IS NULL OR id = %(id)s) RETURNING id;

-- name: sealed_webhooks
-- Secrets of webhooks, encrypted; the one before likewise.
SELECT id || ' new' AS id, secret AS token FROM {schema}.webhook
UNION ALL
SELECT id || ' old', old_secret FROM {schema}.webhook WHERE old_secret IS NOT NULL;

-- name: reseal_webhooks
-- The same, encrypted with another key.
UPDATE {schema}.webhook SET
    secret = CASE WHEN %(id)s LIKE '%% new' THEN %(new)s ELSE secret END,
    old_secret = CASE WHEN %(id)s LIKE '%% old' THEN %(new)s ELSE old_secret END
WHERE id = split_part(%(id)s, ' ', 1)::uuid
    AND %(old)s = CASE WHEN %(id)s LIKE '%% new' THEN secret ELSE old_secret END;
