"""What a question is called and what it asks, beside the name that its service knows it by."""

from alembic import context, op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"ALTER TABLE {schema}.lock ADD COLUMN title text, ADD COLUMN question text"
    )


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"ALTER TABLE {schema}.lock DROP COLUMN title, DROP COLUMN question"
    )
