"""Webhooks that get links with which their account answers."""

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
    WHERE state = 'set_aside'
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DROP INDEX {schema}.webhook_delivery_set_aside; "
        f"ALTER TABLE {schema}.webhook DROP COLUMN with_links"
    )
