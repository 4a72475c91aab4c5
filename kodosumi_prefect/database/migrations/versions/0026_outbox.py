"""What is told of locks and executions: an outbox, and the webhooks that get what is in it."""

from alembic import context, op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid uuid NOT NULL UNIQUE,
    kind text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    execution_id bigint REFERENCES {schema}.execution ON DELETE CASCADE,
    lid text,
    owner text,
    facts jsonb NOT NULL DEFAULT '{{}}',
    for_prefect boolean NOT NULL,
    emitted_at timestamptz
);
CREATE INDEX outbox_execution ON {schema}.outbox (execution_id, id);
CREATE INDEX outbox_unsent ON {schema}.outbox (id) WHERE for_prefect AND emitted_at IS NULL;
CREATE INDEX outbox_age ON {schema}.outbox (occurred_at);
COMMENT ON TABLE {schema}.outbox IS
    'what is to be told of locks and executions, written along with it; texts are not in here';
COMMENT ON COLUMN {schema}.outbox.uid IS
    'the same for the same thing, so that whoever gets it twice can tell';
COMMENT ON COLUMN {schema}.outbox.owner IS 'of a schedule; what is of an execution is its owner''s';
COMMENT ON COLUMN {schema}.outbox.emitted_at IS 'when Prefect took it as an event';

CREATE TABLE {schema}.outbox_rules (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    prefect_events boolean NOT NULL DEFAULT false
);
INSERT INTO {schema}.outbox_rules DEFAULT VALUES;
COMMENT ON TABLE {schema}.outbox_rules IS 'settings of the observer that leads';

CREATE TABLE {schema}.webhook (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    role_id uuid NOT NULL REFERENCES {schema}.role ON DELETE CASCADE,
    name text NOT NULL,
    url text NOT NULL,
    kinds text[] NOT NULL,
    everyone boolean NOT NULL DEFAULT false,
    with_data boolean NOT NULL DEFAULT false,
    secret bytea NOT NULL,
    old_secret bytea,
    old_until timestamptz,
    active boolean NOT NULL DEFAULT true,
    paused_because text,
    failures integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_role ON {schema}.webhook (role_id);
COMMENT ON COLUMN {schema}.webhook.everyone IS
    'of all executions, as long as its account is an operator''s; else of the account''s own';
COMMENT ON COLUMN {schema}.webhook.with_data IS 'whether it gets what a question asks';
COMMENT ON COLUMN {schema}.webhook.secret IS 'encrypted; what is sent is signed with it';
COMMENT ON COLUMN {schema}.webhook.old_secret IS 'the one before, which signs too, until old_until';
COMMENT ON COLUMN {schema}.webhook.failures IS 'deliveries in a row that failed';

-- Without references: what a run writes must not wait for, or fail by, one that is being deleted.
CREATE TABLE {schema}.webhook_delivery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    outbox_id bigint NOT NULL REFERENCES {schema}.outbox ON DELETE CASCADE,
    webhook_id uuid NOT NULL,
    execution_id bigint,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'set_aside')),
    tries integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    sending boolean NOT NULL DEFAULT false,
    began_at timestamptz,
    ended_at timestamptz,
    status integer,
    trouble text,
    UNIQUE (outbox_id, webhook_id)
);
CREATE INDEX webhook_delivery_due ON {schema}.webhook_delivery (webhook_id, next_at)
    WHERE state = 'waiting';
CREATE INDEX webhook_delivery_order
    ON {schema}.webhook_delivery (webhook_id, execution_id, outbox_id) WHERE state = 'waiting';
CREATE INDEX webhook_delivery_sending ON {schema}.webhook_delivery (id) WHERE sending;
CREATE INDEX webhook_delivery_newest ON {schema}.webhook_delivery (webhook_id, id);
COMMENT ON COLUMN {schema}.webhook_delivery.sending IS
    'an observer sends it now; until next_at nobody else does, unless that one lost the lead';
COMMENT ON COLUMN {schema}.webhook_delivery.began_at IS 'of the first try';
COMMENT ON COLUMN {schema}.webhook_delivery.status IS 'HTTP status of the last answer, if any';

CREATE TABLE {schema}.silence (
    schedule_id uuid NOT NULL,
    sort text NOT NULL CHECK (sort IN ('no_run', 'no_success')),
    since timestamptz NOT NULL,
    PRIMARY KEY (schedule_id, sort)
);
COMMENT ON TABLE {schema}.silence IS 'schedules without runs, or without success, and told to be';

