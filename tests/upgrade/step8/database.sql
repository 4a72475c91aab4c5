--
-- PostgreSQL database dump
--

\restrict VKXiyoeMfTi452rP6tSinEhyRvhVcMpvr8M6KLEYFiv2ZLgKbxYDPpI9XW6kAze

-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

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

--
-- Name: kodosumi; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA kodosumi;


--
-- Name: bound_header(); Type: FUNCTION; Schema: kodosumi; Owner: -
--

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


--
-- Name: FUNCTION bound_header(); Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON FUNCTION kodosumi.bound_header() IS 'cuts what indexes hold of an execution, for writers that do not';


--
-- Name: drop_empty_partition(text); Type: FUNCTION; Schema: kodosumi; Owner: -
--

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


--
-- Name: FUNCTION drop_empty_partition(part text); Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON FUNCTION kodosumi.drop_empty_partition(part text) IS 'drops one empty partition; false if somebody is reading or writing just now. Retention calls it without rights to drop tables';


--
-- Name: empty_partitions(); Type: FUNCTION; Schema: kodosumi; Owner: -
--

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


--
-- Name: FUNCTION empty_partitions(); Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON FUNCTION kodosumi.empty_partitions() IS 'partitions whose executions are all deleted and that no new execution can fall into';


--
-- Name: ensure_partition(bigint); Type: FUNCTION; Schema: kodosumi; Owner: -
--

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


--
-- Name: FUNCTION ensure_partition(wanted bigint); Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON FUNCTION kodosumi.ensure_partition(wanted bigint) IS 'makes the partition of one execution id; writers call it without rights to create tables';


--
-- Name: visible(text, text, boolean); Type: FUNCTION; Schema: kodosumi; Owner: -
--

CREATE FUNCTION kodosumi.visible(owner text, viewer text, unowned boolean) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN ((viewer IS NULL) OR (owner = viewer) OR ((owner IS NULL) AND unowned));


--
-- Name: FUNCTION visible(owner text, viewer text, unowned boolean); Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON FUNCTION kodosumi.visible(owner text, viewer text, unowned boolean) IS 'whether what belongs to owner may be seen by viewer; by null, who sees everything; unowned: also what belongs to nobody';


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: listing; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.listing (
    execution_id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    owner text,
    flow_name text,
    status text NOT NULL,
    archived boolean NOT NULL,
    words tsvector NOT NULL
);


--
-- Name: TABLE listing; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.listing IS 'what lists of executions are filtered by; kept by triggers of table execution';


--
-- Name: COLUMN listing.flow_name; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.listing.flow_name IS 'its first 200 characters, as of owner';


--
-- Name: COLUMN listing.words; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.listing.words IS 'words to search; and behind U+0001 the owner (o) and each tag (t) as they are';


--
-- Name: filtered_listing(text, boolean, text, text, text[], text, double precision, double precision, tsquery); Type: FUNCTION; Schema: kodosumi; Owner: -
--

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


--
-- Name: FUNCTION filtered_listing(viewer text, unowned boolean, of_owner text, one_status text, statuses text[], flow text, since double precision, until double precision, search tsquery); Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON FUNCTION kodosumi.filtered_listing(viewer text, unowned boolean, of_owner text, one_status text, statuses text[], flow text, since double precision, until double precision, search tsquery) IS 'executions in lists that may be seen by viewer and match a filter; null filters nothing';


--
-- Name: forget_audit(double precision, integer); Type: FUNCTION; Schema: kodosumi; Owner: -
--

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


--
-- Name: FUNCTION forget_audit(age double precision, most integer); Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON FUNCTION kodosumi.forget_audit(age double precision, most integer) IS 'deletes some of the rows older than a span of seconds, of 7 days at least; for retention';


--
-- Name: keep_audit(); Type: FUNCTION; Schema: kodosumi; Owner: -
--

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


--
-- Name: list_execution(); Type: FUNCTION; Schema: kodosumi; Owner: -
--

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


--
-- Name: FUNCTION list_execution(); Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON FUNCTION kodosumi.list_execution() IS 'carries an execution into listing, for writers that may not know that table';


--
-- Name: execution; Type: TABLE; Schema: kodosumi; Owner: -
--

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
    CONSTRAINT execution_status_check CHECK ((status = ANY (ARRAY['starting'::text, 'running'::text, 'awaiting'::text, 'finished'::text, 'error'::text])))
)
WITH (fillfactor='70');


--
-- Name: COLUMN execution.fid; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.execution.fid IS 'the Prefect flow run';


--
-- Name: COLUMN execution.ended_seq; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.execution.ended_seq IS 'seq of the terminal status; streams end there';


--
-- Name: COLUMN execution.changed; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.execution.changed IS 'transaction that last changed what lists show; heartbeats and plain events do not count';


