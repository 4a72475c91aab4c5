-- name: claim_launch
-- Take a key for a launch, or one over whose launch nobody is at; no row: somebody is, or it is done.
INSERT INTO {schema}.launch_key AS known (owner, endpoint, key, body, launch_id, claimed_until)
VALUES (%(owner)s, %(endpoint)s, %(key)s, %(body)s, %(launch_id)s::uuid,
    now() + make_interval(secs => %(claimed)s))
ON CONFLICT (owner, endpoint, key) DO UPDATE SET
    attempts = known.attempts + 1,
    -- Whoever claimed it before, and did not say how it went, is gone.
    lost = known.lost OR known.claimed_until IS NOT NULL,
    claimed_until = excluded.claimed_until
WHERE known.answer IS NULL AND known.body = ANY(%(bodies)s)
    AND (known.claimed_until IS NULL OR known.claimed_until < now())
RETURNING launch_id::text, attempts, lost;

-- name: keyed_launch
-- What is known of the launch with a key.
SELECT launch_id::text, attempts, lost, body = ANY(%(bodies)s) AS same, answer,
    coalesce(claimed_until > now(), false) AS under_way
FROM {schema}.launch_key
WHERE owner = %(owner)s AND endpoint = %(endpoint)s AND key = %(key)s;

-- name: renew_launch
-- Who claimed a launch is still at it.
UPDATE {schema}.launch_key SET claimed_until = now() + make_interval(secs => %(claimed)s)
WHERE launch_id = %(launch_id)s::uuid AND attempts = %(attempts)s AND claimed_until IS NOT NULL
RETURNING attempts;

-- name: keep_launch
-- A launch has begun: what it is answered from now on.
UPDATE {schema}.launch_key SET answer = %(answer)s, claimed_until = NULL, lost = false
WHERE launch_id = %(launch_id)s::uuid AND answer IS NULL
RETURNING attempts;

-- name: release_launch
-- Nobody is at a launch any more, and nobody knows whether it has begun.
UPDATE {schema}.launch_key SET claimed_until = NULL, lost = lost OR %(lost)s
WHERE launch_id = %(launch_id)s::uuid AND attempts = %(attempts)s AND answer IS NULL
RETURNING attempts;

-- name: free_launch
-- Nothing was launched: the key may be used for something else.
DELETE FROM {schema}.launch_key
WHERE launch_id = %(launch_id)s::uuid AND attempts = %(attempts)s AND answer IS NULL
RETURNING attempts;

-- name: forget_launch_keys
-- Keys that were first used before a span of seconds, and whose launches nobody is at.
DELETE FROM {schema}.launch_key WHERE (owner, endpoint, key) IN (
    SELECT owner, endpoint, key FROM {schema}.launch_key
    WHERE created_at < now() - make_interval(secs => %(age)s)
        AND (claimed_until IS NULL OR claimed_until < now())
    FOR UPDATE SKIP LOCKED)
RETURNING launch_id;
