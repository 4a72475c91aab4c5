"""Accounts, registered services, what launches keep, open locks and who made which schedule."""

from alembic import context, op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ("lock", "schedule", "payload", "endpoint", "source", "login_failure", "api_key", "role")

STATEMENTS = """
CREATE TABLE {schema}.role (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    email text,
    active boolean NOT NULL DEFAULT true,
    operator boolean NOT NULL DEFAULT false,
    password text,
    epoch integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX role_name ON {schema}.role (lower(name));
CREATE INDEX role_of_owner ON {schema}.role ((id::text));
COMMENT ON TABLE {schema}.role IS 'accounts of the panel; Kodosumi calls them roles';
COMMENT ON COLUMN {schema}.role.password IS 'argon2 hash; none: signs in through a proxy only';
COMMENT ON COLUMN {schema}.role.epoch IS 'sessions that were begun under an earlier one are void';

CREATE TABLE {schema}.api_key (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    role_id uuid NOT NULL REFERENCES {schema}.role ON DELETE CASCADE,
    name text NOT NULL,
    prefix text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    used_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_key_role ON {schema}.api_key (role_id);
COMMENT ON COLUMN {schema}.api_key.prefix IS 'the first characters, by which people tell keys';

CREATE TABLE {schema}.login_failure (
    key text PRIMARY KEY,
    failures integer NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE {schema}.login_failure IS 'failed logins by name and by address';

CREATE TABLE {schema}.source (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    url text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('openapi', 'routes', 'mounted', 'prefect')),
    created_at timestamptz NOT NULL DEFAULT now(),
    checked_at timestamptz,
    reached_at timestamptz,
    trouble text
);
COMMENT ON TABLE {schema}.source IS 'where endpoints are found; trouble says why not, last time';

CREATE TABLE {schema}.endpoint (
    uid text PRIMARY KEY,
    source_id bigint NOT NULL REFERENCES {schema}.source ON DELETE CASCADE,
    method text NOT NULL,
    url text NOT NULL,
    target text,
    base_url text,
    deployment_id uuid,
    summary text,
    description text,
    deprecated boolean NOT NULL DEFAULT false,
    author text,
    organization text,
    version text,
    tags text[] NOT NULL DEFAULT '{{}}',
    reachable boolean NOT NULL DEFAULT true,
    found_at timestamptz NOT NULL DEFAULT now(),
    gone_at timestamptz
);
CREATE INDEX endpoint_source ON {schema}.endpoint (source_id);
CREATE INDEX endpoint_base ON {schema}.endpoint (base_url);
CREATE INDEX endpoint_order ON {schema}.endpoint (lower(coalesce(summary, '')), uid);
COMMENT ON COLUMN {schema}.endpoint.url IS 'where the panel serves it';
COMMENT ON COLUMN {schema}.endpoint.target IS
    'where its service serves it; a path if it is mounted, none if it is a Prefect deployment';
COMMENT ON COLUMN {schema}.endpoint.reachable IS 'whether its source could be read the last time';
COMMENT ON COLUMN {schema}.endpoint.gone_at IS 'when its source no longer named it';

CREATE TABLE {schema}.payload (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    fid uuid,
    inputs text,
    secrets bytea,
    kept boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payload_fid ON {schema}.payload (fid);
COMMENT ON COLUMN {schema}.payload.fid IS 'the run it is for; none yet, or none at all if kept';
COMMENT ON TABLE {schema}.payload IS
    'inputs too large for Prefect, and secret ones, encrypted; kept: for a schedule, not one run';

CREATE TABLE {schema}.schedule (
    id uuid PRIMARY KEY,
    deployment_id uuid NOT NULL,
    endpoint_uid text,
    owner text,
    summary text,
    parameters text,
    payload_id uuid REFERENCES {schema}.payload ON DELETE SET NULL,
    paused_because text,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN {schema}.schedule.parameters IS
    'as JSON, since Prefect 3 forgets them when a schedule is switched on or off';
COMMENT ON TABLE {schema}.schedule IS
    'who made which schedule of a Prefect deployment; the schedule itself is in Prefect';

ALTER TABLE {schema}.execution ADD COLUMN schedule_id uuid;
CREATE INDEX execution_schedule ON {schema}.execution (schedule_id, id)
    WHERE schedule_id IS NOT NULL;
COMMENT ON COLUMN {schema}.execution.schedule_id IS 'the deployment schedule in Prefect it is of';

CREATE TABLE {schema}.lock (
    execution_id bigint NOT NULL REFERENCES {schema}.execution ON DELETE CASCADE,
    lid text NOT NULL,
    name text NOT NULL,
    attempt integer NOT NULL,
    data text,
    elements text,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'leased', 'expired', 'void')),
    opened_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    result text,
    answered_by text,
    answered_at timestamptz,
    PRIMARY KEY (execution_id, lid)
);
CREATE INDEX lock_open ON {schema}.lock (execution_id) WHERE state = 'open';
COMMENT ON TABLE {schema}.lock IS 'questions to humans; a run waits until it is leased or expires';
COMMENT ON COLUMN {schema}.lock.elements IS
    'the form as JSON, if the run brought it; else its service has it';

ALTER TABLE {schema}.deleted ADD COLUMN owner text;

-- Who looks at everything (`db grants`) needs none of what signs people in.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        REVOKE ALL ON {schema}.role, {schema}.api_key, {schema}.login_failure, {schema}.payload
            FROM {name}_reader;
        GRANT SELECT (id, name) ON {schema}.role TO {name}_reader;
    END IF;
END $$;
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    statements = STATEMENTS.format(schema=f'"{name}"', name=name)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    tables = ", ".join(f"{schema}.{name}" for name in TABLES)
    op.get_bind().exec_driver_sql(
        f"DROP TABLE {tables}; ALTER TABLE {schema}.deleted DROP COLUMN owner; "
        f"ALTER TABLE {schema}.execution DROP COLUMN schedule_id"
    )