--
-- Name: COLUMN execution.work_pool; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.execution.work_pool IS 'name of the Prefect work pool, which the observer fills in; writers do not know it';


--
-- Name: COLUMN execution.schedule_id; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.execution.schedule_id IS 'the deployment schedule in Prefect it is of';


--
-- Name: COLUMN execution.again_of; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.execution.again_of IS 'the execution whose inputs this one was given';


--
-- Name: searched(kodosumi.execution); Type: FUNCTION; Schema: kodosumi; Owner: -
--

CREATE FUNCTION kodosumi.searched(e kodosumi.execution) RETURNS tsvector
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT array_to_tsvector(
        "kodosumi".words_of(concat_ws(' ', e.fid::text, e.status, left(e.flow_name, 1000),
            left(e.summary, 2000), left(e.owner, 200),
            left(array_to_string(e.tags, ' '), 2000),
            regexp_replace(left(e.inputs, 4000), '\\[nrt]', ' ', 'g')))
        || ARRAY(SELECT E'\x01t' || left(tag, 200) FROM unnest(e.tags[1:100]) AS tag
            WHERE tag IS NOT NULL)
        || CASE WHEN e.owner IS NULL THEN '{}' ELSE ARRAY[E'\x01o' || left(e.owner, 200)] END)
$$;


--
-- Name: stamp_audit(); Type: FUNCTION; Schema: kodosumi; Owner: -
--

CREATE FUNCTION kodosumi.stamp_audit() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    NEW.at := clock_timestamp();
    RETURN NEW;
END
$$;


--
-- Name: FUNCTION stamp_audit(); Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON FUNCTION kodosumi.stamp_audit() IS 'when something was recorded is for nobody to say';


--
-- Name: words_of(text); Type: FUNCTION; Schema: kodosumi; Owner: -
--

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


--
-- Name: FUNCTION words_of(said text); Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON FUNCTION kodosumi.words_of(said text) IS 'words in lower case: what stands between spaces and ASCII punctuation, of any language';


--
-- Name: api_key; Type: TABLE; Schema: kodosumi; Owner: -
--

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


--
-- Name: COLUMN api_key.prefix; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.api_key.prefix IS 'the first characters, by which people tell keys';


--
-- Name: audit; Type: TABLE; Schema: kodosumi; Owner: -
--

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


--
-- Name: TABLE audit; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.audit IS 'who did what, when, from where and by what means; rows are only added';


--
-- Name: COLUMN audit.actor_name; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.audit.actor_name IS 'a copy, as of target_name: accounts, keys and sources may be deleted';


--
-- Name: COLUMN audit.means; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.audit.means IS 'session, key, proxy, password; cli: the name is of a user of the operating system; start';


--
-- Name: audit_id_seq; Type: SEQUENCE; Schema: kodosumi; Owner: -
--

ALTER TABLE kodosumi.audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kodosumi.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: deleted; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.deleted (
    fid uuid NOT NULL,
    changed bigint DEFAULT ((pg_current_xact_id())::text)::bigint NOT NULL,
    deleted_at timestamp with time zone DEFAULT now() NOT NULL,
    owner text
);


--
-- Name: TABLE deleted; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.deleted IS 'executions that retention deleted within 7 days, for those who follow changes';


--
-- Name: ended_session; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.ended_session (
    id text NOT NULL,
    expires_at timestamp with time zone NOT NULL
);


--
-- Name: TABLE ended_session; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.ended_session IS 'sessions that ended with a logout';


--
-- Name: COLUMN ended_session.expires_at; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.ended_session.expires_at IS 'when its tokens expire anyway, and the row may go';


--
-- Name: endpoint; Type: TABLE; Schema: kodosumi; Owner: -
--

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


--
-- Name: COLUMN endpoint.url; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.endpoint.url IS 'where the panel serves it';


--
-- Name: COLUMN endpoint.target; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.endpoint.target IS 'where its service serves it; a path if it is mounted, none if it is a Prefect deployment';


--
-- Name: COLUMN endpoint.reachable; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.endpoint.reachable IS 'whether its source could be read the last time';


--
-- Name: COLUMN endpoint.gone_at; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.endpoint.gone_at IS 'when its source no longer named it';


--
-- Name: event; Type: TABLE; Schema: kodosumi; Owner: -
--

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


--
-- Name: event_0; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.event_0 (
    execution_id bigint CONSTRAINT event_execution_id_not_null NOT NULL,
    seq bigint CONSTRAINT event_seq_not_null NOT NULL,
    ts timestamp with time zone CONSTRAINT event_ts_not_null NOT NULL,
    kind text CONSTRAINT event_kind_not_null NOT NULL,
    payload text CONSTRAINT event_payload_not_null NOT NULL,
    attempt integer DEFAULT 0 CONSTRAINT event_attempt_not_null NOT NULL,
    source jsonb
);


