"""Tasks of runs that execute in other processes than their flow's: at work, or waiting."""

from alembic import context, op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE {schema}.kept_result
    ADD COLUMN apart integer, ADD COLUMN parked text[], ADD COLUMN held integer,
    ADD COLUMN said text;
COMMENT ON COLUMN {schema}.kept_result.apart IS
    'leg in which it began in another process than its flow''s; null: in none';
COMMENT ON COLUMN {schema}.kept_result.parked IS
    'locks that all of its code there waits at, long enough; null: it is at work';
COMMENT ON COLUMN {schema}.kept_result.held IS
    'leg that ends, or ended, in which it must neither begin nor go on';
COMMENT ON COLUMN {schema}.kept_result.said IS
    'what is told of it to who waits for that: parked:…, over:…';
CREATE INDEX kept_result_said ON {schema}.kept_result (said) WHERE said IS NOT NULL
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"ALTER TABLE {schema}.kept_result DROP COLUMN apart, DROP COLUMN parked, "
        "DROP COLUMN held, DROP COLUMN said"
    )
