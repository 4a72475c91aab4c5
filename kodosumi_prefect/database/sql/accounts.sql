-- name: roles
-- All accounts by name.
SELECT id::text, name, email, active, operator, password, epoch FROM {schema}.role
ORDER BY lower(name);

-- name: role_by_id
-- One account.
SELECT id::text, name, email, active, operator, password, epoch FROM {schema}.role
WHERE id = %(id)s::uuid;

-- name: role_by_name
-- One account by its name, upper and lower case alike.
SELECT id::text, name, email, active, operator, password, epoch FROM {schema}.role
WHERE lower(name) = lower(%(name)s);

-- name: count_operators
-- How many accounts can manage accounts.
SELECT count(*)::bigint AS operators FROM {schema}.role WHERE operator AND active;

-- name: add_role
-- Create an account; no row if its name is taken.
INSERT INTO {schema}.role (name, email, password, operator, active)
VALUES (%(name)s, %(email)s, %(password)s, %(operator)s, %(active)s)
ON CONFLICT ((lower(name))) DO NOTHING
RETURNING id::text, name, email, active, operator, password, epoch;

-- name: add_first_operator
-- Make an operator if there is none; the name is unique, so of several panels only one makes it.
INSERT INTO {schema}.role (name, password, operator)
SELECT %(name)s, %(password)s, true
WHERE NOT EXISTS (SELECT FROM {schema}.role WHERE operator AND active)
ON CONFLICT ((lower(name))) DO NOTHING
RETURNING id::text, name, email, active, operator, password, epoch;

-- name: change_role
-- Change an account unless no active operator were left. All operators are locked first, in one
-- order, so that of two that demote each other at once one is left.
WITH operators AS (
    SELECT id FROM {schema}.role WHERE operator AND active ORDER BY id FOR UPDATE
)
UPDATE {schema}.role SET
    name = coalesce(%(name)s, name),
    email = CASE WHEN %(clear_email)s::boolean THEN NULL ELSE coalesce(%(email)s, email) END,
    password = coalesce(%(password)s, password),
    operator = coalesce(%(operator)s::boolean, operator),
    active = coalesce(%(active)s::boolean, active),
    epoch = epoch + CASE WHEN %(password)s::text IS NOT NULL OR NOT %(active)s::boolean
        THEN 1 ELSE 0 END,
    updated_at = now()
WHERE id = %(id)s::uuid
    AND ((coalesce(%(operator)s::boolean, operator) AND coalesce(%(active)s::boolean, active))
        OR NOT (operator AND active)
        OR EXISTS (SELECT FROM operators WHERE operators.id <> %(id)s::uuid))
RETURNING id::text, name, email, active, operator, password, epoch;

-- name: remove_role
-- Delete an account unless it is the last active operator; locks as change_role does.
WITH operators AS (
    SELECT id FROM {schema}.role WHERE operator AND active ORDER BY id FOR UPDATE
)
DELETE FROM {schema}.role
WHERE id = %(id)s::uuid
    AND (NOT (operator AND active)
        OR EXISTS (SELECT FROM operators WHERE operators.id <> %(id)s::uuid))
RETURNING id::text, name, email, active, operator, password, epoch;

-- name: end_sessions
-- Have everybody who is signed in to an account sign in again.
UPDATE {schema}.role SET epoch = epoch + 1, updated_at = now() WHERE id = %(id)s::uuid
RETURNING id::text;

-- name: end_session
-- End a session; those whose tokens have expired need no row.
WITH expired AS (DELETE FROM {schema}.ended_session WHERE expires_at < now())
INSERT INTO {schema}.ended_session (id, expires_at)
-- A session's other token may expire a little later, and clocks differ.
VALUES (%(id)s, to_timestamp(%(expires)s) + interval '1 hour')
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: session_ended
-- A row if a session was ended before its time.
SELECT id FROM {schema}.ended_session WHERE id = %(id)s;

