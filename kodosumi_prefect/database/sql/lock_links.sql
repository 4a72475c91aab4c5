-- name: add_lock_link
-- Keep a link, of whose token only the hash is kept; no row if it is there.
INSERT INTO {schema}.lock_link (hash, execution_id, lid, account, recipient, code_hash, made_by)
VALUES (%(hash)s, %(id)s, %(lid)s, %(account)s, %(recipient)s, %(code_hash)s, %(made_by)s)
ON CONFLICT (hash) DO NOTHING RETURNING hash;

-- fragment: maker_may
-- Whether who made link k for somebody without an account may still answer its lock themselves.
(k.account IS NOT NULL OR k.made_by IS NULL
    OR EXISTS (SELECT FROM {schema}.role r
        WHERE r.id::text = k.made_by AND r.active AND r.operator)
    OR EXISTS (SELECT FROM {schema}.lock its JOIN {schema}.execution run ON run.id = its.execution_id
        WHERE its.execution_id = k.execution_id AND its.lid = k.lid
            AND {schema}.is_asked(its.asked, its.handed_on, run.owner, k.made_by)
            AND EXISTS (SELECT FROM {schema}.role r WHERE r.id::text = k.made_by AND r.active)))

-- name: lock_link
-- The lock that a link is for, and whether it can still be used.
SELECT e.fid::text AS fid, k.lid, k.account, k.recipient, k.code_hash,
    k.used_at IS NOT NULL AS used, k.revoked_at IS NOT NULL OR NOT {maker_may} AS revoked
FROM {schema}.lock_link k JOIN {schema}.execution e ON e.id = k.execution_id
WHERE k.hash = %(hash)s;

-- name: use_lock_link
-- Use a link up; no row if it was used or revoked before.
UPDATE {schema}.lock_link k SET used_at = now()
WHERE hash = %(hash)s AND execution_id = %(id)s AND lid = %(lid)s
    AND used_at IS NULL AND revoked_at IS NULL AND {maker_may}
RETURNING hash;

-- name: count_code
-- Count a code as wrong until it proved right; no row if too many were.
UPDATE {schema}.lock_link SET wrong_codes = wrong_codes + 1
WHERE hash = %(hash)s AND used_at IS NULL AND revoked_at IS NULL AND wrong_codes < %(most)s
RETURNING wrong_codes;

-- name: settle_code
-- Take the count of a right code back; revoke the link with the last wrong one that is allowed.
UPDATE {schema}.lock_link SET
    wrong_codes = CASE WHEN %(right)s::boolean THEN greatest(wrong_codes - 1, 0)
        ELSE wrong_codes END,
    revoked_at = CASE WHEN NOT %(right)s::boolean AND wrong_codes >= %(most)s THEN now()
        ELSE revoked_at END
WHERE hash = %(hash)s RETURNING hash;

-- name: revoke_lock_links
-- Revoke the unused links of a lock: all, or those of one account and of those who have none.
UPDATE {schema}.lock_link SET revoked_at = now()
WHERE execution_id = %(id)s AND lid = %(lid)s AND used_at IS NULL AND revoked_at IS NULL
    AND (%(account)s::text IS NULL OR account IS NULL OR account = %(account)s)
RETURNING hash;

-- name: may_answer_lock
-- Whether an account may answer a lock: it is asked, or an operator's.
SELECT {schema}.is_asked(l.asked, l.handed_on, e.owner, %(account)s)
    OR EXISTS (SELECT FROM {schema}.role r
        WHERE r.id::text = %(account)s AND r.active AND r.operator) AS may
FROM {schema}.lock l JOIN {schema}.execution e ON e.id = l.execution_id
WHERE l.execution_id = %(id)s AND l.lid = %(lid)s;

-- name: active_role
-- An account that may sign in, by its id.
SELECT id::text AS id, name, operator FROM {schema}.role WHERE id::text = %(id)s AND active;
