-- name: sealed_inputs
-- Secret inputs, encrypted.
SELECT id::text AS id, secrets AS token FROM {schema}.payload WHERE secrets IS NOT NULL;

-- name: reseal_inputs
-- The same, encrypted with another key.
UPDATE {schema}.payload SET secrets = %(new)s WHERE id = %(id)s::uuid AND secrets = %(old)s;

-- name: sealed_answers
-- Answers to locks that hold secrets, encrypted.
SELECT execution_id || ' ' || lid AS id, result AS token FROM {schema}.lock
WHERE result LIKE 'sealed:%%';

-- name: reseal_answers
-- The same, encrypted with another key.
UPDATE {schema}.lock SET result = %(new)s
WHERE execution_id = split_part(%(id)s, ' ', 1)::bigint
    AND lid = substr(%(id)s, strpos(%(id)s, ' ') + 1) AND result = %(old)s;

-- name: sealed_launches
-- What launches with a key were answered, encrypted.
SELECT launch_id::text AS id, answer AS token FROM {schema}.launch_key WHERE answer IS NOT NULL;

-- name: reseal_launches
-- The same, encrypted with another key.
UPDATE {schema}.launch_key SET answer = %(new)s
WHERE launch_id = %(id)s::uuid AND answer = %(old)s;

-- name: sealed_given_answers
-- Answers, of several to one lock, that hold secrets, encrypted.
SELECT id::text AS id, result AS token FROM {schema}.lock_step WHERE result LIKE 'sealed:%%';

-- name: reseal_given_answers
-- The same, encrypted with another key.
UPDATE {schema}.lock_step SET result = %(new)s
WHERE id = %(id)s::bigint AND result = %(old)s;
