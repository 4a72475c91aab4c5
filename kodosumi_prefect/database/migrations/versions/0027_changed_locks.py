"""Which transaction last changed a lock, for those who follow changes."""

from alembic import context, op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE {schema}.lock ADD COLUMN changed bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN {schema}.lock.changed IS
    'transaction that last changed what there is to say of it; 0: none since there is this column';
CREATE INDEX lock_changed ON {schema}.lock (changed);

CREATE FUNCTION {schema}.mark_changed_lock() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    NEW.changed = pg_current_xact_id()::text::bigint;
    RETURN NEW;
END
$body$;
COMMENT ON FUNCTION {schema}.mark_changed_lock IS
    'notes the transaction in a lock, for writers that may not know the column';
CREATE TRIGGER mark_new BEFORE INSERT ON {schema}.lock
    FOR EACH ROW EXECUTE FUNCTION {schema}.mark_changed_lock();
CREATE TRIGGER mark_changed BEFORE UPDATE ON {schema}.lock
    FOR EACH ROW WHEN ((OLD.state, OLD.expires_at, OLD.asked, OLD.handed_on)
        IS DISTINCT FROM (NEW.state, NEW.expires_at, NEW.asked, NEW.handed_on))
    EXECUTE FUNCTION {schema}.mark_changed_lock();

-- What is open is news to whoever begins to follow.
UPDATE {schema}.lock SET changed = pg_current_xact_id()::text::bigint WHERE state = 'open'
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DROP TRIGGER mark_new ON {schema}.lock; DROP TRIGGER mark_changed ON {schema}.lock; "
        f"DROP FUNCTION {schema}.mark_changed_lock(); "
        f"ALTER TABLE {schema}.lock DROP COLUMN changed"
    )
