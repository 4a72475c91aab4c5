"""Who did what in the panel: table ``audit``, to which rows are only added.

A trigger refuses changes, and deletions but those of ``forget_audit``, which retention calls. It
stops whoever writes with the rights that ``db grants`` gives; the table's owner and superusers can
switch any trigger off.
"""

from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = r"""
CREATE TABLE {schema}.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    action text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('ok', 'refused', 'failed')),
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
    details jsonb NOT NULL DEFAULT '{{}}'
);
CREATE INDEX audit_at ON {schema}.audit (at);
CREATE INDEX audit_action ON {schema}.audit (action, id);
CREATE INDEX audit_actor ON {schema}.audit (actor_id, id);
CREATE INDEX audit_actor_name ON {schema}.audit (lower(actor_name), id);
CREATE INDEX audit_target ON {schema}.audit (target_id, id);
CREATE INDEX audit_target_name ON {schema}.audit (lower(target_name), id);
COMMENT ON TABLE {schema}.audit IS
    'who did what, when, from where and by what means; rows are only added';
COMMENT ON COLUMN {schema}.audit.actor_name IS
    'a copy, as of target_name: accounts, keys and sources may be deleted';
COMMENT ON COLUMN {schema}.audit.means IS
    'session, key, proxy, password; cli: the name is of a user of the operating system; start';

CREATE FUNCTION {schema}.stamp_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.at := clock_timestamp();
    RETURN NEW;
END
$body$;
COMMENT ON FUNCTION {schema}.stamp_audit IS 'when something was recorded is for nobody to say';
CREATE TRIGGER audit_stamped BEFORE INSERT ON {schema}.audit
    FOR EACH ROW EXECUTE FUNCTION {schema}.stamp_audit();

CREATE FUNCTION {schema}.keep_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('kodosumi.forgets_audit', true) = 'on'
        AND current_user = (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID)
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'rows of {schema}.audit are only added; retention alone deletes old ones'
        USING ERRCODE = 'insufficient_privilege';
END
$body$;
CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE ON {schema}.audit
    FOR EACH ROW EXECUTE FUNCTION {schema}.keep_audit();
CREATE TRIGGER audit_whole BEFORE TRUNCATE ON {schema}.audit
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.keep_audit();

CREATE FUNCTION {schema}.forget_audit(age float8, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    gone integer;
BEGIN
    -- Also for somebody who has taken over a role that may call this.
    IF age IS NULL OR age = 'NaN' OR age < 7 * 86400 THEN
        RAISE EXCEPTION 'what was recorded within 7 days is kept'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM set_config('kodosumi.forgets_audit', 'on', true);
    DELETE FROM {schema}.audit WHERE id IN (
        SELECT id FROM {schema}.audit WHERE at < now() - make_interval(secs => age)
        ORDER BY at LIMIT most);
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('kodosumi.forgets_audit', '', true);
    RETURN gone;
END
$body$;
COMMENT ON FUNCTION {schema}.forget_audit IS
    'deletes some of the rows older than a span of seconds, of 7 days at least; for retention';
REVOKE ALL ON FUNCTION {schema}.forget_audit(float8, integer) FROM PUBLIC;

-- As `db grants` has it: who writes adds and reads, who looks at everything sees nobody's address.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        REVOKE ALL ON {schema}.audit FROM {name}_writer;
        GRANT SELECT, INSERT ON {schema}.audit TO {name}_writer;
        GRANT EXECUTE ON FUNCTION {schema}.forget_audit(float8, integer) TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        REVOKE ALL ON {schema}.audit FROM {name}_reader;
    END IF;
END $$;
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    statements = STATEMENTS.format(schema=f'"{name}"', name=name)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DROP TABLE {schema}.audit; DROP FUNCTION {schema}.forget_audit(float8, integer); "
        f"DROP FUNCTION {schema}.keep_audit(); DROP FUNCTION {schema}.stamp_audit()"
    )