CREATE FUNCTION {schema}.deliver_word(id_ bigint, kind_ text, execution_ bigint, owner_ text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO {schema}.webhook_delivery (outbox_id, webhook_id, execution_id)
    SELECT id_, w.id, execution_ FROM {schema}.webhook w JOIN {schema}.role r ON r.id = w.role_id
    WHERE w.active AND r.active AND kind_ = ANY (w.kinds)
        AND CASE WHEN w.everyone THEN r.operator ELSE r.id::text = owner_ OR EXISTS (
            SELECT FROM {schema}.outbox o
            JOIN {schema}.lock l ON l.execution_id = o.execution_id AND l.lid = o.lid
            WHERE o.id = id_ AND {schema}.is_asked(l.asked, l.handed_on, owner_, r.id::text)) END
    ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION {schema}.deliver_word IS
    'has the webhooks get it that want to: of its owner, of who is asked, of operators';

CREATE FUNCTION {schema}.tell(kind_ text, execution_ bigint, key_ text, lid_ text, facts_ jsonb)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted boolean;
    added bigint;
    owner_ text;
    fid_ uuid;
BEGIN
    SELECT prefect_events INTO wanted FROM {schema}.outbox_rules;
    IF NOT wanted AND NOT EXISTS (
        SELECT FROM {schema}.webhook w WHERE w.active AND kind_ = ANY (w.kinds)
    ) THEN
        RETURN;
    END IF;
    SELECT e.owner, e.fid INTO owner_, fid_ FROM {schema}.execution e WHERE e.id = execution_;
    INSERT INTO {schema}.outbox (uid, kind, execution_id, lid, facts, for_prefect)
    VALUES (md5(concat_ws(' ', fid_, kind_, key_))::uuid, kind_, execution_, lid_, facts_, wanted)
    ON CONFLICT (uid) DO NOTHING RETURNING id INTO added;
    IF added IS NOT NULL THEN
        PERFORM {schema}.deliver_word(added, kind_, execution_, owner_);
    END IF;
END $$;
COMMENT ON FUNCTION {schema}.tell IS
    'puts something of an execution into the outbox, if anybody listens; the key tells repeats';

CREATE FUNCTION {schema}.tell_of_lock() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM {schema}.tell('lock.' || CASE NEW.state WHEN 'open' THEN 'opened'
            WHEN 'leased' THEN 'answered' ELSE 'expired' END,
        NEW.execution_id, NEW.lid, NEW.lid, jsonb_build_object('attempt', NEW.attempt));
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_new_lock AFTER INSERT ON {schema}.lock
    FOR EACH ROW WHEN (NEW.state = 'open') EXECUTE FUNCTION {schema}.tell_of_lock();
CREATE TRIGGER tell_of_lock AFTER UPDATE OF state ON {schema}.lock
    FOR EACH ROW WHEN (OLD.state = 'open' AND NEW.state IN ('leased', 'expired'))
    EXECUTE FUNCTION {schema}.tell_of_lock();

-- Whoever is asked, at once or later, hears of the question.
CREATE FUNCTION {schema}.tell_asked() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM {schema}.deliver_word(o.id, o.kind, o.execution_id, e.owner)
    FROM {schema}.outbox o JOIN {schema}.execution e ON e.id = o.execution_id
    WHERE o.execution_id = NEW.execution_id AND o.lid = NEW.lid AND o.kind = 'lock.opened';
    RETURN NULL;
END $$;
CREATE TRIGGER tell_asked AFTER UPDATE OF asked ON {schema}.lock
    FOR EACH ROW WHEN (NEW.state = 'open' AND NEW.asked IS DISTINCT FROM OLD.asked)
    EXECUTE FUNCTION {schema}.tell_asked();

CREATE FUNCTION {schema}.tell_of_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM {schema}.tell('execution.' || CASE WHEN NEW.status = 'finished' THEN 'finished'
            WHEN NEW.state_type = 'CANCELLED' THEN 'cancelled'
            WHEN NEW.state_type = 'CRASHED' THEN 'crashed' ELSE 'failed' END,
        NEW.id, NEW.attempt::text, NULL,
        jsonb_build_object('attempt', NEW.attempt, 'state', NEW.state_name));
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_end AFTER UPDATE OF ended_seq ON {schema}.execution
    FOR EACH ROW WHEN (NEW.ended_seq IS NOT NULL AND NEW.ended_seq IS DISTINCT FROM OLD.ended_seq)
    EXECUTE FUNCTION {schema}.tell_of_end();

-- Whose it is may be known later than what is told of it.
CREATE FUNCTION {schema}.tell_owner() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM {schema}.deliver_word(o.id, o.kind, NEW.id, NEW.owner)
    FROM {schema}.outbox o WHERE o.execution_id = NEW.id ORDER BY o.id;
    RETURN NULL;
END $$;
CREATE TRIGGER tell_owner AFTER UPDATE OF owner ON {schema}.execution
    FOR EACH ROW WHEN (OLD.owner IS NULL AND NEW.owner IS NOT NULL)
    EXECUTE FUNCTION {schema}.tell_owner();

CREATE FUNCTION {schema}.tell_of_budget() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM {schema}.tell('execution.over-budget', NEW.execution_id,
        concat_ws(' ', NEW.per, NEW.unit, NEW.day, NEW.allowed), NULL,
        jsonb_build_object('per', NEW.per, 'unit', NEW.unit, 'spent', NEW.spent,
            'allowed', NEW.allowed, 'at_limit', NEW.at_limit));
    RETURN NULL;
END $$;
CREATE TRIGGER tell_of_new_budget AFTER INSERT ON {schema}.budget_mark
    FOR EACH ROW WHEN (NEW.over_at IS NOT NULL) EXECUTE FUNCTION {schema}.tell_of_budget();
CREATE TRIGGER tell_of_budget AFTER UPDATE OF over_at ON {schema}.budget_mark
    FOR EACH ROW WHEN (OLD.over_at IS NULL AND NEW.over_at IS NOT NULL)
    EXECUTE FUNCTION {schema}.tell_of_budget();

CREATE FUNCTION {schema}.tell_of_step() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM {schema}.tell('lock.reminded', NEW.execution_id,
        concat_ws(' ', NEW.lid, NEW.id), NEW.lid,
        jsonb_build_object('step', NEW.step, 'number', NEW.number));
    RETURN NULL;
END $$;
DO $$ BEGIN
    IF to_regclass('{schema}.lock_step') IS NOT NULL THEN
        CREATE TRIGGER tell_of_step AFTER INSERT ON {schema}.lock_step
            FOR EACH ROW WHEN (NEW.step IN ('reminded', 'escalated'))
            EXECUTE FUNCTION {schema}.tell_of_step();
    END IF;
END $$;

DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.outbox, {schema}.outbox_rules,
            {schema}.webhook, {schema}.webhook_delivery, {schema}.silence TO {name}_writer;
        GRANT EXECUTE ON FUNCTION {schema}.tell, {schema}.deliver_word, {schema}.tell_of_lock,
            {schema}.tell_of_end, {schema}.tell_owner, {schema}.tell_of_budget,
            {schema}.tell_asked, {schema}.tell_of_step TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        REVOKE ALL ON {schema}.webhook FROM {name}_reader;
        GRANT SELECT ON {schema}.outbox, {schema}.outbox_rules, {schema}.webhook_delivery,
            {schema}.silence TO {name}_reader;
    END IF;
END $$
"""
TRIGGERS = {
    "lock": ("tell_of_new_lock", "tell_of_lock", "tell_asked"),
    "execution": ("tell_of_end", "tell_owner"),
    "budget_mark": ("tell_of_new_budget", "tell_of_budget"),
}


def upgrade() -> None:
    name = context.config.attributes["schema"]
    statements = STATEMENTS.format(schema=f'"{name}"', name=name)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    run = op.get_bind().exec_driver_sql
    for table, names in TRIGGERS.items():
        for name in names:
            run(f"DROP TRIGGER {name} ON {schema}.{table}")
    run(f"DROP FUNCTION {schema}.tell_of_step() CASCADE")
    for function in (
        *("tell_of_lock()", "tell_of_end()", "tell_owner()", "tell_asked()", "tell_of_budget()"),
        "tell(text, bigint, text, text, jsonb)",
        "deliver_word(bigint, text, bigint, text)",
    ):
        run(f"DROP FUNCTION {schema}.{function}")
    tables = ("silence", "webhook_delivery", "webhook", "outbox_rules", "outbox")
    run(f"DROP TABLE {', '.join(f'{schema}.{table}' for table in tables)}")
