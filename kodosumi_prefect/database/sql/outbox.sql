-- name: set_outbox_rules
-- What the observer that leads is set to.
UPDATE {schema}.outbox_rules SET prefect_events = %(prefect_events)s RETURNING prefect_events;

-- fragment: word
-- What is told: `o` of the outbox with its execution and lock.
o.uid::text AS uid, o.kind, extract(epoch FROM o.occurred_at)::float8 AS occurred, o.facts,
    e.fid::text AS fid, e.summary, e.flow_name, e.run_name, e.deployment_id::text AS deployment_id,
    o.lid, l.name AS lock_name, l.title AS lock_title, l.question, l.data,
    extract(epoch FROM l.expires_at)::float8 AS expires

-- fragment: of_outbox
-- Where that comes from.
{schema}.outbox o
    LEFT JOIN {schema}.execution e ON e.id = o.execution_id
    LEFT JOIN {schema}.lock l ON l.execution_id = o.execution_id AND l.lid = o.lid

-- name: words_for_prefect
-- What Prefect has not taken yet, in order.
SELECT o.id, {word} FROM {of_outbox}
WHERE o.for_prefect AND o.emitted_at IS NULL ORDER BY o.id LIMIT %(limit)s;

-- name: told_prefect
-- Prefect took these.
UPDATE {schema}.outbox SET emitted_at = now() WHERE id = ANY(%(ids)s::bigint[]) RETURNING id;

-- name: claim_deliveries
-- Deliveries that are due, for whoever sends them now; until their lease ends nobody else does.
WITH due AS (
    SELECT d.id FROM {schema}.webhook w JOIN {schema}.role r ON r.id = w.role_id,
    LATERAL (
        SELECT d.id FROM {schema}.webhook_delivery d
        WHERE d.webhook_id = w.id AND d.state = 'waiting' AND d.next_at <= now()
            AND NOT EXISTS (SELECT FROM {schema}.webhook_delivery earlier
                WHERE earlier.webhook_id = w.id AND earlier.state = 'waiting'
                    AND earlier.execution_id = d.execution_id
                    AND earlier.outbox_id < d.outbox_id)
        ORDER BY d.next_at, d.id
        LIMIT greatest(CASE WHEN w.failures > 0 THEN 1 ELSE %(each)s::int END
            - coalesce((%(busy)s::jsonb ->> w.id::text)::int, 0), 0)
        FOR UPDATE SKIP LOCKED
    ) d
    WHERE w.active AND r.active AND (r.operator OR NOT w.everyone)
    LIMIT %(limit)s
),
claimed AS (
    UPDATE {schema}.webhook_delivery d SET tries = d.tries + 1, sending = true,
        began_at = coalesce(d.began_at, now()),
        next_at = now() + make_interval(secs => %(lease)s)
    FROM due WHERE d.id = due.id RETURNING d.*
)
SELECT c.id, c.tries, extract(epoch FROM now() - c.began_at)::float8 AS trying,
    w.id::text AS webhook_id, w.role_id::text AS account, r.name AS account_name, w.url, w.with_data,
    w.with_links AND coalesce(l.link, false) AND o.kind IN ('lock.opened', 'lock.reminded') AS with_link,
    w.secret,
    CASE WHEN w.old_until > now() THEN w.old_secret END AS old_secret, {word}
FROM claimed c
    JOIN {schema}.webhook w ON w.id = c.webhook_id
    JOIN {schema}.role r ON r.id = w.role_id
    JOIN {of_outbox} ON o.id = c.outbox_id
ORDER BY c.id;

-- name: take_over_deliveries
-- What an observer that leads no more was sending is due at once.
UPDATE {schema}.webhook_delivery SET sending = false, next_at = now() WHERE sending RETURNING id;

-- name: delivered
-- The receiver took it; what follows of the same execution is due: whether there is any.
WITH done AS (
    UPDATE {schema}.webhook_delivery SET state = 'delivered', sending = false, ended_at = now(),
        status = %(status)s, trouble = NULL
    WHERE id = %(id)s AND state = 'waiting' AND tries = %(tries)s
    RETURNING webhook_id, execution_id, outbox_id
),
following AS (
    UPDATE {schema}.webhook_delivery d SET next_at = now() FROM done
    WHERE d.webhook_id = done.webhook_id AND d.execution_id = done.execution_id
        AND d.state = 'waiting' AND d.outbox_id > done.outbox_id AND d.next_at > now()
        AND d.tries = 0
),
works AS (
    UPDATE {schema}.webhook w SET failures = 0 FROM done
    WHERE w.id = done.webhook_id AND w.failures > 0
)
SELECT EXISTS (SELECT FROM {schema}.webhook_delivery d
    WHERE d.webhook_id = done.webhook_id AND d.execution_id = done.execution_id
        AND d.state = 'waiting' AND d.outbox_id > done.outbox_id) AS followed
FROM done;