-- name: an_operator
-- The eldest active operator.
SELECT id::text, epoch FROM {schema}.role WHERE operator AND active ORDER BY created_at LIMIT 1;

-- name: roles_seen
-- When accounts were last active, as far as that is kept: by an API key, or by one of the newest
-- runs.
SELECT id, max(seen_at) AS seen_at FROM (
    SELECT role_id::text AS id, used_at AS seen_at FROM {schema}.api_key WHERE used_at IS NOT NULL
    UNION ALL
    (SELECT owner, created_at FROM {schema}.execution ORDER BY id DESC LIMIT 5000)
) AS found WHERE id IS NOT NULL GROUP BY id;

-- name: add_api_key
-- Store a new API key, of which only the hash is kept.
INSERT INTO {schema}.api_key (role_id, name, prefix, hash, expires_at)
VALUES (%(role)s::uuid, %(name)s, %(prefix)s, %(hash)s, %(expires_at)s)
RETURNING id::text, name, prefix, created_at, expires_at, used_at;

-- name: api_keys
-- The API keys of an account that were not revoked, newest first.
SELECT id::text, name, prefix, created_at, expires_at, used_at FROM {schema}.api_key
WHERE role_id = %(role)s::uuid AND revoked_at IS NULL ORDER BY created_at DESC, id;

-- name: revoke_api_key
-- Revoke an API key.
UPDATE {schema}.api_key SET revoked_at = now()
WHERE id = %(id)s::uuid AND revoked_at IS NULL
    AND (%(role)s::uuid IS NULL OR role_id = %(role)s::uuid)
RETURNING id::text;

-- name: api_key_by_hash
-- Whose API key this is if it is valid, and whether its use is to be noted: once a minute at most.
SELECT id::text, role_id::text,
    coalesce(used_at < now() - interval '1 minute', true) AS unnoted
FROM {schema}.api_key
WHERE hash = %(hash)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- name: api_key_named
-- Which API key a request was sent with.
SELECT id::text, name FROM {schema}.api_key WHERE hash = %(hash)s;

-- name: note_api_key
-- Note that an API key is in use.
UPDATE {schema}.api_key SET used_at = now()
WHERE id = %(id)s::uuid AND coalesce(used_at < now() - interval '1 minute', true)
RETURNING id::text;

-- name: count_login
-- Count a login as failed until it succeeded; no row if its source has to wait. Past `free`
-- failures the wait after each doubles; failures older than `window` are forgotten.
INSERT INTO {schema}.login_failure AS f (key, failures) VALUES (%(key)s, 1)
ON CONFLICT (key) DO UPDATE SET
    failures = CASE WHEN f.failed_at < now() - make_interval(secs => %(window)s)
        THEN 1 ELSE f.failures + 1 END,
    failed_at = now()
WHERE f.failures < %(free)s
    OR f.failed_at <= now() - make_interval(secs =>
        least(%(longest)s, %(first)s * power(2.0::float8, least(f.failures - %(free)s, 30))))
RETURNING failures;

-- name: login_wait
-- For how many seconds a source still has to wait.
SELECT extract(epoch FROM f.failed_at - now())::float8
    + least(%(longest)s, %(first)s * power(2.0::float8, least(f.failures - %(free)s, 30)))
    AS seconds
FROM {schema}.login_failure f WHERE key = %(key)s;

-- name: discount_login
-- A login that was counted succeeded.
UPDATE {schema}.login_failure SET failures = greatest(failures - 1, 0) WHERE key = %(key)s
RETURNING failures;

-- name: forget_login
-- Failures of a name whose owner signed in, or got a new password.
DELETE FROM {schema}.login_failure WHERE key = %(key)s RETURNING failures;

-- name: recent_failures
-- What failed logins of the last hour are counted under, the most first.
SELECT key, failures FROM {schema}.login_failure
WHERE failures > 0 AND failed_at > now() - interval '1 hour' ORDER BY failures DESC LIMIT 1000;
