"""What indexes hold of a header is bounded, so that no index row can be too large.

A trigger does it, for writers of older code too. What Postgres compresses fits as it is: rows that
are there already are left alone.
"""

from alembic import context, op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# A row of a b-tree has at most 2,704 bytes; a character has at most four.
STATEMENTS = """
CREATE FUNCTION {schema}.bound_header() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
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
$body$;
COMMENT ON FUNCTION {schema}.bound_header IS
    'cuts what indexes hold of an execution, for writers that do not';

CREATE TRIGGER bound_header BEFORE INSERT OR UPDATE OF app_url, flow_name, owner
    ON {schema}.execution FOR EACH ROW
    WHEN (octet_length(NEW.app_url) > 1000 OR octet_length(NEW.flow_name) > 800
        OR octet_length(NEW.owner) > 600)
    EXECUTE FUNCTION {schema}.bound_header()
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema).replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DROP TRIGGER bound_header ON {schema}.execution; DROP FUNCTION {schema}.bound_header()"
    )
