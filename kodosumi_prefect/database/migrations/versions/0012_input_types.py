"""What JSON does not say of inputs that are too large for Prefect's parameters."""

from alembic import context, op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE {schema}.payload ADD COLUMN types text;
COMMENT ON COLUMN {schema}.payload.types IS
    'where the inputs have types that JSON has no word for, as JSON; null if nowhere'
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema).replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(f"ALTER TABLE {schema}.payload DROP COLUMN types")
