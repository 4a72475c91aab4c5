\restrict qWM6vMIi06HybkS1phYF0SIOwJ73IcxeM9BKy018D0id6aVRABZSg5fBNmacOMb
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA kodosumi;
CREATE FUNCTION kodosumi.add_changed_spans() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE "kodosumi".execution e SET
        model_calls = e.model_calls + d.model_calls,
        tool_calls = e.tool_calls + d.tool_calls,
        span_errors = e.span_errors + d.errors,
        input_tokens = e.input_tokens + d.input_tokens,
        output_tokens = e.output_tokens + d.output_tokens,
        cost = e.cost + d.cost,
        unpriced_calls = e.unpriced_calls + d.unpriced,
        changed = pg_current_xact_id()::text::bigint
    FROM (
        SELECT execution_id,
            coalesce(sum(sign) FILTER (WHERE type IN ('llm', 'embedding') AND NOT repeated), 0)
                AS model_calls,
            coalesce(sum(sign) FILTER (WHERE type = 'tool'), 0) AS tool_calls,
            coalesce(sum(sign) FILTER (WHERE status = 'error'), 0) AS errors,
            coalesce(sum(sign * input_tokens) FILTER (WHERE counted), 0) AS input_tokens,
            coalesce(sum(sign * output_tokens) FILTER (WHERE counted), 0) AS output_tokens,
            coalesce(sum(sign * cost) FILTER (WHERE counted), 0) AS cost,
            coalesce(sum(sign) FILTER (WHERE counted AND cost IS NULL), 0) AS unpriced
        FROM (SELECT 1 AS sign, added.* FROM added_spans added UNION ALL SELECT -1 AS sign, removed.* FROM removed_spans removed) AS change GROUP BY execution_id
    ) d
    WHERE e.id = d.execution_id AND (d.model_calls, d.tool_calls, d.errors, d.input_tokens,
        d.output_tokens, d.cost, d.unpriced) IS DISTINCT FROM (0, 0, 0, 0, 0, 0, 0);
    INSERT INTO "kodosumi".model_use AS m (execution_id, model, provider, calls, input_tokens,
        output_tokens, cached_tokens, reasoning_tokens, cost, unpriced)
    SELECT execution_id, coalesce(model, ''), coalesce(provider, ''), sum(sign),
        coalesce(sum(sign * input_tokens), 0), coalesce(sum(sign * output_tokens), 0),
        coalesce(sum(sign * cached_tokens), 0), coalesce(sum(sign * reasoning_tokens), 0),
        coalesce(sum(sign * cost), 0), coalesce(sum(sign) FILTER (WHERE cost IS NULL), 0)
    FROM (SELECT 1 AS sign, added.* FROM added_spans added UNION ALL SELECT -1 AS sign, removed.* FROM removed_spans removed) AS change WHERE counted
    GROUP BY 1, 2, 3
    ON CONFLICT (execution_id, model, provider) DO UPDATE SET
        calls = m.calls + excluded.calls,
        input_tokens = m.input_tokens + excluded.input_tokens,
        output_tokens = m.output_tokens + excluded.output_tokens,
        cached_tokens = m.cached_tokens + excluded.cached_tokens,
        reasoning_tokens = m.reasoning_tokens + excluded.reasoning_tokens,
        cost = m.cost + excluded.cost,
        unpriced = m.unpriced + excluded.unpriced;
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.add_new_spans() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE "kodosumi".execution e SET
        model_calls = e.model_calls + d.model_calls,
        tool_calls = e.tool_calls + d.tool_calls,
        span_errors = e.span_errors + d.errors,
        input_tokens = e.input_tokens + d.input_tokens,
        output_tokens = e.output_tokens + d.output_tokens,
        cost = e.cost + d.cost,
        unpriced_calls = e.unpriced_calls + d.unpriced,
        changed = pg_current_xact_id()::text::bigint
    FROM (
        SELECT execution_id,
            coalesce(sum(sign) FILTER (WHERE type IN ('llm', 'embedding') AND NOT repeated), 0)
                AS model_calls,
            coalesce(sum(sign) FILTER (WHERE type = 'tool'), 0) AS tool_calls,
            coalesce(sum(sign) FILTER (WHERE status = 'error'), 0) AS errors,
            coalesce(sum(sign * input_tokens) FILTER (WHERE counted), 0) AS input_tokens,
            coalesce(sum(sign * output_tokens) FILTER (WHERE counted), 0) AS output_tokens,
            coalesce(sum(sign * cost) FILTER (WHERE counted), 0) AS cost,
            coalesce(sum(sign) FILTER (WHERE counted AND cost IS NULL), 0) AS unpriced
        FROM (SELECT 1 AS sign, added.* FROM added_spans added) AS change GROUP BY execution_id
    ) d
    WHERE e.id = d.execution_id AND (d.model_calls, d.tool_calls, d.errors, d.input_tokens,
        d.output_tokens, d.cost, d.unpriced) IS DISTINCT FROM (0, 0, 0, 0, 0, 0, 0);
    INSERT INTO "kodosumi".model_use AS m (execution_id, model, provider, calls, input_tokens,
        output_tokens, cached_tokens, reasoning_tokens, cost, unpriced)
    SELECT execution_id, coalesce(model, ''), coalesce(provider, ''), sum(sign),
        coalesce(sum(sign * input_tokens), 0), coalesce(sum(sign * output_tokens), 0),
        coalesce(sum(sign * cached_tokens), 0), coalesce(sum(sign * reasoning_tokens), 0),
        coalesce(sum(sign * cost), 0), coalesce(sum(sign) FILTER (WHERE cost IS NULL), 0)
    FROM (SELECT 1 AS sign, added.* FROM added_spans added) AS change WHERE counted
    GROUP BY 1, 2, 3
    ON CONFLICT (execution_id, model, provider) DO UPDATE SET
        calls = m.calls + excluded.calls,
        input_tokens = m.input_tokens + excluded.input_tokens,
        output_tokens = m.output_tokens + excluded.output_tokens,
        cached_tokens = m.cached_tokens + excluded.cached_tokens,
        reasoning_tokens = m.reasoning_tokens + excluded.reasoning_tokens,
        cost = m.cost + excluded.cost,
        unpriced = m.unpriced + excluded.unpriced;
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.bound_header() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF octet_length(NEW.app_url) > 1000 THEN
        NEW.app_url := left(NEW.app_url, 250);
    END IF;
    IF octet_length(NEW.flow_name) > 800 THEN
        NEW.flow_name := left(NEW.flow_name, 200);
    END IF;
    IF octet_length(NEW.owner) > 600 THEN
        -- Told apart from others that begin alike: owners see what is theirs.
        NEW.owner := left(NEW.owner, 100) || '~'
            || encode(sha256(convert_to(NEW.owner, 'UTF8')), 'hex');
    END IF;
    RETURN NEW;
END
$$;
CREATE FUNCTION kodosumi.budget_standing(id_ bigint, OUT state text, OUT per text, OUT unit text, OUT spent numeric, OUT allowed numeric) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM "kodosumi".budget) THEN
        state := 'free';
        RETURN;
    END IF;
    PERFORM "kodosumi".weigh_budgets(id_);
    SELECT CASE WHEN m.over_at IS NULL THEN 'near'
            WHEN m.at_limit = 'ask' AND m.refused_at IS NULL THEN 'asking' ELSE 'spent' END,
        m.per, m.unit, m.spent, m.allowed
    INTO state, per, unit, spent, allowed
    FROM "kodosumi".budget_mark m, "kodosumi".budget_rules r
    WHERE m.execution_id = id_ AND m.near_at IS NOT NULL
        AND m.day IN ('-infinity', (now() AT TIME ZONE r.zone)::date)
    ORDER BY m.over_at IS NULL, m.at_limit = 'ask' AND m.refused_at IS NULL,
        m.spent / nullif(m.allowed, 0) DESC LIMIT 1;
    state := coalesce(state, 'within');
END $$;
CREATE FUNCTION kodosumi.calls_open(id_ bigint) RETURNS integer
    LANGUAGE sql STABLE
    AS $$
    SELECT count(*)::integer FROM "kodosumi".span
    WHERE execution_id = id_ AND type IN ('llm', 'embedding') AND end_seq IS NULL
        AND attempt >= (SELECT attempt FROM "kodosumi".execution WHERE id = id_)
$$;
CREATE FUNCTION kodosumi.cost_of(provider_ text, model_ text, input_ bigint, output_ bigint, cached_ bigint) RETURNS numeric
    LANGUAGE sql STABLE
    AS $$
    SELECT ((coalesce(input_, 0) - c.cached) * p.input + c.cached * coalesce(p.cached, p.input)
        + CASE WHEN coalesce(output_, 0) = 0 THEN 0 ELSE output_ * p.output END) / 1000000
    FROM "kodosumi".model_price p,
        LATERAL (SELECT least(coalesce(cached_, 0), coalesce(input_, 0)) AS cached) c
    WHERE p.provider = coalesce(provider_, '') AND p.model = model_
        AND p.above < coalesce(input_, 0)
    ORDER BY p.above DESC LIMIT 1
$$;
CREATE FUNCTION kodosumi.cost_of(provider_ text, model_ text, input_ bigint, output_ bigint, cached_ bigint, written_ bigint) RETURNS numeric
    LANGUAGE sql STABLE
    AS $$
    SELECT ((coalesce(input_, 0) - c.cached - w.written) * p.input
        + c.cached * coalesce(p.cached, p.input) + w.written * coalesce(p.written, p.input)
        + CASE WHEN coalesce(output_, 0) = 0 THEN 0 ELSE output_ * p.output END) / 1000000
    FROM "kodosumi".model_price p,
        LATERAL (SELECT least(coalesce(cached_, 0), coalesce(input_, 0)) AS cached) c,
        LATERAL (SELECT least(coalesce(written_, 0), coalesce(input_, 0) - c.cached) AS written) w
    WHERE p.provider = coalesce(provider_, '') AND p.model = model_
        AND p.above < coalesce(input_, 0)
    ORDER BY p.above DESC LIMIT 1
