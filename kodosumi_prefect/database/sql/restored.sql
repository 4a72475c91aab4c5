-- name: settle_changes
-- After a restore into another cluster, whose transactions are numbered anew: what seems to have
-- changed in the future changed now.
UPDATE {schema}.execution SET changed = pg_current_xact_id()::text::bigint
WHERE changed > pg_snapshot_xmax(pg_current_snapshot())::text::bigint;

-- name: settle_deletions
-- Likewise.
UPDATE {schema}.deleted SET changed = pg_current_xact_id()::text::bigint
WHERE changed > pg_snapshot_xmax(pg_current_snapshot())::text::bigint;

-- name: settle_locks
-- Likewise.
UPDATE {schema}.lock SET changed = pg_current_xact_id()::text::bigint
WHERE changed > pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
