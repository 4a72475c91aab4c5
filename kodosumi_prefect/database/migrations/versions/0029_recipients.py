"""Links in webhooks, whom questions are asked of by now, and the code of suspended runs."""

from alembic import context, op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE {schema}.webhook ADD COLUMN with_links boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {schema}.webhook.with_links IS
    'whether it gets links with which its account answers what it is asked';
CREATE INDEX webhook_delivery_set_aside ON {schema}.webhook_delivery (webhook_id)
    WHERE state = 'set_aside';

ALTER TABLE {schema}.execution ADD COLUMN suspended_code text;
COMMENT ON COLUMN {schema}.execution.suspended_code IS
    'digests of the files that the code of the last suspended leg was in, as JSON by module';

-- Whom a name stands for changes with teams and accounts; so does who is told of open locks.
CREATE FUNCTION {schema}.mark_locks_asked(names text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    UPDATE {schema}.lock l SET changed = pg_current_xact_id()::text::bigint
    FROM (SELECT execution_id, lid FROM {schema}.lock WHERE state = 'open' AND asked && names
        FOR NO KEY UPDATE SKIP LOCKED) o
    WHERE l.execution_id = o.execution_id AND l.lid = o.lid
$body$;
COMMENT ON FUNCTION {schema}.mark_locks_asked IS
    'has those who follow changes look at open locks that are asked by one of these names; what is
being changed anyway is left to that';
CREATE FUNCTION {schema}.mark_locks_of_member() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM {schema}.mark_locks_asked(array(
        SELECT 'team:' || lower(t.name) FROM {schema}.team t WHERE t.id = NEW.team_id));
    RETURN NULL;
END $body$;
CREATE TRIGGER mark_locks AFTER INSERT ON {schema}.team_member
    FOR EACH ROW EXECUTE FUNCTION {schema}.mark_locks_of_member();
CREATE FUNCTION {schema}.mark_locks_of_team() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM {schema}.mark_locks_asked(array['team:' || lower(NEW.name)]);
    RETURN NULL;
END $body$;
CREATE TRIGGER mark_locks AFTER UPDATE OF name ON {schema}.team
    FOR EACH ROW EXECUTE FUNCTION {schema}.mark_locks_of_team();
CREATE FUNCTION {schema}.mark_locks_of_role() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM {schema}.mark_locks_asked({schema}.references_to(NEW.id::text));
    RETURN NULL;
END $body$;
CREATE TRIGGER mark_locks AFTER INSERT OR UPDATE OF name, active ON {schema}.role
    FOR EACH ROW EXECUTE FUNCTION {schema}.mark_locks_of_role();

DO $body$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT EXECUTE ON FUNCTION {schema}.mark_locks_asked, {schema}.mark_locks_of_member,
            {schema}.mark_locks_of_team, {schema}.mark_locks_of_role TO {name}_writer;
    END IF;
END $body$
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=f'"{name}"', name=name))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DROP TRIGGER mark_locks ON {schema}.team_member; "
        f"DROP TRIGGER mark_locks ON {schema}.team; "
        f"DROP TRIGGER mark_locks ON {schema}.role; "
        f"DROP FUNCTION {schema}.mark_locks_of_member(), {schema}.mark_locks_of_team(), "
        f"{schema}.mark_locks_of_role(), {schema}.mark_locks_asked(text[]); "
        f"DROP INDEX {schema}.webhook_delivery_set_aside; "
        f"ALTER TABLE {schema}.execution DROP COLUMN suspended_code; "
        f"ALTER TABLE {schema}.webhook DROP COLUMN with_links"
    )