$$;
CREATE FUNCTION kodosumi.deliver_word(id_ bigint, kind_ text, execution_ bigint, owner_ text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    INSERT INTO "kodosumi".webhook_delivery (outbox_id, webhook_id, execution_id)
    SELECT id_, w.id, execution_ FROM "kodosumi".webhook w JOIN "kodosumi".role r ON r.id = w.role_id
    WHERE w.active AND r.active AND kind_ = ANY (w.kinds)
        AND CASE WHEN w.everyone THEN r.operator ELSE r.id::text = owner_ OR EXISTS (
            SELECT FROM "kodosumi".outbox o
            JOIN "kodosumi".lock l ON l.execution_id = o.execution_id AND l.lid = o.lid
            WHERE o.id = id_ AND "kodosumi".is_asked(l.asked, l.handed_on, owner_, r.id::text)) END
    ON CONFLICT DO NOTHING
$$;
CREATE FUNCTION kodosumi.drop_content() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO "kodosumi".dropped_content (key) VALUES (OLD.key) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.drop_empty_partition(part text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '300ms'
    AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('"kodosumi".event', 0));
    -- Waits for writers and readers of all partitions, so it gives up soon.
    LOCK TABLE "kodosumi".event IN ACCESS EXCLUSIVE MODE;
    IF part NOT IN (SELECT "kodosumi".empty_partitions()) THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE "kodosumi".%I', part);
    RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN false;
END
$$;
CREATE FUNCTION kodosumi.empty_partitions() RETURNS SETOF text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    width CONSTANT bigint := 1000;
    newest bigint := coalesce(pg_sequence_last_value(
        pg_get_serial_sequence('"kodosumi".execution', 'id')::regclass), 0);
    part record;
    holds boolean;
BEGIN
    FOR part IN
        SELECT c.relname::text AS name, substring(c.relname FROM '^event_([0-9]+)$')::bigint AS nth
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = '"kodosumi".event'::regclass ORDER BY 2
    LOOP
        -- The newest partitions get executions yet, maybe of transactions under way.
        CONTINUE WHEN part.nth IS NULL OR (part.nth + 2) * width > newest;
        CONTINUE WHEN EXISTS (SELECT FROM "kodosumi".execution
            WHERE id >= part.nth * width AND id < (part.nth + 1) * width);
        EXECUTE format('SELECT EXISTS (SELECT FROM "kodosumi".%I)', part.name) INTO holds;
        CONTINUE WHEN holds;
        RETURN NEXT part.name;
    END LOOP;
END
$_$;
CREATE FUNCTION kodosumi.ensure_partition(wanted bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    width CONSTANT bigint := 1000;
    low bigint := (wanted / width) * width;
    part text := 'event_' || (wanted / width);
BEGIN
    IF to_regclass('"kodosumi".' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('"kodosumi".event', 0));
    IF to_regclass('"kodosumi".' || part) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Made aside and attached: that waits for no reader or writer of the other partitions.
    EXECUTE format('CREATE TABLE "kodosumi".%I (LIKE "kodosumi".event INCLUDING ALL, '
        'CONSTRAINT range CHECK (execution_id >= %s AND execution_id < %s))',
        part, low, low + width);
    EXECUTE format('ALTER TABLE "kodosumi".event ATTACH PARTITION "kodosumi".%I '
        'FOR VALUES FROM (%s) TO (%s)', part, low, low + width);
    EXECUTE format('ALTER TABLE "kodosumi".%I DROP CONSTRAINT range', part);
END
$$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE kodosumi.role (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    email text,
    active boolean DEFAULT true NOT NULL,
    operator boolean DEFAULT false NOT NULL,
    password text,
    epoch integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE kodosumi.team (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE kodosumi.team_member (
    team_id uuid NOT NULL,
    role_id uuid NOT NULL
);
CREATE FUNCTION kodosumi.people_of(reference text, owner text) RETURNS TABLE(id text, name text)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT (r.id)::text AS id,
     r.name
    FROM kodosumi.role r
   WHERE (r.active AND
         CASE
             WHEN (people_of.reference = 'owner'::text) THEN ((r.id)::text = people_of.owner)
             WHEN (people_of.reference ~~ 'team:%'::text) THEN (r.id IN ( SELECT m.role_id
                FROM (kodosumi.team_member m
                  JOIN kodosumi.team t ON ((t.id = m.team_id)))
               WHERE (lower(t.name) = substr(people_of.reference, 6))))
             WHEN (people_of.reference ~~ '@%'::text) THEN ((r.id)::text = substr(people_of.reference, 2))
             ELSE (lower(r.name) = people_of.reference)
         END);
END;
CREATE FUNCTION kodosumi.falls_to(asked text[], owner text, account text) RETURNS boolean
    LANGUAGE sql STABLE
    RETURN ((owner = account) AND (EXISTS (SELECT FROM unnest(falls_to.asked) one(reference) WHERE ((one.reference <> 'owner'::text) AND (NOT (EXISTS (SELECT FROM kodosumi.people_of(one.reference, falls_to.owner) people_of(id, name))))))));
CREATE FUNCTION kodosumi.visible(owner text, viewer text, unowned boolean) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN ((viewer IS NULL) OR (owner = viewer) OR ((owner IS NULL) AND unowned));
CREATE TABLE kodosumi.listing (
    execution_id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    owner text,
    flow_name text,
    status text NOT NULL,
    archived boolean NOT NULL,
    words tsvector NOT NULL
);
CREATE FUNCTION kodosumi.filtered_listing(viewer text, unowned boolean, of_owner text, one_status text, statuses text[], flow text, since double precision, until double precision, search tsquery) RETURNS SETOF kodosumi.listing
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT l.execution_id,
     l.created_at,
     l.owner,
     l.flow_name,
     l.status,
     l.archived,
     l.words
    FROM kodosumi.listing l
   WHERE ((NOT l.archived) AND kodosumi.visible(l.owner, "left"(filtered_listing.viewer, 200), filtered_listing.unowned) AND ((filtered_listing.of_owner IS NULL) OR (l.owner = "left"(filtered_listing.of_owner, 200))) AND ((filtered_listing.one_status IS NULL) OR (l.status = filtered_listing.one_status)) AND ((filtered_listing.statuses IS NULL) OR (l.status = ANY (filtered_listing.statuses))) AND ((filtered_listing.flow IS NULL) OR (l.flow_name = "left"(filtered_listing.flow, 200))) AND ((filtered_listing.since IS NULL) OR (l.created_at >= to_timestamp(filtered_listing.since))) AND ((filtered_listing.until IS NULL) OR (l.created_at < to_timestamp(filtered_listing.until))) AND ((filtered_listing.search IS NULL) OR (l.words @@ filtered_listing.search)));
END;
CREATE FUNCTION kodosumi.follow_spending() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO "kodosumi".spending AS known
        (execution_id, day, owner, service, flow, dollars, tokens)
    SELECT NEW.id, (now() AT TIME ZONE r.zone)::date, NEW.owner,
        coalesce(NEW.app_url, NEW.flow_name, ''), NEW.flow_name, NEW.cost - OLD.cost,
        NEW.input_tokens + NEW.output_tokens - OLD.input_tokens - OLD.output_tokens
    FROM "kodosumi".budget_rules r
    ON CONFLICT (execution_id, day) DO UPDATE SET owner = coalesce(excluded.owner, known.owner),
        service = excluded.service, flow = excluded.flow,
        dollars = known.dollars + excluded.dollars, tokens = known.tokens + excluded.tokens;
    PERFORM "kodosumi".weigh_budgets(NEW.id);
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.forget_audit(age double precision, most integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    gone integer;
BEGIN
    -- Also for somebody who has taken over a role that may call this.
    IF age IS NULL OR age = 'NaN' OR age < 7 * 86400 THEN
        RAISE EXCEPTION 'what was recorded within 7 days is kept'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM set_config('kodosumi.forgets_audit', 'on', true);
    DELETE FROM "kodosumi".audit WHERE id IN (
        SELECT id FROM "kodosumi".audit WHERE at < now() - make_interval(secs => age)
        ORDER BY at LIMIT most);
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('kodosumi.forgets_audit', '', true);
    RETURN gone;
END
$$;
CREATE FUNCTION kodosumi.is_named(asked text[], handed_on text[], owner text, account text, names text[]) RETURNS boolean
    LANGUAGE sql STABLE
    RETURN CASE WHEN (account IS NULL) THEN false WHEN (asked IS NULL) THEN COALESCE((owner = account), false) ELSE ((account <> ALL (handed_on)) AND ((asked && names) OR ((NOT (owner IS DISTINCT FROM account)) AND ('owner'::text = ANY (asked))))) END;
CREATE FUNCTION kodosumi.references_to(account text) RETURNS text[]
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT ARRAY( SELECT ('@'::text || (r.id)::text)
            FROM kodosumi.role r
           WHERE (((r.id)::text = references_to.account) AND r.active)
         UNION ALL
          SELECT lower(r.name) AS lower
            FROM kodosumi.role r
           WHERE (((r.id)::text = references_to.account) AND r.active AND (NOT (lower(r.name) = 'owner'::text)) AND (NOT (r.name ~~* ANY (ARRAY['team:%'::text, '@%'::text]))))
         UNION ALL
          SELECT ('team:'::text || lower(t.name))
            FROM ((kodosumi.role r
              JOIN kodosumi.team_member m ON ((m.role_id = r.id)))
              JOIN kodosumi.team t ON ((t.id = m.team_id)))
           WHERE (((r.id)::text = references_to.account) AND r.active)) AS "array";
END;
CREATE FUNCTION kodosumi.is_asked(asked text[], handed_on text[], owner text, account text) RETURNS boolean
    LANGUAGE sql STABLE
    RETURN (kodosumi.is_named(asked, handed_on, owner, account, kodosumi.references_to(account)) OR COALESCE(kodosumi.falls_to(asked, owner, account), false));
CREATE FUNCTION kodosumi.keep_audit() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('kodosumi.forgets_audit', true) = 'on'
        AND current_user = (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID)
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'rows of "kodosumi".audit are only added; retention alone deletes old ones'
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE FUNCTION kodosumi.list_execution() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO "kodosumi".listing AS l
    VALUES (NEW.id, NEW.created_at, left(NEW.owner, 200), left(NEW.flow_name, 200), NEW.status,
        NEW.archived_at IS NOT NULL, "kodosumi".searched(NEW))
    ON CONFLICT (execution_id) DO UPDATE SET owner = excluded.owner,
        flow_name = excluded.flow_name, status = excluded.status, archived = excluded.archived,
        created_at = excluded.created_at, words = excluded.words;
    RETURN NULL;
END
$$;
CREATE FUNCTION kodosumi.mark_budget(id_ bigint, per_ text, unit_ text, day_ date, spent_ numeric, allowed_ numeric, at_limit_ text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE "kodosumi".budget_mark m SET spent = spent_, allowed = allowed_ + m.granted,
        at_limit = at_limit_,
        near_at = CASE WHEN spent_ >= 0.8 * (allowed_ + m.granted) THEN coalesce(m.near_at, now())
            WHEN m.near_told THEN m.near_at END,
        over_at = CASE WHEN spent_ >= allowed_ + m.granted THEN coalesce(m.over_at, now()) END,
        calls_open = CASE WHEN spent_ >= allowed_ + m.granted
            THEN coalesce(m.calls_open, "kodosumi".calls_open(id_)) END
    WHERE m.execution_id = id_ AND m.per = per_ AND m.unit = unit_ AND m.day = day_;
    IF NOT FOUND AND spent_ >= 0.8 * allowed_ THEN
        INSERT INTO "kodosumi".budget_mark (execution_id, per, unit, day, spent, allowed, at_limit,
            near_at, over_at, calls_open)
        VALUES (id_, per_, unit_, day_, spent_, allowed_, at_limit_, now(),
            CASE WHEN spent_ >= allowed_ THEN now() END,
            CASE WHEN spent_ >= allowed_ THEN "kodosumi".calls_open(id_) END)
        ON CONFLICT DO NOTHING;
    END IF;
END $$;
CREATE FUNCTION kodosumi.mark_changed_lock() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    NEW.changed = pg_current_xact_id()::text::bigint;
    RETURN NEW;
END
$$;
CREATE FUNCTION kodosumi.mark_locks_asked(names text[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    UPDATE "kodosumi".lock l SET changed = pg_current_xact_id()::text::bigint
    FROM (SELECT execution_id, lid FROM "kodosumi".lock WHERE state = 'open' AND asked && names
        FOR NO KEY UPDATE SKIP LOCKED) o
    WHERE l.execution_id = o.execution_id AND l.lid = o.lid
$$;
CREATE FUNCTION kodosumi.mark_locks_of_member() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM "kodosumi".mark_locks_asked(array(
        SELECT 'team:' || lower(t.name) FROM "kodosumi".team t WHERE t.id = NEW.team_id));
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.mark_locks_of_role() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM "kodosumi".mark_locks_asked("kodosumi".references_to(NEW.id::text));
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.mark_locks_of_team() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM "kodosumi".mark_locks_asked(array['team:' || lower(NEW.name)]);
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.order_execution() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO "kodosumi".listing_order
    SELECT 
    e.id, coalesce(e.started_at, e.created_at), e.started_at IS NOT NULL, left(e.owner, 200),
    left(e.flow_name, 200), left(nullif(e.deployment_name, ''), 200),
    CASE WHEN e.status = 'error' AND e.state_type = 'CANCELLED' THEN 'cancelled' ELSE e.status END,
    e.archived_at IS NOT NULL,
    CASE WHEN e.ended_at > e.started_at THEN extract(epoch FROM e.ended_at - e.started_at)::float8
        WHEN e.ended_at <= e.started_at THEN 0 END,
    left(lower(coalesce(nullif(e.summary, ''), e.flow_name, e.entry_point, e.fid::text)), 200)
 FROM (SELECT NEW.*) AS e
    
    ON CONFLICT (execution_id) DO UPDATE SET began = excluded.began, started = excluded.started,
        owner = excluded.owner, flow_name = excluded.flow_name, deployment = excluded.deployment,
        status = excluded.status, archived = excluded.archived, seconds = excluded.seconds,
        title = excluded.title
;
    RETURN NULL;
END
$$;
CREATE TABLE kodosumi.listing_order (
    execution_id bigint NOT NULL,
    began timestamp with time zone NOT NULL,
    started boolean NOT NULL,
    owner text,
    flow_name text,
    deployment text,
    status text NOT NULL,
    archived boolean NOT NULL,
    seconds double precision,
    title text NOT NULL
);
CREATE FUNCTION kodosumi.ordered_listing(viewer text, unowned boolean, of_owner text, statuses text[], flow text, of_deployment text, since double precision, until double precision, search tsquery) RETURNS SETOF kodosumi.listing_order
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT l.execution_id,
     l.began,
     l.started,
     l.owner,
     l.flow_name,
     l.deployment,
     l.status,
     l.archived,
     l.seconds,
     l.title
    FROM (kodosumi.listing_order l
      LEFT JOIN kodosumi.listing w ON ((w.execution_id = l.execution_id)))
   WHERE ((NOT l.archived) AND kodosumi.visible(l.owner, "left"(ordered_listing.viewer, 200), ordered_listing.unowned) AND ((ordered_listing.of_owner IS NULL) OR (l.owner = "left"(ordered_listing.of_owner, 200))) AND ((ordered_listing.statuses IS NULL) OR (l.status = ANY (ordered_listing.statuses))) AND ((ordered_listing.flow IS NULL) OR (l.flow_name = "left"(ordered_listing.flow, 200))) AND ((ordered_listing.of_deployment IS NULL) OR (l.deployment = "left"(ordered_listing.of_deployment, 200))) AND ((ordered_listing.since IS NULL) OR (l.began >= to_timestamp(ordered_listing.since))) AND ((ordered_listing.until IS NULL) OR (l.began < to_timestamp(ordered_listing.until))) AND ((ordered_listing.search IS NULL) OR (w.words @@ ordered_listing.search)));
END;
CREATE FUNCTION kodosumi.price_changed_spans() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM added_spans WHERE cost IS NULL AND model IS NOT NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    INSERT INTO "kodosumi".model_price (provider, model)
    SELECT DISTINCT coalesce(s.provider, ''), s.model FROM added_spans s
    WHERE cost IS NULL AND model IS NOT NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL AND NOT EXISTS (SELECT FROM "kodosumi".model_price p
        WHERE p.provider = coalesce(s.provider, '') AND p.model = s.model)
    ORDER BY 1, 2 ON CONFLICT DO NOTHING;
    UPDATE "kodosumi".span s SET cost = n.cost, priced = true
    FROM (SELECT execution_id, id, "kodosumi".cost_of(provider, model, input_tokens, output_tokens,
            cached_tokens, written_tokens) AS cost
        FROM added_spans WHERE cost IS NULL AND model IS NOT NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL) n
    WHERE s.execution_id = n.execution_id AND s.id = n.id AND s.cost IS NULL
        AND n.cost IS NOT NULL;
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.price_new_spans() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM added_spans WHERE cost IS NULL AND model IS NOT NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    INSERT INTO "kodosumi".model_price (provider, model)
    SELECT DISTINCT coalesce(s.provider, ''), s.model FROM added_spans s
    WHERE cost IS NULL AND model IS NOT NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL AND NOT EXISTS (SELECT FROM "kodosumi".model_price p
        WHERE p.provider = coalesce(s.provider, '') AND p.model = s.model)
    ORDER BY 1, 2 ON CONFLICT DO NOTHING;
    UPDATE "kodosumi".span s SET cost = n.cost, priced = true
    FROM (SELECT execution_id, id, "kodosumi".cost_of(provider, model, input_tokens, output_tokens,
            cached_tokens, written_tokens) AS cost
        FROM added_spans WHERE cost IS NULL AND model IS NOT NULL AND coalesce(input_tokens, output_tokens) IS NOT NULL) n
    WHERE s.execution_id = n.execution_id AND s.id = n.id AND s.cost IS NULL
        AND n.cost IS NOT NULL;
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.resume_settled() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE "kodosumi".execution SET resume_at = now()
    WHERE id = NEW.execution_id AND suspended_leg IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TABLE kodosumi.execution (
    id bigint NOT NULL,
    fid uuid NOT NULL,
    owner text,
    flow_name text,
    deployment_id uuid,
    entry_point text,
    app_url text,
    summary text,
    description text,
    tags text[],
    author text,
    organization text,
    version text,
    deprecated boolean,
    status text DEFAULT 'starting'::text NOT NULL,
    state_type text,
    state_name text,
    state_ts timestamp with time zone,
    attempt integer DEFAULT 0 NOT NULL,
    inputs text,
    final text,
    final_attempt integer,
    error text,
    open_locks integer DEFAULT 0 NOT NULL,
    progress text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seq bigint DEFAULT 0 NOT NULL,
    ended_seq bigint,
    heartbeat_at timestamp with time zone,
    archived_at timestamp with time zone,
    process jsonb,
    changed bigint DEFAULT ((pg_current_xact_id())::text)::bigint NOT NULL,
    work_pool text,
    schedule_id uuid,
    again_of uuid,
    run_name text,
    deployment_name text,
    files integer DEFAULT 0 NOT NULL,
    file_bytes bigint DEFAULT 0 NOT NULL,
    model_calls integer DEFAULT 0 NOT NULL,
    tool_calls integer DEFAULT 0 NOT NULL,
    span_errors integer DEFAULT 0 NOT NULL,
    input_tokens bigint DEFAULT 0 NOT NULL,
    output_tokens bigint DEFAULT 0 NOT NULL,
    cost numeric DEFAULT 0 NOT NULL,
    unpriced_calls integer DEFAULT 0 NOT NULL,
    contents_until bigint DEFAULT 0 NOT NULL,
    suspended_leg integer,
    resume_at timestamp with time zone,
    suspended_code text,
    CONSTRAINT execution_status_check CHECK ((status = ANY (ARRAY['starting'::text, 'running'::text, 'awaiting'::text, 'finished'::text, 'error'::text])))
)
WITH (fillfactor='70');
CREATE FUNCTION kodosumi.searched(e kodosumi.execution) RETURNS tsvector
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT array_to_tsvector(
        "kodosumi".words_of(concat_ws(' ', e.fid::text, e.status, left(e.flow_name, 1000),
            left(e.summary, 2000), left(e.owner, 200),
            left(array_to_string(e.tags, ' '), 2000), left(e.run_name, 500), left(e.deployment_name, 500),
            regexp_replace(left(e.inputs, 4000), '\\[nrt]', ' ', 'g')))
        || ARRAY(SELECT E'\x01t' || left(tag, 200) FROM unnest(e.tags[1:100]) AS tag
            WHERE tag IS NOT NULL)
        || CASE WHEN e.owner IS NULL THEN '{}' ELSE ARRAY[E'\x01o' || left(e.owner, 200)] END)
$$;
CREATE FUNCTION kodosumi.set_lock_deadline() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.deadline := now() + least(NEW.expires_at - NEW.opened_at, interval '100 years');
    RETURN NEW;
END $$;
CREATE FUNCTION kodosumi.stamp_audit() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    NEW.at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE FUNCTION kodosumi.tell(kind_ text, execution_ bigint, key_ text, lid_ text, facts_ jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    wanted boolean;
    added bigint;
    owner_ text;
    fid_ uuid;
BEGIN
    SELECT prefect_events INTO wanted FROM "kodosumi".outbox_rules;
    IF NOT wanted AND NOT EXISTS (
        SELECT FROM "kodosumi".webhook w WHERE w.active AND kind_ = ANY (w.kinds)
    ) THEN
        RETURN;
    END IF;
    SELECT e.owner, e.fid INTO owner_, fid_ FROM "kodosumi".execution e WHERE e.id = execution_;
    INSERT INTO "kodosumi".outbox (uid, kind, execution_id, lid, facts, for_prefect)
    VALUES (md5(concat_ws(' ', fid_, kind_, key_))::uuid, kind_, execution_, lid_, facts_, wanted)
    ON CONFLICT (uid) DO NOTHING RETURNING id INTO added;
    IF added IS NOT NULL THEN
        PERFORM "kodosumi".deliver_word(added, kind_, execution_, owner_);
    END IF;
END $$;
CREATE FUNCTION kodosumi.tell_asked() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM "kodosumi".deliver_word(o.id, o.kind, o.execution_id, e.owner)
    FROM "kodosumi".outbox o JOIN "kodosumi".execution e ON e.id = o.execution_id
    WHERE o.execution_id = NEW.execution_id AND o.lid = NEW.lid AND o.kind = 'lock.opened';
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.tell_of_budget() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM "kodosumi".tell('execution.over-budget', NEW.execution_id,
        concat_ws(' ', NEW.per, NEW.unit, NEW.day, NEW.allowed), NULL,
        jsonb_build_object('per', NEW.per, 'unit', NEW.unit, 'spent', NEW.spent,
            'allowed', NEW.allowed, 'at_limit', NEW.at_limit));
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.tell_of_end() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM "kodosumi".tell('execution.' || CASE WHEN NEW.status = 'finished' THEN 'finished'
            WHEN NEW.state_type = 'CANCELLED' THEN 'cancelled'
            WHEN NEW.state_type = 'CRASHED' THEN 'crashed' ELSE 'failed' END,
        NEW.id, NEW.attempt::text, NULL,
        jsonb_build_object('attempt', NEW.attempt, 'state', NEW.state_name));
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.tell_of_lock() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM "kodosumi".tell('lock.' || CASE NEW.state WHEN 'open' THEN 'opened'
            WHEN 'leased' THEN 'answered' ELSE 'expired' END,
        NEW.execution_id, NEW.lid, NEW.lid, jsonb_build_object('attempt', NEW.attempt));
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.tell_of_step() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM "kodosumi".tell('lock.reminded', NEW.execution_id,
        concat_ws(' ', NEW.lid, NEW.id), NEW.lid,
        jsonb_build_object('step', NEW.step, 'number', NEW.number));
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.tell_owner() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM "kodosumi".deliver_word(o.id, o.kind, NEW.id, NEW.owner)
    FROM "kodosumi".outbox o WHERE o.execution_id = NEW.id ORDER BY o.id;
    RETURN NULL;
END $$;
CREATE FUNCTION kodosumi.weigh_budgets(id_ bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    rules "kodosumi".budget_rules;
    e record;
    b "kodosumi".budget;
    key text;
    today date;
    day_ date;
    dollars_ numeric;
    tokens_ numeric;
    in_money text;
BEGIN
    IF NOT EXISTS (SELECT FROM "kodosumi".budget) THEN
        RETURN;
    END IF;
    SELECT * INTO rules FROM "kodosumi".budget_rules;
    today := (now() AT TIME ZONE rules.zone)::date;
    SELECT x.owner, coalesce(x.app_url, x.flow_name, '') AS service, x.flow_name AS flow, x.cost,
        x.input_tokens + x.output_tokens AS tokens, x.unpriced_calls
    INTO e FROM "kodosumi".execution x WHERE x.id = id_;
    FOR b IN
        SELECT DISTINCT ON (per) * FROM "kodosumi".budget
        WHERE per = 'all' OR (per IN ('run', 'service') AND name IN ('', e.service, e.flow))
            OR (per = 'owner' AND e.owner IS NOT NULL AND name IN ('', e.owner))
        ORDER BY per, name DESC
    LOOP
        day_ := CASE WHEN b.per = 'run' THEN '-infinity'::date ELSE today END;
        IF b.per = 'run' THEN
            dollars_ := e.cost; tokens_ := e.tokens;
        ELSIF b.per = 'owner' THEN
            SELECT coalesce(sum(s.dollars), 0), coalesce(sum(s.tokens), 0) INTO dollars_, tokens_
            FROM "kodosumi".spending s WHERE s.day = today AND s.owner = e.owner;
        ELSIF b.per = 'service' THEN
            key := CASE WHEN b.name = '' THEN e.service ELSE b.name END;
            SELECT coalesce(sum(s.dollars), 0), coalesce(sum(s.tokens), 0) INTO dollars_, tokens_
            FROM "kodosumi".spending s WHERE s.day = today AND (s.service = key OR s.flow = key);
        ELSE
            SELECT coalesce(sum(s.dollars), 0), coalesce(sum(s.tokens), 0) INTO dollars_, tokens_
            FROM "kodosumi".spending s WHERE s.day = today;
        END IF;
        IF b.dollars IS NOT NULL THEN
            in_money := b.at_limit;
            PERFORM "kodosumi".mark_budget(id_, b.per, 'dollars', day_, dollars_, b.dollars,
                b.at_limit);
        END IF;
        IF b.tokens IS NOT NULL THEN
            PERFORM "kodosumi".mark_budget(id_, b.per, 'tokens', day_, tokens_, b.tokens, b.at_limit);
        END IF;
    END LOOP;
    IF in_money IS NULL OR e.unpriced_calls = 0 THEN
        RETURN;
    END IF;
    -- What is being looked up, or is known by now and being filled in, is not unknown.
    SELECT coalesce(sum(m.input_tokens + m.output_tokens), 0) INTO tokens_
    FROM "kodosumi".model_use m
    WHERE m.execution_id = id_ AND m.unpriced > 0 AND NOT EXISTS (
        SELECT FROM "kodosumi".model_price p WHERE p.provider = m.provider AND p.model = m.model
            AND (p.input IS NOT NULL
                OR (p.looked_up_at IS NULL AND p.asked_at > now() - interval '30 s')));
    IF tokens_ > 0 THEN
        PERFORM "kodosumi".mark_budget(id_, 'run', 'unpriced', '-infinity', tokens_,
            CASE WHEN rules.unpriced = 'tokens' THEN rules.unpriced_tokens ELSE 0 END,
            CASE WHEN rules.unpriced = 'tokens' THEN in_money ELSE rules.unpriced END);
    END IF;
END $$;
CREATE FUNCTION kodosumi.words_of(said text) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
    SELECT coalesce(array_agg(DISTINCT left(word, 100)), '{}') FROM unnest(string_to_array(
        translate(lower(said),
            E'\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15'
            '\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'
            '\u00a0\u00ab\u00bb\u2013\u2014\u2018\u2019\u201a\u201c\u201d\u201e\u2026\u2400'
            '\u3000\u3001\u3002',
            repeat(' ', 100)), ' ')) AS word
    WHERE word <> ''
$_$;
CREATE TABLE kodosumi.api_key (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    role_id uuid NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    used_at timestamp with time zone,
    revoked_at timestamp with time zone
);
CREATE TABLE kodosumi.audit (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL,
    actor_id text,
    actor_name text,
    means text,
    key_id text,
    key_name text,
    address text,
    user_agent text,
    target_kind text,
    target_id text,
    target_name text,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT audit_outcome_check CHECK ((outcome = ANY (ARRAY['ok'::text, 'refused'::text, 'failed'::text])))
);
ALTER TABLE kodosumi.audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kodosumi.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kodosumi.budget (
    per text NOT NULL,
    name text DEFAULT ''::text NOT NULL,
    dollars numeric,
    tokens bigint,
    at_limit text DEFAULT 'stop'::text NOT NULL,
    source text DEFAULT 'operator'::text NOT NULL,
    CONSTRAINT budget_at_limit_check CHECK ((at_limit = ANY (ARRAY['stop'::text, 'ask'::text]))),
    CONSTRAINT budget_per_check CHECK ((per = ANY (ARRAY['run'::text, 'service'::text, 'owner'::text, 'all'::text])))
);
CREATE TABLE kodosumi.budget_mark (
    execution_id bigint NOT NULL,
    per text NOT NULL,
    unit text NOT NULL,
    day date NOT NULL,
    spent numeric NOT NULL,
    allowed numeric NOT NULL,
    granted numeric DEFAULT 0 NOT NULL,
    at_limit text NOT NULL,
    calls_open integer,
    near_at timestamp with time zone,
    over_at timestamp with time zone,
    near_told boolean DEFAULT false NOT NULL,
    over_told boolean DEFAULT false NOT NULL,
    lid text,
    refused_at timestamp with time zone,
    stopped_at timestamp with time zone
);
CREATE TABLE kodosumi.budget_rules (
    only_row boolean DEFAULT true NOT NULL,
    zone text DEFAULT 'UTC'::text NOT NULL,
    unpriced text DEFAULT 'tokens'::text NOT NULL,
    unpriced_tokens bigint DEFAULT 1000000 NOT NULL,
    CONSTRAINT budget_rules_only_row_check CHECK (only_row),
    CONSTRAINT budget_rules_unpriced_check CHECK ((unpriced = ANY (ARRAY['stop'::text, 'ask'::text, 'tokens'::text])))
);
CREATE TABLE kodosumi.deleted (
    fid uuid NOT NULL,
    changed bigint DEFAULT ((pg_current_xact_id())::text)::bigint NOT NULL,
    deleted_at timestamp with time zone DEFAULT now() NOT NULL,
    owner text
);
CREATE TABLE kodosumi.dropped_content (
    key text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE kodosumi.ended_session (
    id text NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
CREATE TABLE kodosumi.endpoint (
    uid text NOT NULL,
    source_id bigint NOT NULL,
    method text NOT NULL,
    url text NOT NULL,
    target text,
    base_url text,
    deployment_id uuid,
    summary text,
    description text,
    deprecated boolean DEFAULT false NOT NULL,
    author text,
    organization text,
    version text,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    reachable boolean DEFAULT true NOT NULL,
    found_at timestamp with time zone DEFAULT now() NOT NULL,
    gone_at timestamp with time zone
);
CREATE TABLE kodosumi.event (
    execution_id bigint NOT NULL,
    seq bigint NOT NULL,
    ts timestamp with time zone NOT NULL,
    kind text NOT NULL,
    payload text NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    source jsonb
)
PARTITION BY RANGE (execution_id);
CREATE TABLE kodosumi.event_0 (
    execution_id bigint CONSTRAINT event_execution_id_not_null NOT NULL,
    seq bigint CONSTRAINT event_seq_not_null NOT NULL,
    ts timestamp with time zone CONSTRAINT event_ts_not_null NOT NULL,
    kind text CONSTRAINT event_kind_not_null NOT NULL,
    payload text CONSTRAINT event_payload_not_null NOT NULL,
    attempt integer DEFAULT 0 CONSTRAINT event_attempt_not_null NOT NULL,
    source jsonb
);
ALTER TABLE kodosumi.execution ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kodosumi.execution_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kodosumi.favourite (
    owner text NOT NULL,
    endpoint_uid text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE kodosumi.file (
    execution_id bigint NOT NULL,
    direction text NOT NULL,
    comparable text NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    media_type text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    attempt integer NOT NULL,
    task_run text,
    node text,
    CONSTRAINT file_direction_check CHECK ((direction = ANY (ARRAY['in'::text, 'out'::text])))
);
CREATE TABLE kodosumi.file_storage (
    one boolean DEFAULT true NOT NULL,
    identity text NOT NULL,
    url text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT file_storage_one_check CHECK (one)
);
CREATE TABLE kodosumi.hooks_run (
    fid uuid NOT NULL,
    attempt integer NOT NULL,
    claimed_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE kodosumi.instance (
    singleton boolean DEFAULT true NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    oldest_writer integer NOT NULL,
    CONSTRAINT instance_singleton_check CHECK (singleton)
);
CREATE TABLE kodosumi.kept_result (
    execution_id bigint NOT NULL,
    attempt integer NOT NULL,
    place text NOT NULL,
    series text NOT NULL,
    ordinal integer NOT NULL,
    path text NOT NULL,
    name text NOT NULL,
    arguments text,
    outcome text,
    content bytea,
    obstacle text
);
ALTER TABLE ONLY kodosumi.kept_result ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE TABLE kodosumi.launch_key (
    owner text NOT NULL,
    endpoint text NOT NULL,
    key text NOT NULL,
    body bytea NOT NULL,
    launch_id uuid NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    claimed_until timestamp with time zone,
    lost boolean DEFAULT false NOT NULL,
    answer bytea,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE kodosumi.lock (
    execution_id bigint NOT NULL,
    lid text NOT NULL,
    name text NOT NULL,
    attempt integer NOT NULL,
    data text,
    elements text,
    state text DEFAULT 'open'::text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    result text,
    answered_by text,
    answered_at timestamp with time zone,
    title text,
    question text,
    asked text[],
    handed_on text[] DEFAULT '{}'::text[] NOT NULL,
    quorum integer DEFAULT 1 NOT NULL,
    on_expiry text,
    link boolean DEFAULT false NOT NULL,
    deadline timestamp with time zone,
    changed bigint DEFAULT 0 NOT NULL,
    CONSTRAINT lock_state_check CHECK ((state = ANY (ARRAY['open'::text, 'leased'::text, 'expired'::text, 'void'::text])))
);
CREATE TABLE kodosumi.lock_link (
    hash text NOT NULL,
    execution_id bigint NOT NULL,
    lid text NOT NULL,
    account text,
    recipient text NOT NULL,
    code_hash text,
    wrong_codes integer DEFAULT 0 NOT NULL,
    made_by text,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    used_at timestamp with time zone,
    revoked_at timestamp with time zone
);
CREATE TABLE kodosumi.lock_plan (
    execution_id bigint NOT NULL,
    lid text NOT NULL,
    step text NOT NULL,
    number integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone NOT NULL,
    recipients text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT lock_plan_step_check CHECK ((step = ANY (ARRAY['asked'::text, 'reminded'::text, 'escalated'::text])))
);
CREATE TABLE kodosumi.lock_step (
    id bigint NOT NULL,
    execution_id bigint NOT NULL,
    lid text NOT NULL,
    step text NOT NULL,
    number integer DEFAULT 0 NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    who text,
    who_name text,
    means text,
    recipients text[] DEFAULT '{}'::text[] NOT NULL,
    reached text[] DEFAULT '{}'::text[] NOT NULL,
    result text,
    visible_result text,
    CONSTRAINT lock_step_step_check CHECK ((step = ANY (ARRAY['asked'::text, 'reminded'::text, 'escalated'::text, 'delegated'::text, 'answered'::text])))
);
ALTER TABLE kodosumi.lock_step ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kodosumi.lock_step_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kodosumi.login_failure (
    key text NOT NULL,
    failures integer NOT NULL,
    failed_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE kodosumi.model_price (
    provider text NOT NULL,
    model text NOT NULL,
    above bigint DEFAULT '-1'::integer NOT NULL,
    input numeric,
    output numeric,
    cached numeric,
    source text,
    asked_at timestamp with time zone DEFAULT now() NOT NULL,
    looked_up_at timestamp with time zone,
    written numeric
);
CREATE TABLE kodosumi.model_use (
    execution_id bigint NOT NULL,
    model text NOT NULL,
    provider text NOT NULL,
    calls bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost numeric NOT NULL,
    unpriced bigint NOT NULL
);
CREATE TABLE kodosumi.outbox (
    id bigint NOT NULL,
    uid uuid NOT NULL,
    kind text NOT NULL,
    occurred_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    execution_id bigint,
    lid text,
    owner text,
    facts jsonb DEFAULT '{}'::jsonb NOT NULL,
    for_prefect boolean NOT NULL,
    emitted_at timestamp with time zone
);
ALTER TABLE kodosumi.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kodosumi.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kodosumi.outbox_rules (
    only_row boolean DEFAULT true NOT NULL,
    prefect_events boolean DEFAULT false NOT NULL,
    CONSTRAINT outbox_rules_only_row_check CHECK (only_row)
);
CREATE TABLE kodosumi.payload (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    fid uuid,
    inputs text,
    secrets bytea,
    kept boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    types text
);
CREATE TABLE kodosumi.replay (
    execution_id bigint NOT NULL,
    attempt integer NOT NULL,
    leg integer NOT NULL,
    source text NOT NULL,
    seq bigint NOT NULL,
    misses integer NOT NULL
);
CREATE TABLE kodosumi.replay_notice (
    flow text NOT NULL,
    noticed_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE kodosumi.runner (
    fid uuid NOT NULL,
    attempt integer NOT NULL,
    actor_name text,
    node text,
    pid integer,
    worker text,
    lease_until timestamp with time zone,
    namespace text,
    pool text,
    state text DEFAULT 'starting'::text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    leg integer DEFAULT 0 NOT NULL,
    CONSTRAINT runner_state_check CHECK ((state = ANY (ARRAY['starting'::text, 'running'::text])))
);
CREATE TABLE kodosumi.saved_view (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    owner text NOT NULL,
    name text NOT NULL,
    query text NOT NULL,
    shared boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE kodosumi.schedule (
    id uuid NOT NULL,
    deployment_id uuid NOT NULL,
    endpoint_uid text,
    owner text,
    summary text,
    parameters text,
    payload_id uuid,
    paused_because text,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE kodosumi.schema_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE kodosumi.seen (
    execution_id bigint NOT NULL,
    dedupe_key text NOT NULL
);
CREATE TABLE kodosumi.service (
    kind text NOT NULL,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    info jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT service_kind_check CHECK ((kind = ANY (ARRAY['spooler'::text, 'worker'::text, 'observer'::text])))
)
WITH (fillfactor='70');
CREATE TABLE kodosumi.silence (
    schedule_id uuid NOT NULL,
    sort text NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT silence_sort_check CHECK ((sort = ANY (ARRAY['no_run'::text, 'no_success'::text])))
);
CREATE TABLE kodosumi.source (
    id bigint NOT NULL,
    url text NOT NULL,
    kind text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    checked_at timestamp with time zone,
    reached_at timestamp with time zone,
    trouble text,
    CONSTRAINT source_kind_check CHECK ((kind = ANY (ARRAY['openapi'::text, 'routes'::text, 'mounted'::text, 'prefect'::text])))
);
ALTER TABLE kodosumi.source ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kodosumi.source_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kodosumi.span (
    execution_id bigint NOT NULL,
    id text NOT NULL,
    parent text,
    name text NOT NULL,
    type text NOT NULL,
    attempt integer NOT NULL,
    task_run text,
    began_at timestamp with time zone,
    ended_at timestamp with time zone,
    status text,
    model text,
    provider text,
    response text,
    input_tokens bigint,
    output_tokens bigint,
    cached_tokens bigint,
    reasoning_tokens bigint,
    cost numeric,
    error text,
    begin_seq bigint,
    end_seq bigint,
    used_below boolean DEFAULT false NOT NULL,
    repeated boolean DEFAULT false NOT NULL,
    first_seq bigint GENERATED ALWAYS AS (LEAST(begin_seq, end_seq)) STORED,
    used boolean GENERATED ALWAYS AS ((COALESCE((input_tokens)::numeric, (output_tokens)::numeric, cost) IS NOT NULL)) STORED,
    counted boolean GENERATED ALWAYS AS (((COALESCE((input_tokens)::numeric, (output_tokens)::numeric, cost) IS NOT NULL) AND (NOT used_below) AND (NOT repeated))) STORED,
    priced boolean DEFAULT false NOT NULL,
    leg integer DEFAULT 0 NOT NULL,
    again boolean DEFAULT false NOT NULL,
    written_tokens bigint
);
CREATE TABLE kodosumi.spending (
    execution_id bigint NOT NULL,
    day date NOT NULL,
    owner text,
    service text NOT NULL,
    flow text,
    dollars numeric NOT NULL,
    tokens bigint NOT NULL
);
CREATE TABLE kodosumi.upload (
    id uuid NOT NULL,
    batch uuid NOT NULL,
    path text NOT NULL,
    comparable text NOT NULL,
    chunks integer NOT NULL,
    media_type text NOT NULL,
    key text,
    size bigint,
    sha256 text,
    declared_size bigint,
    declared_sha256 text,
    refused text
);
CREATE TABLE kodosumi.upload_batch (
    id uuid NOT NULL,
    owner text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    touched_at timestamp with time zone DEFAULT now() NOT NULL,
    fid uuid,
    schedule text,
    answer text
);
CREATE TABLE kodosumi.upload_chunk (
    upload uuid NOT NULL,
    number integer NOT NULL,
    key text NOT NULL,
    size bigint NOT NULL,
    sha256 text NOT NULL
);
CREATE TABLE kodosumi.utilisation (
    at timestamp with time zone NOT NULL,
    figures jsonb NOT NULL
);
CREATE TABLE kodosumi.webhook (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    role_id uuid NOT NULL,
    name text NOT NULL,
    url text NOT NULL,
    kinds text[] NOT NULL,
    everyone boolean DEFAULT false NOT NULL,
    with_data boolean DEFAULT false NOT NULL,
    secret bytea NOT NULL,
    old_secret bytea,
    old_until timestamp with time zone,
    active boolean DEFAULT true NOT NULL,
    paused_because text,
    failures integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    with_links boolean DEFAULT false NOT NULL
);
CREATE TABLE kodosumi.webhook_delivery (
    id bigint NOT NULL,
    outbox_id bigint NOT NULL,
    webhook_id uuid NOT NULL,
    execution_id bigint,
    state text DEFAULT 'waiting'::text NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    next_at timestamp with time zone DEFAULT now() NOT NULL,
    sending boolean DEFAULT false NOT NULL,
    began_at timestamp with time zone,
    ended_at timestamp with time zone,
    status integer,
    trouble text,
    CONSTRAINT webhook_delivery_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'delivered'::text, 'set_aside'::text])))
);
ALTER TABLE kodosumi.webhook_delivery ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kodosumi.webhook_delivery_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE kodosumi.writer (
    execution_id bigint NOT NULL,
    writer_id uuid NOT NULL,
    last_batch bigint NOT NULL
)
WITH (fillfactor='70');
ALTER TABLE ONLY kodosumi.event ATTACH PARTITION kodosumi.event_0 FOR VALUES FROM ('0') TO ('1000');
INSERT INTO kodosumi.api_key VALUES ('a315bbf1-a189-4cb4-ad41-614de7c7b0f5', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'nightly', 'kp_jd5BOMYt', '\xbc91fde210a6b7682e95829599842f9da166af9a0dbefeb680c33a599f04e8ed', '2026-11-30 21:37:24.337801+00', NULL, NULL, NULL);
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-30 21:37:23.747204+00', 'account_create', 'ok', NULL, NULL, 'start', NULL, NULL, NULL, NULL, 'account', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', '{"operator": true}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-30 21:37:24.258668+00', 'account_create', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'account', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'operator', '{"operator": true}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (3, '2026-11-30 21:37:24.312105+00', 'sign_in', 'ok', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'operator', 'password', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', NULL, NULL, NULL, '{}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (4, '2026-11-30 21:37:24.34259+00', 'key_create', 'ok', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'operator', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'key', 'a315bbf1-a189-4cb4-ad41-614de7c7b0f5', 'nightly', '{}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (5, '2026-11-30 21:37:24.356841+00', 'account_create', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'account', '977fc9df-08ce-42d6-ba05-6e7a9db40575', 'mira', '{"operator": false}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (6, '2026-11-30 21:37:24.374018+00', 'account_create', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'account', '908b1faa-c9b9-4a0c-be57-f20130462b88', 'ann', '{"operator": false}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (7, '2026-11-30 21:37:24.399599+00', 'team_create', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'team', '32fc73c4-ec63-437c-900b-639a00254d04', 'legal', '{"members": ["mira"]}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (8, '2026-11-30 21:37:24.412664+00', 'team_create', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'team', '99216f8a-26cf-4e0c-b2cc-2d41bdbc0cd2', 'lead', '{"members": ["operator"]}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (9, '2026-11-30 21:37:24.424988+00', 'webhook_create', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'webhook', 'ecbad375-dc54-46f7-9fa7-aea24ee8f294', 'everything', '{"url": "https://example.org/hook", "kinds": ["lock.opened", "lock.answered", "execution.finished"], "everyone": true, "with_data": true, "with_links": false}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (10, '2026-11-30 21:37:24.962629+00', 'budget_set', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'budget', 'run', NULL, '{"tokens": null, "dollars": 5.0, "at_limit": "stop"}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (11, '2026-11-30 21:37:24.995364+00', 'budget_set', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'budget', 'all', NULL, '{"tokens": null, "dollars": 100.0, "at_limit": "stop"}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (12, '2026-11-30 21:37:25.201472+00', 'source_register', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'source', 'http://127.0.0.1:43453/openapi.json', NULL, '{}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (13, '2026-11-30 21:37:25.579568+00', 'lock_answer', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'lock', '009315a1-b22f-48eb-883a-829779e2fc59', NULL, '{"fid": "62f8b3ad-8638-455f-bee8-345543e1a324"}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (14, '2026-11-30 21:37:27.849241+00', 'lock_answer', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'lock', 'cff37bed-3cbf-5c98-9dbe-fd4540423f25', NULL, '{"fid": "76158192-75a7-4489-b1a0-0bb0fd14c021"}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (15, '2026-11-30 21:37:29.019281+00', 'link_create', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'lock', '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', NULL, '{"fid": "76158192-75a7-4489-b1a0-0bb0fd14c021", "code": false, "recipient": "Jane of Legal"}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (16, '2026-11-30 21:37:29.060101+00', 'lock_delegate', 'ok', '977fc9df-08ce-42d6-ba05-6e7a9db40575', 'mira', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'lock', '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', NULL, '{"to": "ann", "fid": "76158192-75a7-4489-b1a0-0bb0fd14c021"}');
INSERT INTO kodosumi.audit OVERRIDING SYSTEM VALUE VALUES (17, '2026-11-30 21:37:29.098404+00', 'link_create', 'ok', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', NULL, NULL, '127.0.0.1', 'python-httpx/0.28.1', 'lock', '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', NULL, '{"fid": "76158192-75a7-4489-b1a0-0bb0fd14c021", "code": false, "recipient": "Joan of Legal"}');
INSERT INTO kodosumi.budget VALUES ('run', '', 5, NULL, 'stop', 'operator');
INSERT INTO kodosumi.budget VALUES ('all', '', 100, NULL, 'stop', 'operator');
INSERT INTO kodosumi.budget_rules VALUES (true, 'UTC', 'tokens', 1000000);
INSERT INTO kodosumi.endpoint VALUES ('d7c27dcd8e45104ff198617c0cba60b5', 2, 'GET', '/-/127.0.0.1/43453/-/', 'http://127.0.0.1:43453/', 'http://127.0.0.1:43453', NULL, 'A report of before', NULL, false, NULL, NULL, NULL, '{}', true, '2026-11-30 21:37:25.185934+00', NULL);
INSERT INTO kodosumi.event_0 VALUES (1, 1, '2026-09-21 14:13:20+00', 'status', 'starting', 1, '{"state": {"id": "00000000-0000-4000-8000-000000000001", "name": "Pending", "type": "PENDING", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (1, 2, '2026-09-21 14:13:20+00', 'inputs', '{"dict": {"days": 7}}', 0, NULL);
INSERT INTO kodosumi.event_0 VALUES (1, 3, '2026-09-21 14:13:21+00', 'status', 'running', 1, '{"state": {"id": "00000000-0000-4000-8000-000000000002", "name": "Running", "type": "RUNNING", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (1, 4, '2026-09-21 14:13:22+00', 'stdout', 'a line of before', 0, NULL);
INSERT INTO kodosumi.event_0 VALUES (1, 5, '2026-09-21 14:13:23+00', 'final', '{"str": "all is well"}', 0, NULL);
INSERT INTO kodosumi.event_0 VALUES (1, 6, '2026-09-21 14:13:24+00', 'status', 'finished', 1, '{"state": {"id": "00000000-0000-4000-8000-000000000003", "name": "Completed", "type": "COMPLETED", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (2, 1, '2026-09-21 14:13:30+00', 'status', 'starting', 1, '{"state": {"id": "00000000-0000-4000-8000-000000000004", "name": "Pending", "type": "PENDING", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (2, 2, '2026-09-21 14:13:31+00', 'status', 'running', 1, '{"state": {"id": "00000000-0000-4000-8000-000000000005", "name": "Running", "type": "RUNNING", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (2, 3, '2026-09-21 14:13:32+00', 'lock', '{"dict": {"name": "approve", "lid": "00000000-0000-4000-8000-0000000000dd", "data": {"draft": 1}, "expires": 2690000000.0, "elements": [{"type": "submit", "text": "Approve"}]}}', 1, NULL);
INSERT INTO kodosumi.event_0 VALUES (2, 4, '2026-09-21 14:13:32+00', 'status', 'awaiting', 1, '{"by": "locks"}');
INSERT INTO kodosumi.event_0 VALUES (3, 1, '2026-11-30 21:37:25.464215+00', 'status', 'starting', 1, NULL);
INSERT INTO kodosumi.event_0 VALUES (3, 2, '2026-11-30 21:37:25.46427+00', 'inputs', '{"dict": {"days": 1}}', 1, NULL);
INSERT INTO kodosumi.event_0 VALUES (3, 3, '2026-11-30 21:37:25.464285+00', 'meta', '{"dict": {"fid": "62f8b3ad-8638-455f-bee8-345543e1a324"}}', 1, NULL);
INSERT INTO kodosumi.event_0 VALUES (3, 4, '2026-11-30 21:37:25.514367+00', 'status', 'running', 1, '{"state": {"id": "d9717b4b-f1cd-4aff-afd7-f63b4f915f4d", "name": "Running", "type": "RUNNING", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (3, 5, '2026-11-30 21:37:25.521031+00', 'lock', '{"dict": {"name": "rate", "lid": "009315a1-b22f-48eb-883a-829779e2fc59", "data": null, "expires": 2690000000.0, "elements": [{"type": "text", "name": "stars"}]}}', 1, NULL);
INSERT INTO kodosumi.event_0 VALUES (3, 6, '2026-11-30 21:37:25.521031+00', 'status', 'awaiting', 1, '{"by": "locks"}');
INSERT INTO kodosumi.event_0 VALUES (3, 7, '2026-11-30 21:37:25.558644+00', 'lease', '{"dict": {"name": "rate", "lid": "009315a1-b22f-48eb-883a-829779e2fc59", "result": {"stars": "5"}}}', 1, '{"answered_by": {"id": "219053ce-03aa-45fa-b554-f9f25f84b19a", "name": "admin"}}');
INSERT INTO kodosumi.event_0 VALUES (3, 8, '2026-11-30 21:37:25.558644+00', 'status', 'running', 1, '{"by": "locks"}');
INSERT INTO kodosumi.event_0 VALUES (3, 9, '2026-11-30 21:37:25.582412+00', 'final', '{"str": "done"}', 1, NULL);
INSERT INTO kodosumi.event_0 VALUES (3, 10, '2026-11-30 21:37:25.593027+00', 'status', 'finished', 1, '{"state": {"id": "353c86fa-d0a5-45eb-998d-e48a917e2f5e", "name": "Completed", "type": "COMPLETED", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (4, 1, '2026-11-30 21:37:26.774764+00', 'status', 'starting', 1, NULL);
INSERT INTO kodosumi.event_0 VALUES (4, 2, '2026-11-30 21:37:26.774764+00', 'inputs', '{"dict": {"topic": "ships"}}', 1, NULL);
INSERT INTO kodosumi.event_0 VALUES (4, 3, '2026-11-30 21:37:26.774764+00', 'meta', '{"dict": {"fid": "76158192-75a7-4489-b1a0-0bb0fd14c021", "username": null, "app_url": null, "panel_url": "https://panel.example.org", "entry_point": "tests.upgrade.suspended_flow:contract", "tags": [], "summary": "A contract of before", "description": null, "deprecated": false, "author": null, "organization": null, "version": "6e87f643adddcc11c37f7f865abadd73", "kodosumi": "0.2.0"}}', 1, NULL);
INSERT INTO kodosumi.event_0 VALUES (4, 4, '2026-11-30 21:37:26.807353+00', 'status', 'running', 1, '{"pid": 6927, "node": "vm", "state": {"id": "01a22e64-2c33-7b7e-9072-f4b288d01644", "name": "Running", "type": "RUNNING", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (4, 5, '2026-11-30 21:37:26.950969+00', 'stdout', 'written before it was suspended', 1, '{"pid": 6927, "node": "vm"}');
INSERT INTO kodosumi.event_0 VALUES (4, 6, '2026-11-30 21:37:26.987376+00', 'span', '{"Span":{"at":"begin","id":"ec692fab9b30555d","name":"read it","type":"llm","model":"model-of-before","provider":"before"}}', 1, '{"pid": 6927, "node": "vm"}');
INSERT INTO kodosumi.event_0 VALUES (4, 7, '2026-11-30 21:37:26.987481+00', 'span', '{"Span":{"at":"end","id":"ec692fab9b30555d","status":"ok","began":1796074646.9873347,"model":"model-of-before","provider":"before","usage":{"input":800,"output":200},"output":"it is good","input":"a draft about ships"}}', 1, '{"pid": 6927, "node": "vm"}');
INSERT INTO kodosumi.event_0 VALUES (4, 8, '2026-11-30 21:37:27.00119+00', 'lock', '{"dict": {"name": "credentials", "lid": "cff37bed-3cbf-5c98-9dbe-fd4540423f25", "data": null, "expires": 2696074647.000305, "title": "The secret", "elements": [{"type": "password", "name": "secret", "label": "Secret", "value": null, "required": true, "placeholder": null, "size": null, "pattern": null, "min_length": null, "max_length": null}]}}', 1, '{"pid": 6927, "node": "vm"}');
INSERT INTO kodosumi.event_0 VALUES (4, 9, '2026-11-30 21:37:27.00119+00', 'status', 'awaiting', 1, '{"by": "locks"}');
INSERT INTO kodosumi.event_0 VALUES (4, 10, '2026-11-30 21:37:27.835594+00', 'lease', '{"dict": {"name": "credentials", "lid": "cff37bed-3cbf-5c98-9dbe-fd4540423f25", "result": {"secret": "********"}}}', 1, '{"answered_by": {"id": "219053ce-03aa-45fa-b554-f9f25f84b19a", "name": "admin"}}');
INSERT INTO kodosumi.event_0 VALUES (4, 11, '2026-11-30 21:37:27.835594+00', 'status', 'running', 1, '{"by": "locks"}');
INSERT INTO kodosumi.event_0 VALUES (4, 12, '2026-11-30 21:37:28.51409+00', 'stdout', 'written before it was suspended', 1, '{"leg": 1, "pid": 6927, "node": "vm", "replayed": true}');
INSERT INTO kodosumi.event_0 VALUES (4, 13, '2026-11-30 21:37:28.516546+00', 'span', '{"Span":{"at":"begin","id":"d27d98394f952dbe","name":"read it","type":"llm","model":"model-of-before","provider":"before"}}', 1, '{"leg": 1, "pid": 6927, "node": "vm"}');
INSERT INTO kodosumi.event_0 VALUES (4, 14, '2026-11-30 21:37:28.516639+00', 'span', '{"Span":{"at":"end","id":"d27d98394f952dbe","status":"ok","began":1796074648.5165174,"model":"model-of-before","provider":"before","usage":{"input":800,"output":200},"output":"it is good","input":"a draft about ships"}}', 1, '{"leg": 1, "pid": 6927, "node": "vm"}');
INSERT INTO kodosumi.event_0 VALUES (4, 15, '2026-11-30 21:37:28.54729+00', 'debug', 'this run was suspended and goes on: code outside its tasks runs again from the beginning, and what it says again is folded. Put what must not happen twice into a task (see What runs again in the documentation). This is said once for each flow.', 1, '{"level": "WARNING", "logger": "kodosumi_prefect"}');
INSERT INTO kodosumi.event_0 VALUES (4, 16, '2026-11-30 21:37:28.595226+00', 'lock', '{"dict": {"name": "approve", "lid": "9e529e5f-4d62-5202-bd21-3d3b8ca58a8b", "data": {"draft": "a draft about ships"}, "expires": 2696074648.565303, "title": "May this be sent?", "ask": ["team:legal", "mira"], "remind": [14400.0], "escalate": [{"after": 28800.0, "to": ["team:lead"]}], "on_expiry": {"approved": false, "comment": "nobody answered"}, "link": true, "elements": [{"type": "errors"}, {"type": "boolean", "name": "approved", "label": null, "value": false, "option": "Approved"}, {"type": "text", "name": "comment", "label": "Comment", "value": "", "required": false, "placeholder": null, "size": null, "pattern": null}, {"type": "submit", "text": "Submit"}]}}', 1, '{"leg": 1, "pid": 6927, "node": "vm"}');
INSERT INTO kodosumi.event_0 VALUES (4, 17, '2026-11-30 21:37:28.595226+00', 'status', 'awaiting', 1, '{"by": "locks"}');
INSERT INTO kodosumi.event_0 VALUES (4, 18, '2026-11-30 21:37:29.050289+00', 'debug', 'Question “May this be sent?”: handed on to ann by mira', 1, NULL);
INSERT INTO kodosumi.execution OVERRIDING SYSTEM VALUE VALUES (1, '00000000-0000-4000-8000-000000000001', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'report', '00000000-0000-4000-8000-0000000000cc', 'reports:report', 'http://127.0.0.1:8001', 'A report of before', NULL, '{nightly}', NULL, NULL, NULL, NULL, 'finished', 'COMPLETED', 'Completed', '2026-09-21 14:13:24+00', 1, '{"dict": {"days": 7}}', NULL, NULL, NULL, 0, NULL, '2026-11-30 21:37:25.3617+00', '2026-09-21 14:13:21+00', '2026-09-21 14:13:24+00', '2026-11-30 21:37:25.3617+00', 6, 6, '2026-11-30 21:37:25.3617+00', NULL, NULL, 792, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL);
INSERT INTO kodosumi.execution OVERRIDING SYSTEM VALUE VALUES (3, '62f8b3ad-8638-455f-bee8-345543e1a324', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'some-flow', NULL, NULL, NULL, 'An answered one of before', NULL, NULL, NULL, NULL, NULL, NULL, 'finished', 'COMPLETED', 'Completed', '2026-11-30 21:37:25.59299+00', 1, '{"dict": {"days": 1}}', '{"str": "done"}', 1, NULL, 0, NULL, '2026-11-30 21:37:25.482527+00', '2026-11-30 21:37:25.514311+00', '2026-11-30 21:37:25.59299+00', '2026-11-30 21:37:25.593079+00', 10, 10, '2026-11-30 21:37:25.593079+00', NULL, NULL, 812, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL);
INSERT INTO kodosumi.execution OVERRIDING SYSTEM VALUE VALUES (2, '00000000-0000-4000-8000-000000000002', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'report', '00000000-0000-4000-8000-0000000000cc', 'reports:report', 'http://127.0.0.1:8001', 'A report of before', NULL, '{nightly}', NULL, NULL, NULL, NULL, 'awaiting', 'RUNNING', 'Running', '2026-09-21 14:13:31+00', 1, NULL, NULL, NULL, NULL, 1, NULL, '2026-11-30 21:37:25.406993+00', '2026-09-21 14:13:31+00', NULL, '2026-11-30 21:37:25.406993+00', 4, NULL, '2026-11-30 21:37:25.406993+00', NULL, NULL, 794, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL);
INSERT INTO kodosumi.execution OVERRIDING SYSTEM VALUE VALUES (4, '76158192-75a7-4489-b1a0-0bb0fd14c021', NULL, 'contract-of-before', '7f3c5b8c-0de3-42d5-a61e-09bcb2455776', 'tests.upgrade.suspended_flow:contract', NULL, 'A contract of before', NULL, '{}', NULL, NULL, '6e87f643adddcc11c37f7f865abadd73', false, 'awaiting', 'RUNNING', 'Running', '2026-11-30 21:37:28.364826+00', 1, '{"dict": {"topic": "ships"}}', NULL, NULL, NULL, 1, NULL, '2026-11-30 21:37:26.818434+00', '2026-11-30 21:37:26.579234+00', NULL, '2026-11-30 21:37:29.038045+00', 18, NULL, '2026-11-30 21:37:28.598697+00', NULL, '{"pid": 6927, "host": "vm", "started": 5718064.0}', 850, NULL, NULL, NULL, 'lucky-sheep', NULL, 0, 0, 2, 0, 0, 1600, 400, 0.00640000000000000000, 0, 0, 1, '2055-06-08 13:37:28.568774+00', '{"tests.cheaper": "50e77dad9dd0518e525f80330ec4d5d3", "conftest": "84e932936aeba2019cfd8c4f5bff3c29", "tests.prefect_database": "c015e1c342da648d77816a17ed37685a", "tests.https_receiver": "7f7c43c4e8917c32d4a79ef490e5ab5f", "tests.waiting": "6503e01765324e9a1b61b1c2d0c903a9", "tests.prefect_http": "d0479684718db4628d1433ca4a632f39", "tests.services": "f263d850d8cba25e187d8b6f8829b172", "tests.e2e.running": "4f1c005bb4fec916886c241f6cacd1bf", "tests.e2e.stack": "f6f4a92cb81f8e945b7d36bb012ddfbf", "tests.http_services": "e67ed851a9de86dba0abb5107edd136c", "tests.panel.panel_runs": "a0d74f4b632f9ee0892c17fee587416d", "tests.answering": "c8b004f75bd5b882795b2922ad6f402d", "tests.suspension.conftest": "7cb3980847a1ea2f65bd079688939ee3", "tests.upgrade.suspended_flow": "489cf988cdf3594ed57e983d1aec1a16", "leave_release": "59f1862ccba6da10657c691a30129882"}');
INSERT INTO kodosumi.file_storage VALUES (true, 'f28a91a3-365a-4587-ae02-7ba7ef810a5d', 'file:///tmp/pytest-of-root/pytest-147/test_leave0/files', '2026-11-30 21:37:23.819704+00');
INSERT INTO kodosumi.instance VALUES (true, '8de55ae4-e47f-448f-b7bb-3b198c2d7a3e', 1);
INSERT INTO kodosumi.kept_result VALUES (4, 1, '', 'task:drafted:drafted', 0, '/task:drafted:drafted#0', 'drafted', '{"topic":"5a2707f60b17526d8a264e22"}', 'value', '\x80059517000000000000008c13612064726166742061626f7574207368697073942e', NULL);
INSERT INTO kodosumi.listing VALUES (1, '2026-11-30 21:37:25.3617+00', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'report', 'finished', false, '''ob7c2a96e-ac7a-4af2-9232-6858306cab69'' ''tnightly'' ''0000'' ''00000000'' ''000000000001'' ''4000'' ''4af2'' ''6858306cab69'' ''7'' ''8000'' ''9232'' ''a'' ''ac7a'' ''b7c2a96e'' ''before'' ''days'' ''dict'' ''finished'' ''nightly'' ''of'' ''report''');
INSERT INTO kodosumi.listing VALUES (2, '2026-11-30 21:37:25.406993+00', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'report', 'awaiting', false, '''ob7c2a96e-ac7a-4af2-9232-6858306cab69'' ''tnightly'' ''0000'' ''00000000'' ''000000000002'' ''4000'' ''4af2'' ''6858306cab69'' ''8000'' ''9232'' ''a'' ''ac7a'' ''awaiting'' ''b7c2a96e'' ''before'' ''nightly'' ''of'' ''report''');
INSERT INTO kodosumi.listing VALUES (3, '2026-11-30 21:37:25.482527+00', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'some-flow', 'finished', false, '''ob7c2a96e-ac7a-4af2-9232-6858306cab69'' ''1'' ''345543e1a324'' ''455f'' ''4af2'' ''62f8b3ad'' ''6858306cab69'' ''8638'' ''9232'' ''ac7a'' ''an'' ''answered'' ''b7c2a96e'' ''bee8'' ''before'' ''days'' ''dict'' ''finished'' ''flow'' ''of'' ''one'' ''some''');
INSERT INTO kodosumi.listing VALUES (4, '2026-11-30 21:37:26.818434+00', NULL, 'contract-of-before', 'awaiting', false, '''0bb0fd14c021'' ''4489'' ''75a7'' ''76158192'' ''a'' ''awaiting'' ''b1a0'' ''before'' ''contract'' ''dict'' ''lucky'' ''of'' ''sheep'' ''ships'' ''topic''');
INSERT INTO kodosumi.listing_order VALUES (1, '2026-09-21 14:13:21+00', true, 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'report', NULL, 'finished', false, 3, 'a report of before');
INSERT INTO kodosumi.listing_order VALUES (2, '2026-09-21 14:13:31+00', true, 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'report', NULL, 'awaiting', false, NULL, 'a report of before');
INSERT INTO kodosumi.listing_order VALUES (3, '2026-11-30 21:37:25.514311+00', true, 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'some-flow', NULL, 'finished', false, 0.078679, 'an answered one of before');
INSERT INTO kodosumi.listing_order VALUES (4, '2026-11-30 21:37:26.579234+00', true, NULL, 'contract-of-before', NULL, 'awaiting', false, NULL, 'a contract of before');
INSERT INTO kodosumi.lock VALUES (2, '00000000-0000-4000-8000-0000000000dd', 'approve', 1, '{"draft": 1}', '[{"type": "submit", "text": "Approve"}]', 'open', '2026-09-21 14:13:32+00', '2055-03-30 06:13:20+00', NULL, NULL, NULL, NULL, NULL, NULL, '{}', 1, NULL, false, '2055-06-08 13:37:13.406993+00', 794);
INSERT INTO kodosumi.lock VALUES (3, '009315a1-b22f-48eb-883a-829779e2fc59', 'rate', 1, NULL, '[{"type": "text", "name": "stars"}]', 'leased', '2026-11-30 21:37:25.521031+00', '2055-03-30 06:13:20+00', '{"stars": "5"}', '219053ce-03aa-45fa-b554-f9f25f84b19a', '2026-11-30 21:37:25.552111+00', NULL, NULL, NULL, '{}', 1, NULL, false, '2055-03-30 06:13:20.00008+00', 806);
INSERT INTO kodosumi.lock VALUES (4, 'cff37bed-3cbf-5c98-9dbe-fd4540423f25', 'credentials', 1, NULL, '[{"type": "password", "name": "secret", "label": "Secret", "value": null, "required": true, "placeholder": null, "size": null, "pattern": null, "min_length": null, "max_length": null}]', 'leased', '2026-11-30 21:37:27.00119+00', '2055-06-08 13:37:27.000305+00', 'sealed:gAAAAABrDeyXiXlEzfCsj_zLNp_xACMND01IpELlvq69l-NMQXczbayHDFvbUJ4QIJri1TLJaJE1huj6lP1WbcLqUVO24WSOfvGb23pbs_QVC-dKRWmmpjc=', '219053ce-03aa-45fa-b554-f9f25f84b19a', '2026-11-30 21:37:27.83115+00', 'The secret', NULL, NULL, '{}', 1, NULL, false, '2055-06-08 13:37:27.069996+00', 833);
INSERT INTO kodosumi.lock VALUES (4, '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', 'approve', 1, '{"draft": "a draft about ships"}', '[{"type": "errors"}, {"type": "boolean", "name": "approved", "label": null, "value": false, "option": "Approved"}, {"type": "text", "name": "comment", "label": "Comment", "value": "", "required": false, "placeholder": null, "size": null, "pattern": null}, {"type": "submit", "text": "Submit"}]', 'open', '2026-11-30 21:37:28.595226+00', '2055-06-08 13:37:28.565303+00', NULL, NULL, NULL, 'May this be sent?', NULL, '{team:legal,@908b1faa-c9b9-4a0c-be57-f20130462b88}', '{977fc9df-08ce-42d6-ba05-6e7a9db40575}', 1, '{"approved": false, "comment": "nobody answered"}', true, '2055-06-08 13:37:28.568774+00', 858);
INSERT INTO kodosumi.lock_link VALUES ('d4b90a12322ec138e88945de51cc416f925870d01e955582314c83cc2c507e95', 4, '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', NULL, 'Jane of Legal', NULL, 0, '219053ce-03aa-45fa-b554-f9f25f84b19a', '2026-11-30 21:37:29.007625+00', NULL, '2026-11-30 21:37:29.038045+00');
INSERT INTO kodosumi.lock_link VALUES ('c0146ba45b2d4da90e2e4428920cc5cf28cb67aa6af9906dc05823a6ac4bfa54', 4, '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', NULL, 'Joan of Legal', NULL, 0, '219053ce-03aa-45fa-b554-f9f25f84b19a', '2026-11-30 21:37:29.07837+00', NULL, NULL);
INSERT INTO kodosumi.lock_plan VALUES (4, '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', 'asked', 0, '2026-11-30 21:37:28.598697+00', '{team:legal,mira}');
INSERT INTO kodosumi.lock_plan VALUES (4, '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', 'reminded', 0, '2026-12-01 01:37:28.598697+00', '{}');
INSERT INTO kodosumi.lock_plan VALUES (4, '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', 'escalated', 0, '2026-12-01 05:37:28.598697+00', '{team:lead}');
INSERT INTO kodosumi.lock_step OVERRIDING SYSTEM VALUE VALUES (1, 3, '009315a1-b22f-48eb-883a-829779e2fc59', 'answered', 0, '2026-11-30 21:37:25.552111+00', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', '{}', '{}', NULL, NULL);
INSERT INTO kodosumi.lock_step OVERRIDING SYSTEM VALUE VALUES (2, 4, 'cff37bed-3cbf-5c98-9dbe-fd4540423f25', 'answered', 0, '2026-11-30 21:37:27.83115+00', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', 'session', '{}', '{}', NULL, NULL);
INSERT INTO kodosumi.lock_step OVERRIDING SYSTEM VALUE VALUES (3, 4, '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', 'delegated', 0, '2026-11-30 21:37:29.038045+00', '977fc9df-08ce-42d6-ba05-6e7a9db40575', 'mira', 'session', '{ann}', '{ann}', NULL, NULL);
INSERT INTO kodosumi.login_failure VALUES ('address 127.0.0.1', 0, '2026-11-30 21:37:24.30319+00');
INSERT INTO kodosumi.model_price VALUES ('before', 'model-of-before', 0, 2, 8, NULL, 'tests', '2026-11-30 21:37:25.64805+00', '2026-11-30 21:37:25.64805+00', NULL);
INSERT INTO kodosumi.model_use VALUES (4, 'model-of-before', 'before', 2, 1600, 400, 0, 0, 0.00640000000000000000, 0);
INSERT INTO kodosumi.outbox OVERRIDING SYSTEM VALUE VALUES (1, '66de9a9c-d6fb-6b7f-0b86-e998967ca3db', 'execution.finished', '2026-11-30 21:37:25.39669+00', 1, NULL, NULL, '{"state": "Completed", "attempt": 1}', false, NULL);
INSERT INTO kodosumi.outbox OVERRIDING SYSTEM VALUE VALUES (2, 'be3b0a3a-8bbc-ccae-cd76-70f6ea09142a', 'lock.opened', '2026-11-30 21:37:25.428519+00', 2, '00000000-0000-4000-8000-0000000000dd', NULL, '{"attempt": 1}', false, NULL);
INSERT INTO kodosumi.outbox OVERRIDING SYSTEM VALUE VALUES (3, '81e2462d-b039-5d00-b89e-87e7a25f350e', 'lock.opened', '2026-11-30 21:37:25.53224+00', 3, '009315a1-b22f-48eb-883a-829779e2fc59', NULL, '{"attempt": 1}', false, NULL);
INSERT INTO kodosumi.outbox OVERRIDING SYSTEM VALUE VALUES (4, 'dec94454-f5ca-1698-2b1a-674ce1e20a63', 'lock.answered', '2026-11-30 21:37:25.568074+00', 3, '009315a1-b22f-48eb-883a-829779e2fc59', NULL, '{"attempt": 1}', false, NULL);
INSERT INTO kodosumi.outbox OVERRIDING SYSTEM VALUE VALUES (5, '8b2b3d7e-adad-e18e-5802-2f66f97d8f8c', 'execution.finished', '2026-11-30 21:37:25.596696+00', 3, NULL, NULL, '{"state": "Completed", "attempt": 1}', false, NULL);
INSERT INTO kodosumi.outbox OVERRIDING SYSTEM VALUE VALUES (6, '394dac77-2eda-2acf-9a22-5f7031c82ae7', 'lock.opened', '2026-11-30 21:37:27.098782+00', 4, 'cff37bed-3cbf-5c98-9dbe-fd4540423f25', NULL, '{"attempt": 1}', false, NULL);
INSERT INTO kodosumi.outbox OVERRIDING SYSTEM VALUE VALUES (7, '08a3dce3-26e8-f2a9-5310-52d303a76d41', 'lock.answered', '2026-11-30 21:37:27.839888+00', 4, 'cff37bed-3cbf-5c98-9dbe-fd4540423f25', NULL, '{"attempt": 1}', false, NULL);
INSERT INTO kodosumi.outbox OVERRIDING SYSTEM VALUE VALUES (8, '7bab55a5-5315-18f1-0a42-d9679250104b', 'lock.opened', '2026-11-30 21:37:28.603495+00', 4, '9e529e5f-4d62-5202-bd21-3d3b8ca58a8b', NULL, '{"attempt": 1}', false, NULL);
INSERT INTO kodosumi.outbox_rules VALUES (true, false);
INSERT INTO kodosumi.payload VALUES ('69d014b1-954b-4227-a4b7-3125793b8aef', NULL, NULL, '\x6741414141414272446579562d6d4f684643757337575738715f514d6f66664a50696d4e564d352d774874494e4952454150326b794f44366739527a684e4d6b475362706e4d45785459557336677a6f6461554d47533866757a5f526a617a777244664b346e4a4132735f6b536c59485261486756354b5f3134737348446f774a6e7a7a52376e7231496b2d', true, '2026-11-30 21:37:25.457967+00', NULL);
INSERT INTO kodosumi.replay VALUES (4, 1, 1, '/', 5, 51);
INSERT INTO kodosumi.replay_notice VALUES ('contract-of-before', '2026-11-30 21:37:28.519552+00');
INSERT INTO kodosumi.role VALUES ('219053ce-03aa-45fa-b554-f9f25f84b19a', 'admin', NULL, true, true, '$argon2id$v=19$m=8,t=1,p=1$+I1+Oag4Fs7LX2IXxGwS/g$8JijcAt3ZpAM+bDakPybKpTWBdtcsgZAe0hkbP4TXqQ', 0, '2026-11-30 21:37:23.738103+00', '2026-11-30 21:37:23.738103+00');
INSERT INTO kodosumi.role VALUES ('b7c2a96e-ac7a-4af2-9232-6858306cab69', 'operator', NULL, true, true, '$argon2id$v=19$m=8,t=1,p=1$eXT9IHwHQ5U4KKn5Wghtpw$jhjn6++1p1GXpSCvwYuuhDoOKJjBrDBca6VZaasTqSY', 0, '2026-11-30 21:37:24.246042+00', '2026-11-30 21:37:24.246042+00');
INSERT INTO kodosumi.role VALUES ('977fc9df-08ce-42d6-ba05-6e7a9db40575', 'mira', NULL, true, false, NULL, 0, '2026-11-30 21:37:24.352982+00', '2026-11-30 21:37:24.352982+00');
INSERT INTO kodosumi.role VALUES ('908b1faa-c9b9-4a0c-be57-f20130462b88', 'ann', NULL, true, false, NULL, 0, '2026-11-30 21:37:24.371966+00', '2026-11-30 21:37:24.371966+00');
INSERT INTO kodosumi.schedule VALUES ('00000000-0000-4000-8000-0000000000bb', '00000000-0000-4000-8000-0000000000cc', 'cccb2f177cc8bcb25b8c25ef71bad21b', 'b7c2a96e-ac7a-4af2-9232-6858306cab69', 'A report of before', '{"entry_point": "reports:report", "inputs": {"days": 7, "password": "********"}, "launch": {"flow": "reports", "summary": "A report", "path": [], "payload": "69d014b1-954b-4227-a4b7-3125793b8aef", "scheduled": true}}', '69d014b1-954b-4227-a4b7-3125793b8aef', NULL, '2026-11-30 21:37:25.46194+00');
INSERT INTO kodosumi.schema_version VALUES ('0029');
INSERT INTO kodosumi.seen VALUES (1, 'state:00000000-0000-4000-8000-000000000001');
INSERT INTO kodosumi.seen VALUES (1, 'state:00000000-0000-4000-8000-000000000002');
INSERT INTO kodosumi.seen VALUES (1, 'state:00000000-0000-4000-8000-000000000003');
INSERT INTO kodosumi.seen VALUES (2, 'state:00000000-0000-4000-8000-000000000004');
INSERT INTO kodosumi.seen VALUES (2, 'state:00000000-0000-4000-8000-000000000005');
INSERT INTO kodosumi.seen VALUES (4, 'open:status');
INSERT INTO kodosumi.seen VALUES (4, 'open:inputs');
INSERT INTO kodosumi.seen VALUES (4, 'open:meta');
INSERT INTO kodosumi.seen VALUES (4, 'state:01a22e64-2c33-7b7e-9072-f4b288d01644');
INSERT INTO kodosumi.seen VALUES (4, 'lock:cff37bed-3cbf-5c98-9dbe-fd4540423f25');
INSERT INTO kodosumi.seen VALUES (4, 'state:01a22e64-332c-79b6-a5e0-8e56ebcaab79');
INSERT INTO kodosumi.seen VALUES (4, 'lock:9e529e5f-4d62-5202-bd21-3d3b8ca58a8b');
INSERT INTO kodosumi.source OVERRIDING SYSTEM VALUE VALUES (1, 'prefect', 'prefect', '2026-11-30 21:37:23.826534+00', '2026-11-30 21:37:23.832862+00', '2026-11-30 21:37:24.295255+00', NULL);
INSERT INTO kodosumi.source OVERRIDING SYSTEM VALUE VALUES (2, 'http://127.0.0.1:43453/openapi.json', 'openapi', '2026-11-30 21:37:25.161067+00', '2026-11-30 21:37:25.164841+00', '2026-11-30 21:37:25.185934+00', NULL);
INSERT INTO kodosumi.span VALUES (4, 'ec692fab9b30555d', NULL, 'read it', 'llm', 1, NULL, '2026-11-30 21:37:26.987376+00', '2026-11-30 21:37:26.987481+00', 'ok', 'model-of-before', 'before', NULL, 800, 200, NULL, NULL, 0.00320000000000000000, NULL, 6, 7, false, false, DEFAULT, DEFAULT, DEFAULT, true, 0, false, NULL);
INSERT INTO kodosumi.span VALUES (4, 'd27d98394f952dbe', NULL, 'read it', 'llm', 1, NULL, '2026-11-30 21:37:28.516546+00', '2026-11-30 21:37:28.516639+00', 'ok', 'model-of-before', 'before', NULL, 800, 200, NULL, NULL, 0.00320000000000000000, NULL, 13, 14, false, false, DEFAULT, DEFAULT, DEFAULT, true, 1, true, NULL);
INSERT INTO kodosumi.spending VALUES (4, '2026-11-30', NULL, 'contract-of-before', 'contract-of-before', 0.00640000000000000000, 2000);
INSERT INTO kodosumi.team VALUES ('32fc73c4-ec63-437c-900b-639a00254d04', 'legal', '2026-11-30 21:37:24.388005+00');
INSERT INTO kodosumi.team VALUES ('99216f8a-26cf-4e0c-b2cc-2d41bdbc0cd2', 'lead', '2026-11-30 21:37:24.406553+00');
INSERT INTO kodosumi.team_member VALUES ('32fc73c4-ec63-437c-900b-639a00254d04', '977fc9df-08ce-42d6-ba05-6e7a9db40575');
INSERT INTO kodosumi.team_member VALUES ('99216f8a-26cf-4e0c-b2cc-2d41bdbc0cd2', 'b7c2a96e-ac7a-4af2-9232-6858306cab69');
INSERT INTO kodosumi.webhook VALUES ('ecbad375-dc54-46f7-9fa7-aea24ee8f294', '219053ce-03aa-45fa-b554-f9f25f84b19a', 'everything', 'https://example.org/hook', '{lock.opened,lock.answered,execution.finished}', true, true, '\x674141414141427244657955626435397270675f7337716a5a465f754f71682d53566d697058313554716e446c53704e6f4f725a554252464b54564f306643504961414d6b4961553446777951786c3954554a3335555544577648342d634f4c7a7670524f425257365f6c427065677871644a4234505174616f356f385f4c4b7536665f324657566e6932505a7774597151533033524b4d493233396779685834513d3d', NULL, NULL, true, NULL, 0, '2026-11-30 21:37:24.420749+00', '2026-11-30 21:37:24.420749+00', false);
INSERT INTO kodosumi.webhook_delivery OVERRIDING SYSTEM VALUE VALUES (1, 1, 'ecbad375-dc54-46f7-9fa7-aea24ee8f294', 1, 'waiting', 0, '2026-11-30 21:37:25.3617+00', false, NULL, NULL, NULL, NULL);
INSERT INTO kodosumi.webhook_delivery OVERRIDING SYSTEM VALUE VALUES (2, 2, 'ecbad375-dc54-46f7-9fa7-aea24ee8f294', 2, 'waiting', 0, '2026-11-30 21:37:25.406993+00', false, NULL, NULL, NULL, NULL);
INSERT INTO kodosumi.webhook_delivery OVERRIDING SYSTEM VALUE VALUES (3, 3, 'ecbad375-dc54-46f7-9fa7-aea24ee8f294', 3, 'waiting', 0, '2026-11-30 21:37:25.521111+00', false, NULL, NULL, NULL, NULL);
INSERT INTO kodosumi.webhook_delivery OVERRIDING SYSTEM VALUE VALUES (4, 4, 'ecbad375-dc54-46f7-9fa7-aea24ee8f294', 3, 'waiting', 0, '2026-11-30 21:37:25.552111+00', false, NULL, NULL, NULL, NULL);
INSERT INTO kodosumi.webhook_delivery OVERRIDING SYSTEM VALUE VALUES (5, 5, 'ecbad375-dc54-46f7-9fa7-aea24ee8f294', 3, 'waiting', 0, '2026-11-30 21:37:25.593079+00', false, NULL, NULL, NULL, NULL);
INSERT INTO kodosumi.webhook_delivery OVERRIDING SYSTEM VALUE VALUES (6, 6, 'ecbad375-dc54-46f7-9fa7-aea24ee8f294', 4, 'waiting', 0, '2026-11-30 21:37:27.070881+00', false, NULL, NULL, NULL, NULL);
INSERT INTO kodosumi.webhook_delivery OVERRIDING SYSTEM VALUE VALUES (7, 7, 'ecbad375-dc54-46f7-9fa7-aea24ee8f294', 4, 'waiting', 0, '2026-11-30 21:37:27.83115+00', false, NULL, NULL, NULL, NULL);
INSERT INTO kodosumi.webhook_delivery OVERRIDING SYSTEM VALUE VALUES (8, 8, 'ecbad375-dc54-46f7-9fa7-aea24ee8f294', 4, 'waiting', 0, '2026-11-30 21:37:28.598697+00', false, NULL, NULL, NULL, NULL);
INSERT INTO kodosumi.writer VALUES (1, '00000000-0000-4000-8000-0000000000aa', 1);
INSERT INTO kodosumi.writer VALUES (2, '00000000-0000-4000-8000-0000000000aa', 1);
INSERT INTO kodosumi.writer VALUES (3, '6ea8a86a-c102-46c1-8cb2-4cc3deb859cf', 5);
INSERT INTO kodosumi.writer VALUES (4, '18b34e0d-aa43-409f-868f-f0834bfd77b3', 8);
SELECT pg_catalog.setval('kodosumi.audit_id_seq', 17, true);
SELECT pg_catalog.setval('kodosumi.execution_id_seq', 4, true);
SELECT pg_catalog.setval('kodosumi.lock_step_id_seq', 3, true);
SELECT pg_catalog.setval('kodosumi.outbox_id_seq', 8, true);
SELECT pg_catalog.setval('kodosumi.source_id_seq', 2, true);
SELECT pg_catalog.setval('kodosumi.webhook_delivery_id_seq', 10, true);
ALTER TABLE ONLY kodosumi.api_key
    ADD CONSTRAINT api_key_hash_key UNIQUE (hash);
ALTER TABLE ONLY kodosumi.api_key
    ADD CONSTRAINT api_key_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.budget_mark
    ADD CONSTRAINT budget_mark_pkey PRIMARY KEY (execution_id, per, unit, day);
ALTER TABLE ONLY kodosumi.budget
    ADD CONSTRAINT budget_pkey PRIMARY KEY (per, name);
ALTER TABLE ONLY kodosumi.budget_rules
    ADD CONSTRAINT budget_rules_pkey PRIMARY KEY (only_row);
ALTER TABLE ONLY kodosumi.deleted
    ADD CONSTRAINT deleted_pkey PRIMARY KEY (fid);
ALTER TABLE ONLY kodosumi.dropped_content
    ADD CONSTRAINT dropped_content_pkey PRIMARY KEY (key);
ALTER TABLE ONLY kodosumi.ended_session
    ADD CONSTRAINT ended_session_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.endpoint
    ADD CONSTRAINT endpoint_pkey PRIMARY KEY (uid);
ALTER TABLE ONLY kodosumi.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (execution_id, seq);
ALTER TABLE ONLY kodosumi.event_0
    ADD CONSTRAINT event_0_pkey PRIMARY KEY (execution_id, seq);
ALTER TABLE ONLY kodosumi.execution
    ADD CONSTRAINT execution_fid_key UNIQUE (fid);
ALTER TABLE ONLY kodosumi.execution
    ADD CONSTRAINT execution_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.favourite
    ADD CONSTRAINT favourite_pkey PRIMARY KEY (owner, endpoint_uid);
ALTER TABLE ONLY kodosumi.file
    ADD CONSTRAINT file_pkey PRIMARY KEY (execution_id, direction, comparable);
ALTER TABLE ONLY kodosumi.file_storage
    ADD CONSTRAINT file_storage_pkey PRIMARY KEY (one);
ALTER TABLE ONLY kodosumi.hooks_run
    ADD CONSTRAINT hooks_run_pkey PRIMARY KEY (fid, attempt);
ALTER TABLE ONLY kodosumi.instance
    ADD CONSTRAINT instance_pkey PRIMARY KEY (singleton);
ALTER TABLE ONLY kodosumi.kept_result
    ADD CONSTRAINT kept_result_pkey PRIMARY KEY (execution_id, attempt, place, series, ordinal);
ALTER TABLE ONLY kodosumi.launch_key
    ADD CONSTRAINT launch_key_launch_id_key UNIQUE (launch_id);
ALTER TABLE ONLY kodosumi.launch_key
    ADD CONSTRAINT launch_key_pkey PRIMARY KEY (owner, endpoint, key);
ALTER TABLE ONLY kodosumi.listing_order
    ADD CONSTRAINT listing_order_pkey PRIMARY KEY (execution_id);
ALTER TABLE ONLY kodosumi.listing
    ADD CONSTRAINT listing_pkey PRIMARY KEY (execution_id);
ALTER TABLE ONLY kodosumi.lock_link
    ADD CONSTRAINT lock_link_pkey PRIMARY KEY (hash);
ALTER TABLE ONLY kodosumi.lock
    ADD CONSTRAINT lock_pkey PRIMARY KEY (execution_id, lid);
ALTER TABLE ONLY kodosumi.lock_plan
    ADD CONSTRAINT lock_plan_pkey PRIMARY KEY (execution_id, lid, step, number);
ALTER TABLE ONLY kodosumi.lock_step
    ADD CONSTRAINT lock_step_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.login_failure
    ADD CONSTRAINT login_failure_pkey PRIMARY KEY (key);
ALTER TABLE ONLY kodosumi.model_price
    ADD CONSTRAINT model_price_pkey PRIMARY KEY (provider, model, above);
ALTER TABLE ONLY kodosumi.model_use
    ADD CONSTRAINT model_use_pkey PRIMARY KEY (execution_id, model, provider);
ALTER TABLE ONLY kodosumi.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.outbox_rules
    ADD CONSTRAINT outbox_rules_pkey PRIMARY KEY (only_row);
ALTER TABLE ONLY kodosumi.outbox
    ADD CONSTRAINT outbox_uid_key UNIQUE (uid);
ALTER TABLE ONLY kodosumi.payload
    ADD CONSTRAINT payload_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.replay_notice
    ADD CONSTRAINT replay_notice_pkey PRIMARY KEY (flow);
ALTER TABLE ONLY kodosumi.replay
    ADD CONSTRAINT replay_pkey PRIMARY KEY (execution_id, attempt, leg, source);
ALTER TABLE ONLY kodosumi.role
    ADD CONSTRAINT role_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.runner
    ADD CONSTRAINT runner_pkey PRIMARY KEY (fid);
ALTER TABLE ONLY kodosumi.saved_view
    ADD CONSTRAINT saved_view_owner_name_key UNIQUE (owner, name);
ALTER TABLE ONLY kodosumi.saved_view
    ADD CONSTRAINT saved_view_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.schema_version
    ADD CONSTRAINT schema_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY kodosumi.seen
    ADD CONSTRAINT seen_pkey PRIMARY KEY (execution_id, dedupe_key);
ALTER TABLE ONLY kodosumi.service
    ADD CONSTRAINT service_pkey PRIMARY KEY (kind, name);
ALTER TABLE ONLY kodosumi.silence
    ADD CONSTRAINT silence_pkey PRIMARY KEY (schedule_id, sort);
ALTER TABLE ONLY kodosumi.source
    ADD CONSTRAINT source_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.source
    ADD CONSTRAINT source_url_key UNIQUE (url);
ALTER TABLE ONLY kodosumi.span
    ADD CONSTRAINT span_pkey PRIMARY KEY (execution_id, id);
ALTER TABLE ONLY kodosumi.spending
    ADD CONSTRAINT spending_pkey PRIMARY KEY (execution_id, day);
ALTER TABLE ONLY kodosumi.team_member
    ADD CONSTRAINT team_member_pkey PRIMARY KEY (team_id, role_id);
ALTER TABLE ONLY kodosumi.team
    ADD CONSTRAINT team_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.upload
    ADD CONSTRAINT upload_batch_comparable_key UNIQUE (batch, comparable);
ALTER TABLE ONLY kodosumi.upload_batch
    ADD CONSTRAINT upload_batch_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.upload_chunk
    ADD CONSTRAINT upload_chunk_pkey PRIMARY KEY (upload, number);
ALTER TABLE ONLY kodosumi.upload
    ADD CONSTRAINT upload_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.utilisation
    ADD CONSTRAINT utilisation_pkey PRIMARY KEY (at);
ALTER TABLE ONLY kodosumi.webhook_delivery
    ADD CONSTRAINT webhook_delivery_outbox_id_webhook_id_key UNIQUE (outbox_id, webhook_id);
ALTER TABLE ONLY kodosumi.webhook_delivery
    ADD CONSTRAINT webhook_delivery_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.webhook
    ADD CONSTRAINT webhook_pkey PRIMARY KEY (id);
ALTER TABLE ONLY kodosumi.writer
    ADD CONSTRAINT writer_pkey PRIMARY KEY (execution_id, writer_id);
CREATE INDEX api_key_role ON kodosumi.api_key USING btree (role_id);
CREATE INDEX audit_action ON kodosumi.audit USING btree (action, id);
CREATE INDEX audit_actor ON kodosumi.audit USING btree (actor_id, id);
CREATE INDEX audit_actor_name ON kodosumi.audit USING btree (lower(actor_name), id);
CREATE INDEX audit_at ON kodosumi.audit USING btree (at);
CREATE INDEX audit_target ON kodosumi.audit USING btree (target_id, id);
CREATE INDEX audit_target_name ON kodosumi.audit USING btree (lower(target_name), id);
CREATE INDEX deleted_changed ON kodosumi.deleted USING btree (changed);
CREATE INDEX dropped_content_since ON kodosumi.dropped_content USING btree (since);
CREATE INDEX ended_session_expires ON kodosumi.ended_session USING btree (expires_at);
CREATE INDEX endpoint_base ON kodosumi.endpoint USING btree (base_url);
CREATE INDEX endpoint_order ON kodosumi.endpoint USING btree (lower(COALESCE(summary, ''::text)), uid);
CREATE INDEX endpoint_source ON kodosumi.endpoint USING btree (source_id);
CREATE INDEX execution_again ON kodosumi.execution USING btree (again_of) WHERE (again_of IS NOT NULL);
CREATE INDEX execution_app ON kodosumi.execution USING btree (app_url, flow_name, id) INCLUDE (owner) WHERE ((app_url IS NOT NULL) AND (archived_at IS NULL));
CREATE INDEX execution_awaiting ON kodosumi.execution USING btree (id) WHERE ((suspended_leg IS NULL) AND (ended_seq IS NULL) AND ((open_locks > 0) OR ((state_type = 'PAUSED'::text) AND (state_name = 'AwaitingInput'::text))));
CREATE INDEX execution_changed ON kodosumi.execution USING btree (changed);
CREATE INDEX execution_deployment ON kodosumi.execution USING btree (deployment_id, id) INCLUDE (owner) WHERE ((deployment_id IS NOT NULL) AND (archived_at IS NULL));
CREATE INDEX execution_live ON kodosumi.execution USING btree (id) WHERE (status = ANY (ARRAY['starting'::text, 'running'::text, 'awaiting'::text]));
CREATE INDEX execution_resume ON kodosumi.execution USING btree (resume_at) WHERE (suspended_leg IS NOT NULL);
CREATE INDEX execution_schedule ON kodosumi.execution USING btree (schedule_id, id) WHERE (schedule_id IS NOT NULL);
CREATE INDEX execution_under_way ON kodosumi.execution USING btree (id) WHERE ((status = ANY (ARRAY['starting'::text, 'running'::text, 'awaiting'::text])) AND (suspended_leg IS NULL));
CREATE INDEX execution_unnamed ON kodosumi.execution USING btree (deployment_id, id) WHERE ((deployment_id IS NOT NULL) AND (deployment_name IS NULL));
CREATE INDEX file_key ON kodosumi.file USING btree (key);
CREATE INDEX file_path ON kodosumi.file USING btree (execution_id, direction, path COLLATE "C");
CREATE INDEX kept_result_path ON kodosumi.kept_result USING btree (execution_id, path);
CREATE INDEX launch_key_created ON kodosumi.launch_key USING btree (created_at);
CREATE INDEX listing_flow ON kodosumi.listing USING btree (flow_name, created_at, execution_id) WHERE (NOT archived);
CREATE INDEX listing_newest ON kodosumi.listing USING btree (created_at, execution_id) WHERE (NOT archived);
CREATE INDEX listing_order_deployment ON kodosumi.listing_order USING btree (deployment, began, execution_id) WHERE ((NOT archived) AND (deployment IS NOT NULL));
CREATE INDEX listing_order_flow ON kodosumi.listing_order USING btree (flow_name, began, execution_id) WHERE (NOT archived);
CREATE INDEX listing_order_newest ON kodosumi.listing_order USING btree (began, execution_id) WHERE (NOT archived);
CREATE INDEX listing_order_owner ON kodosumi.listing_order USING btree (owner, began, execution_id) WHERE (NOT archived);
CREATE INDEX listing_order_status ON kodosumi.listing_order USING btree (status, began, execution_id) WHERE (NOT archived);
CREATE INDEX listing_owner ON kodosumi.listing USING btree (owner, created_at, execution_id) WHERE (NOT archived);
CREATE INDEX listing_owner_flow ON kodosumi.listing USING btree (owner, flow_name) WHERE (NOT archived);
CREATE INDEX listing_status ON kodosumi.listing USING btree (status, created_at, execution_id) WHERE (NOT archived);
CREATE INDEX listing_words ON kodosumi.listing USING gin (words) WITH (gin_pending_list_limit='512');
CREATE INDEX lock_changed ON kodosumi.lock USING btree (changed);
CREATE INDEX lock_deadline ON kodosumi.lock USING btree (deadline) WHERE (state = 'open'::text);
CREATE INDEX lock_link_of_lock ON kodosumi.lock_link USING btree (execution_id, lid);
CREATE INDEX lock_newest ON kodosumi.lock USING btree (opened_at DESC, lid DESC) WHERE (state = 'open'::text);
CREATE INDEX lock_open ON kodosumi.lock USING btree (execution_id) WHERE (state = 'open'::text);
CREATE INDEX lock_plan_due ON kodosumi.lock_plan USING btree (due_at);
CREATE UNIQUE INDEX lock_step_answer ON kodosumi.lock_step USING btree (execution_id, lid, who) WHERE (step = 'answered'::text);
CREATE INDEX lock_step_of_lock ON kodosumi.lock_step USING btree (execution_id, lid);
CREATE UNIQUE INDEX lock_step_once ON kodosumi.lock_step USING btree (execution_id, lid, step, number) WHERE (step = ANY (ARRAY['asked'::text, 'reminded'::text, 'escalated'::text]));
CREATE INDEX outbox_age ON kodosumi.outbox USING btree (occurred_at);
CREATE INDEX outbox_execution ON kodosumi.outbox USING btree (execution_id, id);
CREATE INDEX outbox_unsent ON kodosumi.outbox USING btree (id) WHERE (for_prefect AND (emitted_at IS NULL));
CREATE INDEX payload_fid ON kodosumi.payload USING btree (fid);
CREATE UNIQUE INDEX role_name ON kodosumi.role USING btree (lower(name));
CREATE INDEX role_of_owner ON kodosumi.role USING btree (((id)::text));
CREATE INDEX saved_view_shared ON kodosumi.saved_view USING btree (name) WHERE shared;
CREATE INDEX span_first ON kodosumi.span USING btree (execution_id, first_seq);
CREATE INDEX span_parent ON kodosumi.span USING btree (execution_id, parent) WHERE (parent IS NOT NULL);
CREATE INDEX span_response ON kodosumi.span USING btree (execution_id, response) WHERE (response IS NOT NULL);
CREATE INDEX span_unpriced ON kodosumi.span USING btree (model, execution_id) WHERE ((cost IS NULL) AND (model IS NOT NULL) AND (COALESCE(input_tokens, output_tokens) IS NOT NULL));
CREATE INDEX spending_flow ON kodosumi.spending USING btree (day, flow);
CREATE INDEX spending_owner ON kodosumi.spending USING btree (day, owner);
CREATE INDEX spending_service ON kodosumi.spending USING btree (day, service);
CREATE INDEX team_member_role ON kodosumi.team_member USING btree (role_id);
CREATE UNIQUE INDEX team_name ON kodosumi.team USING btree (lower(name));
CREATE INDEX upload_batch_fid ON kodosumi.upload_batch USING btree (fid) WHERE (fid IS NOT NULL);
CREATE INDEX upload_batch_owner ON kodosumi.upload_batch USING btree (owner);
CREATE INDEX upload_batch_touched ON kodosumi.upload_batch USING btree (touched_at);
CREATE INDEX upload_chunk_key ON kodosumi.upload_chunk USING btree (key);
CREATE INDEX upload_key ON kodosumi.upload USING btree (key);
CREATE INDEX webhook_delivery_due ON kodosumi.webhook_delivery USING btree (webhook_id, next_at) WHERE (state = 'waiting'::text);
CREATE INDEX webhook_delivery_newest ON kodosumi.webhook_delivery USING btree (webhook_id, id);
CREATE INDEX webhook_delivery_order ON kodosumi.webhook_delivery USING btree (webhook_id, execution_id, outbox_id) WHERE (state = 'waiting'::text);
CREATE INDEX webhook_delivery_sending ON kodosumi.webhook_delivery USING btree (id) WHERE sending;
CREATE INDEX webhook_delivery_set_aside ON kodosumi.webhook_delivery USING btree (webhook_id) WHERE (state = 'set_aside'::text);
CREATE INDEX webhook_role ON kodosumi.webhook USING btree (role_id);
ALTER INDEX kodosumi.event_pkey ATTACH PARTITION kodosumi.event_0_pkey;
CREATE TRIGGER add_changed_spans AFTER UPDATE ON kodosumi.span REFERENCING OLD TABLE AS removed_spans NEW TABLE AS added_spans FOR EACH STATEMENT EXECUTE FUNCTION kodosumi.add_changed_spans();
CREATE TRIGGER add_new_spans AFTER INSERT ON kodosumi.span REFERENCING NEW TABLE AS added_spans FOR EACH STATEMENT EXECUTE FUNCTION kodosumi.add_new_spans();
CREATE TRIGGER audit_kept BEFORE DELETE OR UPDATE ON kodosumi.audit FOR EACH ROW EXECUTE FUNCTION kodosumi.keep_audit();
CREATE TRIGGER audit_stamped BEFORE INSERT ON kodosumi.audit FOR EACH ROW EXECUTE FUNCTION kodosumi.stamp_audit();
CREATE TRIGGER audit_whole BEFORE TRUNCATE ON kodosumi.audit FOR EACH STATEMENT EXECUTE FUNCTION kodosumi.keep_audit();
CREATE TRIGGER bound_header BEFORE INSERT OR UPDATE OF app_url, flow_name, owner ON kodosumi.execution FOR EACH ROW WHEN (((octet_length(new.app_url) > 1000) OR (octet_length(new.flow_name) > 800) OR (octet_length(new.owner) > 600))) EXECUTE FUNCTION kodosumi.bound_header();
CREATE TRIGGER file_deleted AFTER DELETE ON kodosumi.file FOR EACH ROW EXECUTE FUNCTION kodosumi.drop_content();
CREATE TRIGGER file_replaced AFTER UPDATE OF key ON kodosumi.file FOR EACH ROW WHEN ((old.key <> new.key)) EXECUTE FUNCTION kodosumi.drop_content();
CREATE TRIGGER follow_spending AFTER UPDATE OF cost, input_tokens, output_tokens, unpriced_calls ON kodosumi.execution FOR EACH ROW WHEN (((((old.cost IS DISTINCT FROM new.cost) OR (old.input_tokens IS DISTINCT FROM new.input_tokens)) OR (old.output_tokens IS DISTINCT FROM new.output_tokens)) OR (old.unpriced_calls IS DISTINCT FROM new.unpriced_calls))) EXECUTE FUNCTION kodosumi.follow_spending();
CREATE TRIGGER list_changed AFTER UPDATE OF owner, flow_name, summary, tags, inputs, status, archived_at, created_at, run_name, deployment_name ON kodosumi.execution FOR EACH ROW WHEN (((((((((((old.status IS DISTINCT FROM new.status) OR (old.owner IS DISTINCT FROM new.owner)) OR (old.flow_name IS DISTINCT FROM new.flow_name)) OR (old.summary IS DISTINCT FROM new.summary)) OR (old.tags IS DISTINCT FROM new.tags)) OR (old.archived_at IS DISTINCT FROM new.archived_at)) OR (old.created_at IS DISTINCT FROM new.created_at)) OR ((old.inputs IS NULL) IS DISTINCT FROM (new.inputs IS NULL))) OR (old.run_name IS DISTINCT FROM new.run_name)) OR (old.deployment_name IS DISTINCT FROM new.deployment_name))) EXECUTE FUNCTION kodosumi.list_execution();
CREATE TRIGGER list_new AFTER INSERT ON kodosumi.execution FOR EACH ROW EXECUTE FUNCTION kodosumi.list_execution();
CREATE TRIGGER lock_resumes AFTER UPDATE OF state ON kodosumi.lock FOR EACH ROW WHEN (((old.state = 'open'::text) AND (new.state <> 'open'::text))) EXECUTE FUNCTION kodosumi.resume_settled();
CREATE TRIGGER mark_changed BEFORE UPDATE ON kodosumi.lock FOR EACH ROW WHEN (((((old.state IS DISTINCT FROM new.state) OR (old.expires_at IS DISTINCT FROM new.expires_at)) OR (old.asked IS DISTINCT FROM new.asked)) OR (old.handed_on IS DISTINCT FROM new.handed_on))) EXECUTE FUNCTION kodosumi.mark_changed_lock();
CREATE TRIGGER mark_locks AFTER INSERT OR UPDATE OF name, active ON kodosumi.role FOR EACH ROW EXECUTE FUNCTION kodosumi.mark_locks_of_role();
CREATE TRIGGER mark_locks AFTER UPDATE OF name ON kodosumi.team FOR EACH ROW EXECUTE FUNCTION kodosumi.mark_locks_of_team();
CREATE TRIGGER mark_locks AFTER INSERT ON kodosumi.team_member FOR EACH ROW EXECUTE FUNCTION kodosumi.mark_locks_of_member();
CREATE TRIGGER mark_new BEFORE INSERT ON kodosumi.lock FOR EACH ROW EXECUTE FUNCTION kodosumi.mark_changed_lock();
CREATE TRIGGER order_changed AFTER UPDATE OF owner, flow_name, deployment_name, summary, entry_point, status, state_type, archived_at, created_at, started_at, ended_at ON kodosumi.execution FOR EACH ROW WHEN ((((((((((((old.owner IS DISTINCT FROM new.owner) OR (old.flow_name IS DISTINCT FROM new.flow_name)) OR (old.deployment_name IS DISTINCT FROM new.deployment_name)) OR (old.summary IS DISTINCT FROM new.summary)) OR (old.entry_point IS DISTINCT FROM new.entry_point)) OR (old.status IS DISTINCT FROM new.status)) OR (old.state_type IS DISTINCT FROM new.state_type)) OR (old.archived_at IS DISTINCT FROM new.archived_at)) OR (old.created_at IS DISTINCT FROM new.created_at)) OR (old.started_at IS DISTINCT FROM new.started_at)) OR (old.ended_at IS DISTINCT FROM new.ended_at))) EXECUTE FUNCTION kodosumi.order_execution();
CREATE TRIGGER order_new AFTER INSERT ON kodosumi.execution FOR EACH ROW EXECUTE FUNCTION kodosumi.order_execution();
CREATE TRIGGER price_changed_spans AFTER UPDATE ON kodosumi.span REFERENCING NEW TABLE AS added_spans FOR EACH STATEMENT EXECUTE FUNCTION kodosumi.price_changed_spans();
CREATE TRIGGER price_new_spans AFTER INSERT ON kodosumi.span REFERENCING NEW TABLE AS added_spans FOR EACH STATEMENT EXECUTE FUNCTION kodosumi.price_new_spans();
CREATE TRIGGER set_lock_deadline BEFORE INSERT ON kodosumi.lock FOR EACH ROW EXECUTE FUNCTION kodosumi.set_lock_deadline();
CREATE TRIGGER tell_asked AFTER UPDATE OF asked ON kodosumi.lock FOR EACH ROW WHEN (((new.state = 'open'::text) AND (new.asked IS DISTINCT FROM old.asked))) EXECUTE FUNCTION kodosumi.tell_asked();
CREATE TRIGGER tell_of_budget AFTER UPDATE OF over_at ON kodosumi.budget_mark FOR EACH ROW WHEN (((old.over_at IS NULL) AND (new.over_at IS NOT NULL))) EXECUTE FUNCTION kodosumi.tell_of_budget();
CREATE TRIGGER tell_of_end AFTER UPDATE OF ended_seq ON kodosumi.execution FOR EACH ROW WHEN (((new.ended_seq IS NOT NULL) AND (new.ended_seq IS DISTINCT FROM old.ended_seq))) EXECUTE FUNCTION kodosumi.tell_of_end();
CREATE TRIGGER tell_of_lock AFTER UPDATE OF state ON kodosumi.lock FOR EACH ROW WHEN (((old.state = 'open'::text) AND (new.state = ANY (ARRAY['leased'::text, 'expired'::text])))) EXECUTE FUNCTION kodosumi.tell_of_lock();
CREATE TRIGGER tell_of_new_budget AFTER INSERT ON kodosumi.budget_mark FOR EACH ROW WHEN ((new.over_at IS NOT NULL)) EXECUTE FUNCTION kodosumi.tell_of_budget();
CREATE TRIGGER tell_of_new_lock AFTER INSERT ON kodosumi.lock FOR EACH ROW WHEN ((new.state = 'open'::text)) EXECUTE FUNCTION kodosumi.tell_of_lock();
CREATE TRIGGER tell_of_step AFTER INSERT ON kodosumi.lock_step FOR EACH ROW WHEN ((new.step = ANY (ARRAY['reminded'::text, 'escalated'::text]))) EXECUTE FUNCTION kodosumi.tell_of_step();
CREATE TRIGGER tell_owner AFTER UPDATE OF owner ON kodosumi.execution FOR EACH ROW WHEN (((old.owner IS NULL) AND (new.owner IS NOT NULL))) EXECUTE FUNCTION kodosumi.tell_owner();
ALTER TABLE ONLY kodosumi.api_key
    ADD CONSTRAINT api_key_role_id_fkey FOREIGN KEY (role_id) REFERENCES kodosumi.role(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.budget_mark
    ADD CONSTRAINT budget_mark_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.endpoint
    ADD CONSTRAINT endpoint_source_id_fkey FOREIGN KEY (source_id) REFERENCES kodosumi.source(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.file
    ADD CONSTRAINT file_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.kept_result
    ADD CONSTRAINT kept_result_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.listing
    ADD CONSTRAINT listing_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.listing_order
    ADD CONSTRAINT listing_order_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.lock
    ADD CONSTRAINT lock_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.lock_link
    ADD CONSTRAINT lock_link_execution_id_lid_fkey FOREIGN KEY (execution_id, lid) REFERENCES kodosumi.lock(execution_id, lid) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.lock_plan
    ADD CONSTRAINT lock_plan_execution_id_lid_fkey FOREIGN KEY (execution_id, lid) REFERENCES kodosumi.lock(execution_id, lid) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.lock_step
    ADD CONSTRAINT lock_step_execution_id_lid_fkey FOREIGN KEY (execution_id, lid) REFERENCES kodosumi.lock(execution_id, lid) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.model_use
    ADD CONSTRAINT model_use_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.outbox
    ADD CONSTRAINT outbox_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.replay
    ADD CONSTRAINT replay_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.schedule
    ADD CONSTRAINT schedule_payload_id_fkey FOREIGN KEY (payload_id) REFERENCES kodosumi.payload(id) ON DELETE SET NULL;
ALTER TABLE ONLY kodosumi.seen
    ADD CONSTRAINT seen_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.span
    ADD CONSTRAINT span_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.team_member
    ADD CONSTRAINT team_member_role_id_fkey FOREIGN KEY (role_id) REFERENCES kodosumi.role(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.team_member
    ADD CONSTRAINT team_member_team_id_fkey FOREIGN KEY (team_id) REFERENCES kodosumi.team(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.upload
    ADD CONSTRAINT upload_batch_fkey FOREIGN KEY (batch) REFERENCES kodosumi.upload_batch(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.upload_chunk
    ADD CONSTRAINT upload_chunk_upload_fkey FOREIGN KEY (upload) REFERENCES kodosumi.upload(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.webhook_delivery
    ADD CONSTRAINT webhook_delivery_outbox_id_fkey FOREIGN KEY (outbox_id) REFERENCES kodosumi.outbox(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.webhook
    ADD CONSTRAINT webhook_role_id_fkey FOREIGN KEY (role_id) REFERENCES kodosumi.role(id) ON DELETE CASCADE;
ALTER TABLE ONLY kodosumi.writer
    ADD CONSTRAINT writer_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;
\unrestrict qWM6vMIi06HybkS1phYF0SIOwJ73IcxeM9BKy018D0id6aVRABZSg5fBNmacOMb
