-- name: count_runners
-- Runners by state; one whose worker no longer answers for it has lapsed.
SELECT CASE WHEN lease_until < now() THEN 'lapsed' ELSE state END AS state, count(*) AS runners
FROM {schema}.runner GROUP BY 1;

-- name: claim_runner
-- Answer for a flow run until the lease ends; no row if another worker does, unless it was handed
-- to this one by Prefect.
INSERT INTO {schema}.runner (fid, attempt, leg, worker, pool, namespace, lease_until)
VALUES (%(fid)s, %(attempt)s, %(leg)s, %(worker)s, %(pool)s, %(namespace)s,
    now() + %(lease)s * interval '1 second')
ON CONFLICT (fid) DO UPDATE SET
    worker = excluded.worker, pool = excluded.pool, namespace = excluded.namespace,
    lease_until = excluded.lease_until,
    attempt = excluded.attempt,
    leg = excluded.leg,
    actor_name = CASE WHEN %(mine)s THEN NULL ELSE runner.actor_name END,
    node = CASE WHEN %(mine)s THEN NULL ELSE runner.node END,
    pid = CASE WHEN %(mine)s THEN NULL ELSE runner.pid END,
    state = CASE WHEN %(mine)s THEN 'starting' ELSE runner.state END,
    started_at = CASE WHEN %(mine)s THEN now() ELSE runner.started_at END
WHERE %(mine)s OR runner.lease_until < now() OR runner.lease_until IS NULL
    OR runner.worker = excluded.worker
RETURNING actor_name, pid;

-- name: place_runner
-- Which Runner executes a flow run, and where once that is known.
UPDATE {schema}.runner SET actor_name = %(actor_name)s, node = coalesce(%(node)s, node),
    pid = coalesce(%(pid)s, pid), state = %(state)s
WHERE fid = %(fid)s AND worker = %(worker)s;

-- name: release_runners
-- The worker ends; others may answer for its flow runs at once.
UPDATE {schema}.runner SET lease_until = now() WHERE worker = %(worker)s;

-- name: renew_runners
-- The worker still answers for these flow runs.
UPDATE {schema}.runner SET lease_until = now() + %(lease)s * interval '1 second'
WHERE fid = ANY(%(fids)s::uuid[]) AND worker = %(worker)s;

-- name: forget_runner
-- The flow run is over, or another worker may begin it.
DELETE FROM {schema}.runner WHERE fid = %(fid)s AND worker = %(worker)s;

-- name: claim_hooks
-- The hooks of a run whose process is gone are the caller's to run; no row if they are another's.
INSERT INTO {schema}.hooks_run (fid, attempt) VALUES (%(fid)s, %(attempt)s)
ON CONFLICT DO NOTHING
RETURNING fid;

-- name: prune_hooks
-- No process of these runs can be there any more.
DELETE FROM {schema}.hooks_run WHERE claimed_at < now() - interval '7 days';

-- name: said_since
-- What an execution printed and logged from a point in time on: when, in microseconds, and a digest.
SELECT round(extract(epoch FROM ts) * 1000000)::bigint, md5(kind || ':' || payload)
FROM {schema}.event
WHERE execution_id = (SELECT id FROM {schema}.execution WHERE fid = %(fid)s)
    AND seq > (SELECT last_seq FROM {schema}.execution WHERE fid = %(fid)s) - 200000
    AND ts >= to_timestamp(%(since)s - 1) AND kind IN ('stdout', 'stderr', 'debug');
