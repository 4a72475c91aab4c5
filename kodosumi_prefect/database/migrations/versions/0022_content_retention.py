"""Up to where contents of spans were deleted, when they are kept for less long than the rest."""

from alembic import context, op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"ALTER TABLE {schema}.execution ADD COLUMN contents_until bigint NOT NULL DEFAULT 0; "
        f"COMMENT ON COLUMN {schema}.execution.contents_until IS "
        "'the seq up to which retention deleted prompts and answers'"
    )


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(f"ALTER TABLE {schema}.execution DROP COLUMN contents_until")