--
-- Name: execution_id_seq; Type: SEQUENCE; Schema: kodosumi; Owner: -
--

ALTER TABLE kodosumi.execution ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kodosumi.execution_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: hooks_run; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.hooks_run (
    fid uuid NOT NULL,
    attempt integer NOT NULL,
    claimed_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: TABLE hooks_run; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.hooks_run IS 'attempts of runs whose process was gone, and whose hooks some process took on itself to run';


--
-- Name: instance; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.instance (
    singleton boolean DEFAULT true NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    oldest_writer integer NOT NULL,
    CONSTRAINT instance_singleton_check CHECK (singleton)
);


--
-- Name: COLUMN instance.oldest_writer; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.instance.oldest_writer IS 'oldest writer protocol accepted; older writers keep their events in spill files';


--
-- Name: launch_key; Type: TABLE; Schema: kodosumi; Owner: -
--

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


--
-- Name: TABLE launch_key; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.launch_key IS 'launches that were asked for with a key: what was asked once is launched once';


--
-- Name: COLUMN launch_key.body; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.launch_key.body IS 'HMAC of what was posted, never that itself';


--
-- Name: COLUMN launch_key.launch_id; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.launch_key.launch_id IS 'of the run in Prefect, where it is the idempotency key';


--
-- Name: COLUMN launch_key.claimed_until; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.launch_key.claimed_until IS 'a panel is at it, and says so again before this; none: nobody is';


--
-- Name: COLUMN launch_key.lost; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.launch_key.lost IS 'a service may be at it still, or may have launched it without anybody hearing of that';


--
-- Name: COLUMN launch_key.answer; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.launch_key.answer IS 'what the first was answered, encrypted';


--
-- Name: lock; Type: TABLE; Schema: kodosumi; Owner: -
--

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
    CONSTRAINT lock_state_check CHECK ((state = ANY (ARRAY['open'::text, 'leased'::text, 'expired'::text, 'void'::text])))
);


--
-- Name: TABLE lock; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.lock IS 'questions to humans; a run waits until it is leased or expires';


--
-- Name: COLUMN lock.elements; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.lock.elements IS 'the form as JSON, if the run brought it; else its service has it';


--
-- Name: login_failure; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.login_failure (
    key text NOT NULL,
    failures integer NOT NULL,
    failed_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: TABLE login_failure; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.login_failure IS 'failed logins by name and by address';


--
-- Name: payload; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.payload (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    fid uuid,
    inputs text,
    secrets bytea,
    kept boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    types text
);


--
-- Name: TABLE payload; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.payload IS 'inputs too large for Prefect, and secret ones, encrypted; kept: for a schedule, not one run';


--
-- Name: COLUMN payload.fid; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.payload.fid IS 'the run it is for; none yet, or none at all if kept';


--
-- Name: COLUMN payload.types; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.payload.types IS 'where the inputs have types that JSON has no word for, as JSON; null if nowhere';


--
-- Name: role; Type: TABLE; Schema: kodosumi; Owner: -
--

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


--
-- Name: TABLE role; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.role IS 'accounts of the panel; Kodosumi calls them roles';


--
-- Name: COLUMN role.password; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.role.password IS 'argon2 hash; none: signs in through a proxy only';


--
-- Name: COLUMN role.epoch; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.role.epoch IS 'sessions that were begun under an earlier one are void';


--
-- Name: runner; Type: TABLE; Schema: kodosumi; Owner: -
--

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
    CONSTRAINT runner_state_check CHECK ((state = ANY (ARRAY['starting'::text, 'running'::text])))
);


--
-- Name: TABLE runner; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.runner IS 'the Ray actor that executes a flow run';


--
-- Name: COLUMN runner.lease_until; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.runner.lease_until IS 'until when its worker answers for it; later, another worker may take the run over';


--
-- Name: schedule; Type: TABLE; Schema: kodosumi; Owner: -
--

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


--
-- Name: TABLE schedule; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.schedule IS 'who made which schedule of a Prefect deployment; the schedule itself is in Prefect';


--
-- Name: COLUMN schedule.parameters; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON COLUMN kodosumi.schedule.parameters IS 'as JSON, since Prefect 3 forgets them when a schedule is switched on or off';


--
-- Name: schema_version; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.schema_version (
    version_num character varying(32) NOT NULL
);


--
-- Name: seen; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.seen (
    execution_id bigint NOT NULL,
    dedupe_key text NOT NULL
);


--
-- Name: TABLE seen; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.seen IS 'events that several reporters know, such as Prefect states';


