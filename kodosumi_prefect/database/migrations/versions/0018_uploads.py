"""Uploads say beforehand what they will be, and afterwards why they were refused."""

from alembic import context, op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE {schema}.upload
    ADD COLUMN declared_size bigint,
    ADD COLUMN declared_sha256 text,
    ADD COLUMN refused text;
COMMENT ON COLUMN {schema}.upload.declared_size IS 'bytes that its sender says it has';
COMMENT ON COLUMN {schema}.upload.declared_sha256 IS 'what its sender says it has';
COMMENT ON COLUMN {schema}.upload.refused IS
    'why it is none, such as what the scan found; its content is deleted then'
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    columns = ("declared_size", "declared_sha256", "refused")
    dropped = ", ".join(f"DROP COLUMN {column}" for column in columns)
    op.get_bind().exec_driver_sql(f"ALTER TABLE {schema}.upload {dropped}")
