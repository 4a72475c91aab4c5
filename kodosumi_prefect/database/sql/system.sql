-- name: report_service
-- A service reports itself; sent every 10 seconds.
INSERT INTO {schema}.service (kind, name, host, pid, version, info)
VALUES (%(kind)s, %(name)s, %(host)s, %(pid)s, %(version)s, %(info)s::jsonb)
ON CONFLICT (kind, name) DO UPDATE SET
    host = excluded.host, pid = excluded.pid, version = excluded.version, info = excluded.info,
    seen_at = now(),
    started_at = CASE WHEN service.host = excluded.host AND service.pid = excluded.pid
        THEN service.started_at ELSE now() END
RETURNING name;

-- name: forget_service
-- A service ends in an orderly way.
DELETE FROM {schema}.service WHERE kind = %(kind)s AND name = %(name)s AND pid = %(pid)s
RETURNING name;

-- name: services
-- All services that reported within a day, and how many seconds ago.
SELECT kind, name, host, pid, version, info, extract(epoch FROM started_at)::float8 AS started_at,
    extract(epoch FROM now() - seen_at)::float8 AS silent
FROM {schema}.service WHERE seen_at > now() - interval '1 day' ORDER BY kind, name;

-- name: rights
-- What the role in use lacks of what writers need, and of what retention needs beside it.
WITH needed (kind, name, privilege, to_clean) AS (
    VALUES ('table', 'instance', 'SELECT', false),
        ('table', 'execution', 'SELECT', false), ('table', 'execution', 'INSERT', false),
        ('table', 'execution', 'UPDATE', false), ('table', 'execution', 'DELETE', true),
        ('table', 'event', 'SELECT', false), ('table', 'event', 'INSERT', false),
        ('table', 'event', 'DELETE', true),
        ('table', 'writer', 'SELECT', false), ('table', 'writer', 'INSERT', false),
        ('table', 'writer', 'UPDATE', false),
        ('table', 'seen', 'SELECT', false), ('table', 'seen', 'INSERT', false),
        ('table', 'runner', 'SELECT', false), ('table', 'runner', 'INSERT', false),
        ('table', 'runner', 'UPDATE', false), ('table', 'runner', 'DELETE', true),
        ('table', 'payload', 'DELETE', true),
        ('table', 'lock', 'SELECT', false), ('table', 'lock', 'INSERT', false),
        ('table', 'lock', 'UPDATE', false),
        ('table', 'deleted', 'SELECT', false), ('table', 'deleted', 'INSERT', true),
        ('table', 'deleted', 'UPDATE', true), ('table', 'deleted', 'DELETE', true),
        ('function', 'ensure_partition(bigint)', 'EXECUTE', false),
        ('function', 'visible(text, text, boolean)', 'EXECUTE', false),
        ('function', 'filtered_listing(text, boolean, text, text, text[], text, float8, float8, '
            'tsquery)', 'EXECUTE', false)
),
missing AS (
    SELECT privilege || ' on ' || name AS what, to_clean FROM needed
    WHERE NOT CASE kind
        WHEN 'table' THEN has_table_privilege(format('%%I.%%I', %(schema)s::text, name), privilege)
        ELSE has_function_privilege(format('%%I.', %(schema)s::text) || name, privilege) END
)
SELECT current_user::text AS role,
    array(SELECT what FROM missing WHERE NOT to_clean ORDER BY what) AS missing,
    array(SELECT what FROM missing WHERE to_clean ORDER BY what) AS missing_to_clean;

-- name: database_facts
-- How large the database is, at which revision our schema stands, and who is connected.
SELECT current_setting('server_version') AS version,
    pg_database_size(current_database())::bigint AS bytes,
    (SELECT version_num FROM {schema}.schema_version) AS revision,
    (SELECT count(*)::bigint FROM pg_stat_activity WHERE datname = current_database())
        AS connections,
    current_setting('max_connections')::int AS most_connections;

-- name: add_utilisation
-- Keep figures of a moment, which all panels round alike, so that one of them suffices.
WITH old AS (
    DELETE FROM {schema}.utilisation WHERE at < now() - interval '2 hours'
)
INSERT INTO {schema}.utilisation (at, figures)
VALUES (to_timestamp(%(at)s), %(figures)s::jsonb) ON CONFLICT DO NOTHING RETURNING 1;

-- name: utilisation
-- Figures since a point in time.
SELECT extract(epoch FROM at)::float8 AS at, figures FROM {schema}.utilisation
WHERE at >= to_timestamp(%(since)s) ORDER BY at;