--
-- Name: service; Type: TABLE; Schema: kodosumi; Owner: -
--

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


--
-- Name: TABLE service; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.service IS 'services that say every 10 seconds that they are there, and how they are';


--
-- Name: source; Type: TABLE; Schema: kodosumi; Owner: -
--

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


--
-- Name: TABLE source; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.source IS 'where endpoints are found; trouble says why not, last time';


--
-- Name: source_id_seq; Type: SEQUENCE; Schema: kodosumi; Owner: -
--

ALTER TABLE kodosumi.source ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME kodosumi.source_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: writer; Type: TABLE; Schema: kodosumi; Owner: -
--

CREATE TABLE kodosumi.writer (
    execution_id bigint NOT NULL,
    writer_id uuid NOT NULL,
    last_batch bigint NOT NULL
)
WITH (fillfactor='70');


--
-- Name: TABLE writer; Type: COMMENT; Schema: kodosumi; Owner: -
--

COMMENT ON TABLE kodosumi.writer IS 'the last batch stored of each writer: makes retries harmless';


--
-- Name: event_0; Type: TABLE ATTACH; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.event ATTACH PARTITION kodosumi.event_0 FOR VALUES FROM ('0') TO ('1000');


--
-- Data for Name: api_key; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.api_key VALUES ('14dbb231-1079-475e-9bb3-1e248776666c', '2fdc0ed1-b3cc-476c-8890-fdd017d7af63', 'nightly', 'kp_IpaB5qEo', '\xed403ce55ae2b0a245e216eb9e9c87ab7147736101073e06d18ce7f2e0591405', '2026-11-30 02:33:09.758346+00', NULL, NULL, NULL);


--
-- Data for Name: audit; Type: TABLE DATA; Schema: kodosumi; Owner: -
--



--
-- Data for Name: deleted; Type: TABLE DATA; Schema: kodosumi; Owner: -
--



--
-- Data for Name: ended_session; Type: TABLE DATA; Schema: kodosumi; Owner: -
--



--
-- Data for Name: endpoint; Type: TABLE DATA; Schema: kodosumi; Owner: -
--



