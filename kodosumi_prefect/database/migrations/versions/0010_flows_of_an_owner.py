"""An index that says by itself whether somebody has an execution of a flow.

The list of flows asks that for each name, and read all executions of a flow to find that none of
them may be seen.
"""

from alembic import context, op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENT = """
CREATE INDEX listing_owner_flow ON {schema}.listing (owner, flow_name) WHERE NOT archived
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENT.format(schema=schema))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(f"DROP INDEX {schema}.listing_owner_flow")
