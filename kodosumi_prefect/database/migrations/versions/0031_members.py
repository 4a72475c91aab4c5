"""Who joins and leaves a team stands in what was done about the questions that it is asked."""

from alembic import context, op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE {schema}.lock_step DROP CONSTRAINT lock_step_step_check,
    ADD CONSTRAINT lock_step_step_check CHECK (step IN
        ('asked', 'reminded', 'escalated', 'delegated', 'answered', 'joined', 'left'));
COMMENT ON COLUMN {schema}.lock_step.recipients IS
    'as asked has them, in the words of the author; of joined and left the team';
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DELETE FROM {schema}.lock_step WHERE step IN ('joined', 'left'); "
        f"ALTER TABLE {schema}.lock_step DROP CONSTRAINT lock_step_step_check, "
        "ADD CONSTRAINT lock_step_step_check CHECK (step IN "
        "('asked', 'reminded', 'escalated', 'delegated', 'answered'))"
    )