--
-- Data for Name: event_0; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.event_0 VALUES (1, 1, '2026-09-21 14:13:20+00', 'status', 'starting', 1, '{"state": {"id": "00000000-0000-4000-8000-000000000001", "name": "Pending", "type": "PENDING", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (1, 2, '2026-09-21 14:13:20+00', 'inputs', '{"dict": {"days": 7}}', 0, NULL);
INSERT INTO kodosumi.event_0 VALUES (1, 3, '2026-09-21 14:13:21+00', 'status', 'running', 1, '{"state": {"id": "00000000-0000-4000-8000-000000000002", "name": "Running", "type": "RUNNING", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (1, 4, '2026-09-21 14:13:22+00', 'stdout', 'a line of before', 0, NULL);
INSERT INTO kodosumi.event_0 VALUES (1, 5, '2026-09-21 14:13:23+00', 'final', '{"str": "all is well"}', 0, NULL);
INSERT INTO kodosumi.event_0 VALUES (1, 6, '2026-09-21 14:13:24+00', 'status', 'finished', 1, '{"state": {"id": "00000000-0000-4000-8000-000000000003", "name": "Completed", "type": "COMPLETED", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (2, 1, '2026-09-21 14:13:30+00', 'status', 'starting', 1, '{"state": {"id": "00000000-0000-4000-8000-000000000004", "name": "Pending", "type": "PENDING", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (2, 2, '2026-09-21 14:13:31+00', 'status', 'running', 1, '{"state": {"id": "00000000-0000-4000-8000-000000000005", "name": "Running", "type": "RUNNING", "message": ""}}');
INSERT INTO kodosumi.event_0 VALUES (2, 3, '2026-09-21 14:13:32+00', 'lock', '{"dict": {"name": "approve", "lid": "00000000-0000-4000-8000-0000000000dd", "data": {"draft": 1}, "expires": 2790000000.0, "elements": [{"type": "submit", "text": "Approve"}]}}', 1, NULL);
INSERT INTO kodosumi.event_0 VALUES (2, 4, '2026-09-21 14:13:32+00', 'status', 'awaiting', 1, '{"by": "locks"}');


--
-- Data for Name: execution; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.execution OVERRIDING SYSTEM VALUE VALUES (1, '00000000-0000-4000-8000-000000000001', '2fdc0ed1-b3cc-476c-8890-fdd017d7af63', 'report', '00000000-0000-4000-8000-0000000000cc', 'reports:report', 'http://127.0.0.1:8001', 'A report of before', NULL, '{nightly}', NULL, NULL, NULL, NULL, 'finished', 'COMPLETED', 'Completed', '2026-09-21 14:13:24+00', 1, '{"dict": {"days": 7}}', NULL, NULL, NULL, 0, NULL, '2026-11-30 02:33:09.790719+00', '2026-09-21 14:13:21+00', '2026-09-21 14:13:24+00', '2026-11-30 02:33:09.790719+00', 6, 6, '2026-11-30 02:33:09.790719+00', NULL, NULL, 758, NULL, NULL, NULL);
INSERT INTO kodosumi.execution OVERRIDING SYSTEM VALUE VALUES (2, '00000000-0000-4000-8000-000000000002', '2fdc0ed1-b3cc-476c-8890-fdd017d7af63', 'report', '00000000-0000-4000-8000-0000000000cc', 'reports:report', 'http://127.0.0.1:8001', 'A report of before', NULL, '{nightly}', NULL, NULL, NULL, NULL, 'awaiting', 'RUNNING', 'Running', '2026-09-21 14:13:31+00', 1, NULL, NULL, NULL, NULL, 1, NULL, '2026-11-30 02:33:09.811041+00', '2026-09-21 14:13:31+00', NULL, '2026-11-30 02:33:09.811041+00', 4, NULL, '2026-11-30 02:33:09.811041+00', NULL, NULL, 760, NULL, NULL, NULL);


--
-- Data for Name: hooks_run; Type: TABLE DATA; Schema: kodosumi; Owner: -
--



--
-- Data for Name: instance; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.instance VALUES (true, 'f68cb1d1-47fc-48e9-8054-f47ea49ee6c3', 1);


--
-- Data for Name: launch_key; Type: TABLE DATA; Schema: kodosumi; Owner: -
--



--
-- Data for Name: listing; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.listing VALUES (1, '2026-11-30 02:33:09.790719+00', '2fdc0ed1-b3cc-476c-8890-fdd017d7af63', 'report', 'finished', false, '''o2fdc0ed1-b3cc-476c-8890-fdd017d7af63'' ''tnightly'' ''0000'' ''00000000'' ''000000000001'' ''2fdc0ed1'' ''4000'' ''476c'' ''7'' ''8000'' ''8890'' ''a'' ''b3cc'' ''before'' ''days'' ''dict'' ''fdd017d7af63'' ''finished'' ''nightly'' ''of'' ''report''');
INSERT INTO kodosumi.listing VALUES (2, '2026-11-30 02:33:09.811041+00', '2fdc0ed1-b3cc-476c-8890-fdd017d7af63', 'report', 'awaiting', false, '''o2fdc0ed1-b3cc-476c-8890-fdd017d7af63'' ''tnightly'' ''0000'' ''00000000'' ''000000000002'' ''2fdc0ed1'' ''4000'' ''476c'' ''8000'' ''8890'' ''a'' ''awaiting'' ''b3cc'' ''before'' ''fdd017d7af63'' ''nightly'' ''of'' ''report''');


--
-- Data for Name: lock; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.lock VALUES (2, '00000000-0000-4000-8000-0000000000dd', 'approve', 1, '{"draft": 1}', '[{"type": "submit", "text": "Approve"}]', 'open', '2026-09-21 14:13:32+00', '2058-05-30 16:00:00+00', NULL, NULL, NULL);


--
-- Data for Name: login_failure; Type: TABLE DATA; Schema: kodosumi; Owner: -
--



--
-- Data for Name: payload; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.payload VALUES ('c420891c-6b39-4c8e-9299-2fac6b9a767a', NULL, NULL, '\x6741414141414272444f426c5742715874576269596b4f716f413876484c7437706b6947346e3538346872636b5a366f5f327751765f4f6a2d2d43624a326939464e6d527838684b556171423175566b76705568416f6a3256344a6e4e4378794e534843436b63515478614e56516770434a424f4b3175595f6a377646626a66627271736752775962564336', true, '2026-11-30 02:33:09.826429+00', NULL);


--
-- Data for Name: role; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.role VALUES ('2fdc0ed1-b3cc-476c-8890-fdd017d7af63', 'operator', NULL, true, true, '$argon2id$v=19$m=65536,t=3,p=4$lq10w8M4iWtNehPEXXMD4A$QvrxHAPll0IFr6SET1txUhC9yHyY+CxJQY9qUhnqby4', 0, '2026-11-30 02:33:09.749357+00', '2026-11-30 02:33:09.749357+00');


--
-- Data for Name: runner; Type: TABLE DATA; Schema: kodosumi; Owner: -
--



--
-- Data for Name: schedule; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.schedule VALUES ('00000000-0000-4000-8000-0000000000bb', '00000000-0000-4000-8000-0000000000cc', 'cccb2f177cc8bcb25b8c25ef71bad21b', '2fdc0ed1-b3cc-476c-8890-fdd017d7af63', 'A report of before', '{"entry_point": "reports:report", "inputs": {"days": 7, "password": "********"}, "launch": {"flow": "reports", "summary": "A report", "path": [], "payload": "c420891c-6b39-4c8e-9299-2fac6b9a767a", "scheduled": true}}', 'c420891c-6b39-4c8e-9299-2fac6b9a767a', NULL, '2026-11-30 02:33:09.830044+00');


--
-- Data for Name: schema_version; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.schema_version VALUES ('0013');


--
-- Data for Name: seen; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.seen VALUES (1, 'state:00000000-0000-4000-8000-000000000001');
INSERT INTO kodosumi.seen VALUES (1, 'state:00000000-0000-4000-8000-000000000002');
INSERT INTO kodosumi.seen VALUES (1, 'state:00000000-0000-4000-8000-000000000003');
INSERT INTO kodosumi.seen VALUES (2, 'state:00000000-0000-4000-8000-000000000004');
INSERT INTO kodosumi.seen VALUES (2, 'state:00000000-0000-4000-8000-000000000005');


--
-- Data for Name: service; Type: TABLE DATA; Schema: kodosumi; Owner: -
--



--
-- Data for Name: source; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.source OVERRIDING SYSTEM VALUE VALUES (1, 'http://127.0.0.1:9/openapi.json', 'openapi', '2026-11-30 02:33:09.851442+00', NULL, NULL, NULL);


--
-- Data for Name: writer; Type: TABLE DATA; Schema: kodosumi; Owner: -
--

INSERT INTO kodosumi.writer VALUES (1, '00000000-0000-4000-8000-0000000000aa', 1);
INSERT INTO kodosumi.writer VALUES (2, '00000000-0000-4000-8000-0000000000aa', 1);


--
-- Name: audit_id_seq; Type: SEQUENCE SET; Schema: kodosumi; Owner: -
--

SELECT pg_catalog.setval('kodosumi.audit_id_seq', 1, false);


--
-- Name: execution_id_seq; Type: SEQUENCE SET; Schema: kodosumi; Owner: -
--

SELECT pg_catalog.setval('kodosumi.execution_id_seq', 2, true);


--
-- Name: source_id_seq; Type: SEQUENCE SET; Schema: kodosumi; Owner: -
--

SELECT pg_catalog.setval('kodosumi.source_id_seq', 1, true);


--
-- Name: api_key api_key_hash_key; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.api_key
    ADD CONSTRAINT api_key_hash_key UNIQUE (hash);


--
-- Name: api_key api_key_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.api_key
    ADD CONSTRAINT api_key_pkey PRIMARY KEY (id);


--
-- Name: audit audit_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);


--
-- Name: deleted deleted_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.deleted
    ADD CONSTRAINT deleted_pkey PRIMARY KEY (fid);


--
-- Name: ended_session ended_session_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.ended_session
    ADD CONSTRAINT ended_session_pkey PRIMARY KEY (id);


--
-- Name: endpoint endpoint_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.endpoint
    ADD CONSTRAINT endpoint_pkey PRIMARY KEY (uid);


--
-- Name: event event_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (execution_id, seq);


--
-- Name: event_0 event_0_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.event_0
    ADD CONSTRAINT event_0_pkey PRIMARY KEY (execution_id, seq);


--
-- Name: execution execution_fid_key; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.execution
    ADD CONSTRAINT execution_fid_key UNIQUE (fid);


--
-- Name: execution execution_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.execution
    ADD CONSTRAINT execution_pkey PRIMARY KEY (id);


--
-- Name: hooks_run hooks_run_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.hooks_run
    ADD CONSTRAINT hooks_run_pkey PRIMARY KEY (fid, attempt);


--
-- Name: instance instance_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.instance
    ADD CONSTRAINT instance_pkey PRIMARY KEY (singleton);


--
-- Name: launch_key launch_key_launch_id_key; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.launch_key
    ADD CONSTRAINT launch_key_launch_id_key UNIQUE (launch_id);


--
-- Name: launch_key launch_key_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.launch_key
    ADD CONSTRAINT launch_key_pkey PRIMARY KEY (owner, endpoint, key);


--
-- Name: listing listing_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.listing
    ADD CONSTRAINT listing_pkey PRIMARY KEY (execution_id);


--
-- Name: lock lock_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.lock
    ADD CONSTRAINT lock_pkey PRIMARY KEY (execution_id, lid);


--
-- Name: login_failure login_failure_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.login_failure
    ADD CONSTRAINT login_failure_pkey PRIMARY KEY (key);


--
-- Name: payload payload_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.payload
    ADD CONSTRAINT payload_pkey PRIMARY KEY (id);


--
-- Name: role role_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.role
    ADD CONSTRAINT role_pkey PRIMARY KEY (id);


--
-- Name: runner runner_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.runner
    ADD CONSTRAINT runner_pkey PRIMARY KEY (fid);


--
-- Name: schedule schedule_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (id);


--
-- Name: schema_version schema_version_pkc; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.schema_version
    ADD CONSTRAINT schema_version_pkc PRIMARY KEY (version_num);


--
-- Name: seen seen_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.seen
    ADD CONSTRAINT seen_pkey PRIMARY KEY (execution_id, dedupe_key);


--
-- Name: service service_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.service
    ADD CONSTRAINT service_pkey PRIMARY KEY (kind, name);


--
-- Name: source source_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.source
    ADD CONSTRAINT source_pkey PRIMARY KEY (id);


--
-- Name: source source_url_key; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.source
    ADD CONSTRAINT source_url_key UNIQUE (url);


--
-- Name: writer writer_pkey; Type: CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.writer
    ADD CONSTRAINT writer_pkey PRIMARY KEY (execution_id, writer_id);


--
-- Name: api_key_role; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX api_key_role ON kodosumi.api_key USING btree (role_id);


--
-- Name: audit_action; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX audit_action ON kodosumi.audit USING btree (action, id);


--
-- Name: audit_actor; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX audit_actor ON kodosumi.audit USING btree (actor_id, id);


--
-- Name: audit_actor_name; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX audit_actor_name ON kodosumi.audit USING btree (lower(actor_name), id);


--
-- Name: audit_at; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX audit_at ON kodosumi.audit USING btree (at);


--
-- Name: audit_target; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX audit_target ON kodosumi.audit USING btree (target_id, id);


--
-- Name: audit_target_name; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX audit_target_name ON kodosumi.audit USING btree (lower(target_name), id);


--
-- Name: deleted_changed; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX deleted_changed ON kodosumi.deleted USING btree (changed);


--
-- Name: ended_session_expires; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX ended_session_expires ON kodosumi.ended_session USING btree (expires_at);


--
-- Name: endpoint_base; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX endpoint_base ON kodosumi.endpoint USING btree (base_url);


--
-- Name: endpoint_order; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX endpoint_order ON kodosumi.endpoint USING btree (lower(COALESCE(summary, ''::text)), uid);


--
-- Name: endpoint_source; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX endpoint_source ON kodosumi.endpoint USING btree (source_id);


--
-- Name: execution_again; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX execution_again ON kodosumi.execution USING btree (again_of) WHERE (again_of IS NOT NULL);


--
-- Name: execution_app; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX execution_app ON kodosumi.execution USING btree (app_url, flow_name, id) INCLUDE (owner) WHERE ((app_url IS NOT NULL) AND (archived_at IS NULL));


--
-- Name: execution_changed; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX execution_changed ON kodosumi.execution USING btree (changed);


--
-- Name: execution_deployment; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX execution_deployment ON kodosumi.execution USING btree (deployment_id, id) INCLUDE (owner) WHERE ((deployment_id IS NOT NULL) AND (archived_at IS NULL));


--
-- Name: execution_live; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX execution_live ON kodosumi.execution USING btree (id) WHERE (status = ANY (ARRAY['starting'::text, 'running'::text, 'awaiting'::text]));


--
-- Name: execution_schedule; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX execution_schedule ON kodosumi.execution USING btree (schedule_id, id) WHERE (schedule_id IS NOT NULL);


--
-- Name: launch_key_created; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX launch_key_created ON kodosumi.launch_key USING btree (created_at);


--
-- Name: listing_flow; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX listing_flow ON kodosumi.listing USING btree (flow_name, created_at, execution_id) WHERE (NOT archived);


--
-- Name: listing_newest; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX listing_newest ON kodosumi.listing USING btree (created_at, execution_id) WHERE (NOT archived);


--
-- Name: listing_owner; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX listing_owner ON kodosumi.listing USING btree (owner, created_at, execution_id) WHERE (NOT archived);


--
-- Name: listing_owner_flow; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX listing_owner_flow ON kodosumi.listing USING btree (owner, flow_name) WHERE (NOT archived);


--
-- Name: listing_status; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX listing_status ON kodosumi.listing USING btree (status, created_at, execution_id) WHERE (NOT archived);


--
-- Name: listing_words; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX listing_words ON kodosumi.listing USING gin (words) WITH (gin_pending_list_limit='512');


--
-- Name: lock_open; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX lock_open ON kodosumi.lock USING btree (execution_id) WHERE (state = 'open'::text);


--
-- Name: payload_fid; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX payload_fid ON kodosumi.payload USING btree (fid);


--
-- Name: role_name; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE UNIQUE INDEX role_name ON kodosumi.role USING btree (lower(name));


--
-- Name: role_of_owner; Type: INDEX; Schema: kodosumi; Owner: -
--

CREATE INDEX role_of_owner ON kodosumi.role USING btree (((id)::text));


--
-- Name: event_0_pkey; Type: INDEX ATTACH; Schema: kodosumi; Owner: -
--

ALTER INDEX kodosumi.event_pkey ATTACH PARTITION kodosumi.event_0_pkey;


--
-- Name: audit audit_kept; Type: TRIGGER; Schema: kodosumi; Owner: -
--

CREATE TRIGGER audit_kept BEFORE DELETE OR UPDATE ON kodosumi.audit FOR EACH ROW EXECUTE FUNCTION kodosumi.keep_audit();


--
-- Name: audit audit_stamped; Type: TRIGGER; Schema: kodosumi; Owner: -
--

CREATE TRIGGER audit_stamped BEFORE INSERT ON kodosumi.audit FOR EACH ROW EXECUTE FUNCTION kodosumi.stamp_audit();


--
-- Name: audit audit_whole; Type: TRIGGER; Schema: kodosumi; Owner: -
--

CREATE TRIGGER audit_whole BEFORE TRUNCATE ON kodosumi.audit FOR EACH STATEMENT EXECUTE FUNCTION kodosumi.keep_audit();


--
-- Name: execution bound_header; Type: TRIGGER; Schema: kodosumi; Owner: -
--

CREATE TRIGGER bound_header BEFORE INSERT OR UPDATE OF app_url, flow_name, owner ON kodosumi.execution FOR EACH ROW WHEN (((octet_length(new.app_url) > 1000) OR (octet_length(new.flow_name) > 800) OR (octet_length(new.owner) > 600))) EXECUTE FUNCTION kodosumi.bound_header();


--
-- Name: execution list_changed; Type: TRIGGER; Schema: kodosumi; Owner: -
--

CREATE TRIGGER list_changed AFTER UPDATE OF owner, flow_name, summary, tags, inputs, status, archived_at, created_at ON kodosumi.execution FOR EACH ROW WHEN (((((((((old.status IS DISTINCT FROM new.status) OR (old.owner IS DISTINCT FROM new.owner)) OR (old.flow_name IS DISTINCT FROM new.flow_name)) OR (old.summary IS DISTINCT FROM new.summary)) OR (old.tags IS DISTINCT FROM new.tags)) OR (old.archived_at IS DISTINCT FROM new.archived_at)) OR (old.created_at IS DISTINCT FROM new.created_at)) OR ((old.inputs IS NULL) IS DISTINCT FROM (new.inputs IS NULL)))) EXECUTE FUNCTION kodosumi.list_execution();


--
-- Name: execution list_new; Type: TRIGGER; Schema: kodosumi; Owner: -
--

CREATE TRIGGER list_new AFTER INSERT ON kodosumi.execution FOR EACH ROW EXECUTE FUNCTION kodosumi.list_execution();


--
-- Name: api_key api_key_role_id_fkey; Type: FK CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.api_key
    ADD CONSTRAINT api_key_role_id_fkey FOREIGN KEY (role_id) REFERENCES kodosumi.role(id) ON DELETE CASCADE;


--
-- Name: endpoint endpoint_source_id_fkey; Type: FK CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.endpoint
    ADD CONSTRAINT endpoint_source_id_fkey FOREIGN KEY (source_id) REFERENCES kodosumi.source(id) ON DELETE CASCADE;


--
-- Name: listing listing_execution_id_fkey; Type: FK CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.listing
    ADD CONSTRAINT listing_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;


--
-- Name: lock lock_execution_id_fkey; Type: FK CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.lock
    ADD CONSTRAINT lock_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;


--
-- Name: schedule schedule_payload_id_fkey; Type: FK CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.schedule
    ADD CONSTRAINT schedule_payload_id_fkey FOREIGN KEY (payload_id) REFERENCES kodosumi.payload(id) ON DELETE SET NULL;


--
-- Name: seen seen_execution_id_fkey; Type: FK CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.seen
    ADD CONSTRAINT seen_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;


--
-- Name: writer writer_execution_id_fkey; Type: FK CONSTRAINT; Schema: kodosumi; Owner: -
--

ALTER TABLE ONLY kodosumi.writer
    ADD CONSTRAINT writer_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES kodosumi.execution(id) ON DELETE CASCADE;


--
-- PostgreSQL database dump complete
--

\unrestrict VKXiyoeMfTi452rP6tSinEhyRvhVcMpvr8M6KLEYFiv2ZLgKbxYDPpI9XW6kAze