-- name: delivery_failed
-- It is tried again after a pause, and what follows of the same execution waits; or is set aside.
WITH failed AS (
    UPDATE {schema}.webhook_delivery SET status = %(status)s, trouble = %(trouble)s, sending = false,
        state = CASE WHEN %(pause)s::float8 IS NULL THEN 'set_aside' ELSE 'waiting' END,
        ended_at = CASE WHEN %(pause)s::float8 IS NULL THEN now() END,
        next_at = now() + make_interval(secs => coalesce(%(pause)s, 0))
    WHERE id = %(id)s AND state = 'waiting' AND tries = %(tries)s
    RETURNING webhook_id, execution_id, outbox_id, next_at
),
following AS (
    UPDATE {schema}.webhook_delivery d SET next_at = failed.next_at FROM failed
    WHERE d.webhook_id = failed.webhook_id AND d.execution_id = failed.execution_id
        AND d.state = 'waiting' AND d.outbox_id > failed.outbox_id AND d.tries = 0
),
works AS (
    UPDATE {schema}.webhook w SET failures = w.failures + 1,
        active = w.active AND NOT %(gone)s,
        paused_because = CASE WHEN %(gone)s THEN %(trouble)s ELSE w.paused_because END
    FROM failed WHERE w.id = failed.webhook_id
)
SELECT webhook_id FROM failed;

-- name: count_outbox
-- How much waits to be sent, since when, and was set aside; what is paused, or not wanted, is not in it.
SELECT 'prefect' AS receiver, count(*) AS waiting,
    coalesce(extract(epoch FROM now() - min(occurred_at)), 0)::float8 AS oldest, 0::bigint AS set_aside
FROM {schema}.outbox WHERE for_prefect AND emitted_at IS NULL
    AND (SELECT prefect_events FROM {schema}.outbox_rules)
UNION ALL
SELECT 'webhook', count(*), coalesce(extract(epoch FROM now() - min(o.occurred_at)), 0)::float8,
    (SELECT count(*) FROM {schema}.webhook_delivery s JOIN {schema}.webhook x ON x.id = s.webhook_id
        WHERE s.state = 'set_aside')
FROM {schema}.webhook_delivery d
    JOIN {schema}.outbox o ON o.id = d.outbox_id
    JOIN {schema}.webhook w ON w.id = d.webhook_id
    JOIN {schema}.role r ON r.id = w.role_id
WHERE d.state = 'waiting' AND w.active AND r.active AND (r.operator OR NOT w.everyone);

-- name: forget_words
-- What was told, or set aside, longer ago than that; and deliveries of webhooks that are gone.
WITH old AS (
    SELECT o.id FROM {schema}.outbox o
    WHERE o.occurred_at < now() - make_interval(secs => %(age)s)
        AND NOT EXISTS (SELECT FROM {schema}.webhook_delivery d
            JOIN {schema}.webhook w ON w.id = d.webhook_id
            WHERE d.outbox_id = o.id AND d.state = 'waiting')
        AND (NOT o.for_prefect OR o.emitted_at IS NOT NULL
            OR NOT (SELECT prefect_events FROM {schema}.outbox_rules))
    ORDER BY o.id LIMIT %(limit)s
),
gone AS (
    DELETE FROM {schema}.webhook_delivery d
    WHERE d.state = 'waiting' AND NOT EXISTS (
        SELECT FROM {schema}.webhook w WHERE w.id = d.webhook_id)
)
DELETE FROM {schema}.outbox o USING old WHERE o.id = old.id RETURNING o.id;

-- name: schedules_run
-- Of schedules: when the newest run and the newest success began, and whether one is under way.
SELECT s.id::text AS schedule_id,
    extract(epoch FROM max(e.started_at))::float8 AS ran,
    extract(epoch FROM max(e.started_at) FILTER (WHERE e.status = 'finished'))::float8 AS succeeded,
    coalesce(bool_or(e.started_at IS NOT NULL
        AND e.status IN ('starting', 'running', 'awaiting')), false) AS under_way
FROM unnest(%(ids)s::uuid[]) AS s (id)
LEFT JOIN LATERAL (
    (SELECT * FROM {schema}.execution x WHERE x.schedule_id = s.id AND x.started_at IS NOT NULL
        ORDER BY x.id DESC LIMIT 50)
    UNION
    (SELECT * FROM {schema}.execution x WHERE x.schedule_id = s.id AND x.status = 'finished'
        ORDER BY x.id DESC LIMIT 1)
) e ON true
GROUP BY s.id;

-- name: fall_silent
-- A schedule is without runs or success: tell it, once until it is heard again.
WITH new AS (
    INSERT INTO {schema}.silence (schedule_id, sort, since)
    VALUES (%(schedule)s::uuid, %(sort)s, to_timestamp(%(since)s))
    ON CONFLICT DO NOTHING RETURNING schedule_id, sort, since
),
told AS (
    INSERT INTO {schema}.outbox (uid, kind, owner, facts, for_prefect)
    SELECT md5(concat_ws(' ', schedule_id, sort, extract(epoch FROM since)))::uuid,
        'execution.silent', %(owner)s, %(facts)s::jsonb, r.prefect_events
    FROM new, {schema}.outbox_rules r
    WHERE r.prefect_events OR EXISTS (SELECT FROM {schema}.webhook w
        WHERE w.active AND 'execution.silent' = ANY (w.kinds))
    ON CONFLICT (uid) DO NOTHING RETURNING id, kind, owner
)
SELECT id, {schema}.deliver_word(id, kind, NULL, owner) FROM told;

-- name: speak_again
-- Schedules that run, or succeed, again; or are no longer there.
DELETE FROM {schema}.silence
WHERE sort = %(sort)s AND NOT schedule_id = ANY(%(silent)s::uuid[]) RETURNING schedule_id::text;
