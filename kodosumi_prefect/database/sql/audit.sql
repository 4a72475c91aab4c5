-- name: add_audit
-- Record what was done; `entries` is a JSON array of objects of these names.
INSERT INTO {schema}.audit (action, outcome, actor_id, actor_name, means, key_id, key_name,
    address, user_agent, target_kind, target_id, target_name, details)
SELECT action, outcome, actor_id, actor_name, means, key_id, key_name,
    address, user_agent, target_kind, target_id, target_name, coalesce(details, '{}')
FROM jsonb_to_recordset(%(entries)s::jsonb) AS entry(action text, outcome text, actor_id text,
    actor_name text, means text, key_id text, key_name text, address text, user_agent text,
    target_kind text, target_id text, target_name text, details jsonb)
RETURNING id;

-- name: audit
-- What was recorded, newest first, behind the entry `before`.
SELECT id, at, action, outcome, actor_id, actor_name, means, key_id, key_name, address,
    user_agent, target_kind, target_id, target_name, details
FROM {schema}.audit
WHERE (%(before)s::bigint IS NULL OR id < %(before)s)
    AND (%(actor)s::text IS NULL OR actor_id = %(actor)s
        OR lower(actor_name) = lower(%(actor)s))
    AND (%(target)s::text IS NULL OR target_id = %(target)s
        OR lower(target_name) = lower(%(target)s))
    AND (%(actions)s::text[] IS NULL OR action = ANY(%(actions)s))
    AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
    AND (%(since)s::float8 IS NULL OR at >= to_timestamp(%(since)s))
    AND (%(until)s::float8 IS NULL OR at < to_timestamp(%(until)s))
ORDER BY id DESC LIMIT %(limit)s;
