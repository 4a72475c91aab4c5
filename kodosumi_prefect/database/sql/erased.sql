-- name: names_of_erased
-- Under which names an account stands in steps and links of locks.
SELECT name FROM {schema}.role WHERE id::text = %(owner)s
UNION SELECT who_name FROM {schema}.lock_step WHERE who = %(owner)s AND who_name IS NOT NULL
UNION SELECT recipient FROM {schema}.lock_link WHERE account = %(owner)s;

-- name: locks_with_account
-- Locks in which an account stands, and whether they are open.
SELECT l.execution_id, l.lid, l.state = 'open' AS open FROM {schema}.lock l
WHERE l.answered_by = %(owner)s OR %(owner)s = ANY(l.handed_on)
    OR l.asked && (%(references)s::text[])
    OR EXISTS (SELECT FROM {schema}.lock_step s
        WHERE s.execution_id = l.execution_id AND s.lid = l.lid AND (s.who = %(owner)s
            OR s.reached && (%(names)s::text[]) OR EXISTS (SELECT FROM unnest(s.recipients) AS r (one)
                WHERE lower(one) = ANY(%(references)s::text[]))))
    OR EXISTS (SELECT FROM {schema}.lock_link k
        WHERE k.execution_id = l.execution_id AND k.lid = l.lid
            AND (k.account = %(owner)s OR k.made_by = %(owner)s));

-- fragment: erased_lock
-- Whether x is of the locks that an account is erased from.
(x.execution_id, x.lid) IN (
    SELECT * FROM unnest(%(executions)s::bigint[], %(lids)s::text[]))

-- name: erase_in_locks
-- Name an account no more where it was asked and answered; the answers stay.
UPDATE {schema}.lock x SET
    answered_by = nullif(answered_by, %(owner)s),
    handed_on = array_remove(handed_on, %(owner)s),
    asked = (SELECT array_agg(CASE WHEN lower(one) = ANY(%(references)s::text[]) THEN %(erased)s ELSE one END
        ORDER BY place) FROM unnest(asked) WITH ORDINALITY AS a (one, place))
WHERE {erased_lock};

-- name: erase_in_steps
-- The same in what was done about locks.
UPDATE {schema}.lock_step x SET
    who_name = CASE WHEN who = %(owner)s THEN %(erased)s ELSE who_name END,
    who = CASE WHEN who = %(owner)s THEN 'erased:' || gen_random_uuid() ELSE who END,
    recipients = array(SELECT CASE WHEN lower(one) = ANY(%(references)s::text[]) THEN %(erased)s ELSE one END
        FROM unnest(recipients) WITH ORDINALITY AS a (one, place) ORDER BY place),
    reached = array(SELECT CASE WHEN one = ANY(%(names)s::text[]) THEN %(erased)s ELSE one END
        FROM unnest(reached) WITH ORDINALITY AS a (one, place) ORDER BY place)
WHERE {erased_lock};

-- name: erase_in_plan
-- The same in what was to be done about them.
UPDATE {schema}.lock_plan x SET
    recipients = array(SELECT CASE WHEN lower(one) = ANY(%(references)s::text[]) THEN %(erased)s ELSE one END
        FROM unnest(recipients) WITH ORDINALITY AS a (one, place) ORDER BY place)
WHERE {erased_lock};

-- name: erase_in_links
-- The same in links, which are over with their locks.
UPDATE {schema}.lock_link x SET
    recipient = CASE WHEN account = %(owner)s THEN %(erased)s ELSE recipient END,
    account = nullif(account, %(owner)s), made_by = nullif(made_by, %(owner)s)
WHERE {erased_lock};

-- name: erase_in_events
-- The same in what the streams of their runs say of locks.
UPDATE {schema}.event v SET
    payload = CASE WHEN v.kind = 'lease' THEN v.payload
        ELSE left(v.payload, strpos(v.payload, '”: ') + 1) || regexp_replace(
            substr(v.payload, strpos(v.payload, '”: ') + 2), %(pattern)s, %(erased)s, 'gi') END,
    source = CASE WHEN v.kind = 'lease' THEN jsonb_set(jsonb_set(v.source,
            array['answered_by', 'name'],
            to_jsonb(regexp_replace(v.source #>> array['answered_by', 'name'], %(pattern)s, %(erased)s, 'gi'))),
            array['answered_by', 'id'],
            coalesce(to_jsonb(nullif(v.source #>> array['answered_by', 'id'], %(owner)s)), 'null'))
        ELSE v.source END
WHERE v.execution_id = ANY(%(executions)s::bigint[])
    AND CASE WHEN v.kind = 'lease' THEN v.source #>> array['answered_by', 'name'] ~* %(pattern)s
        WHEN v.kind IN ('debug', 'stderr') THEN v.payload LIKE 'Question “%%”: %%'
            AND v.payload ~* %(pattern)s
        ELSE false END;

-- name: asking_events
-- The events of locks that name whom they ask.
SELECT v.execution_id, v.seq, v.payload FROM {schema}.event v
    JOIN unnest(%(executions)s::bigint[], %(lids)s::text[]) AS x (execution_id, lid)
        ON x.execution_id = v.execution_id
WHERE v.kind = 'lock' AND strpos(v.payload, '"' || x.lid || '"') > 0 AND v.payload ~* %(pattern)s;

-- name: erase_in_lock_event
-- One of them, with what is left.
UPDATE {schema}.event SET payload = %(payload)s WHERE execution_id = %(id)s AND seq = %(seq)s;
