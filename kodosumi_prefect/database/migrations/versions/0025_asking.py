"""Questions that find people: who is asked, what follows when, what was done; teams and links."""

from alembic import context, op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE {schema}.lock
    ADD COLUMN asked text[],
    ADD COLUMN handed_on text[] NOT NULL DEFAULT '{{}}',
    ADD COLUMN quorum integer NOT NULL DEFAULT 1,
    ADD COLUMN on_expiry text,
    ADD COLUMN link boolean NOT NULL DEFAULT false,
    ADD COLUMN deadline timestamptz;
COMMENT ON COLUMN {schema}.lock.asked IS
    'who is asked: owner, team:name, @id of an account or its name, in lower case; null: the owner';
COMMENT ON COLUMN {schema}.lock.handed_on IS 'ids of accounts that had others asked in their place';
COMMENT ON COLUMN {schema}.lock.quorum IS
    'how many people have to answer; with more than one the result is the list of their answers';
COMMENT ON COLUMN {schema}.lock.on_expiry IS
    'JSON of what the run gets when nobody answers in time; null: a TimeoutError';
COMMENT ON COLUMN {schema}.lock.link IS 'links may be made with which it is answered';
COMMENT ON COLUMN {schema}.lock.deadline IS
    'when it expires by the clock of this database; expires_at is by that of the run';
UPDATE {schema}.lock SET deadline = expires_at WHERE state = 'open';
CREATE INDEX lock_newest ON {schema}.lock (opened_at DESC, lid DESC) WHERE state = 'open';
CREATE INDEX lock_deadline ON {schema}.lock (deadline) WHERE state = 'open';

CREATE FUNCTION {schema}.set_lock_deadline() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.deadline := now() + least(NEW.expires_at - NEW.opened_at, interval '100 years');
    RETURN NEW;
END $$;
CREATE TRIGGER set_lock_deadline BEFORE INSERT ON {schema}.lock
    FOR EACH ROW EXECUTE FUNCTION {schema}.set_lock_deadline();

CREATE TABLE {schema}.lock_plan (
    execution_id bigint NOT NULL,
    lid text NOT NULL,
    step text NOT NULL CHECK (step IN ('asked', 'reminded', 'escalated')),
    number integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    recipients text[] NOT NULL DEFAULT '{{}}',
    PRIMARY KEY (execution_id, lid, step, number),
    FOREIGN KEY (execution_id, lid) REFERENCES {schema}.lock ON DELETE CASCADE
);
CREATE INDEX lock_plan_due ON {schema}.lock_plan (due_at);
COMMENT ON TABLE {schema}.lock_plan IS 'what is still to be done about open locks, and when';

CREATE TABLE {schema}.lock_step (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    execution_id bigint NOT NULL,
    lid text NOT NULL,
    step text NOT NULL CHECK (step IN
        ('asked', 'reminded', 'escalated', 'delegated', 'answered')),
    number integer NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT now(),
    who text,
    who_name text,
    means text,
    recipients text[] NOT NULL DEFAULT '{{}}',
    reached text[] NOT NULL DEFAULT '{{}}',
    result text,
    visible_result text,
    FOREIGN KEY (execution_id, lid) REFERENCES {schema}.lock ON DELETE CASCADE
);
CREATE UNIQUE INDEX lock_step_once ON {schema}.lock_step (execution_id, lid, step, number)
    WHERE step IN ('asked', 'reminded', 'escalated');
CREATE UNIQUE INDEX lock_step_answer ON {schema}.lock_step (execution_id, lid, who)
    WHERE step = 'answered';
CREATE INDEX lock_step_of_lock ON {schema}.lock_step (execution_id, lid);
COMMENT ON TABLE {schema}.lock_step IS 'what was done about locks, by whom and to whom';
COMMENT ON COLUMN {schema}.lock_step.number IS 'of several reminders, from 0';
COMMENT ON COLUMN {schema}.lock_step.who IS
    'id of the account that did it, or link:name of who has none; null: the schedule of the lock';
COMMENT ON COLUMN {schema}.lock_step.means IS 'session, key, proxy or link';
COMMENT ON COLUMN {schema}.lock_step.recipients IS 'as asked has them, in the words of the author';
COMMENT ON COLUMN {schema}.lock_step.reached IS 'names of the accounts that these were then';
COMMENT ON COLUMN {schema}.lock_step.result IS
    'one of several answers that a lock needs, as lock.result has them';
COMMENT ON COLUMN {schema}.lock_step.visible_result IS 'the same as people may see it';

CREATE TABLE {schema}.lock_link (
    hash text PRIMARY KEY,
    execution_id bigint NOT NULL,
    lid text NOT NULL,
    account text,
    recipient text NOT NULL,
    code_hash text,
    wrong_codes integer NOT NULL DEFAULT 0,
    made_by text,
    made_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz,
    revoked_at timestamptz,
    FOREIGN KEY (execution_id, lid) REFERENCES {schema}.lock ON DELETE CASCADE
);
CREATE INDEX lock_link_of_lock ON {schema}.lock_link (execution_id, lid);
COMMENT ON TABLE {schema}.lock_link IS
    'links with which somebody answers one lock without signing in; tokens are kept as hashes only';
COMMENT ON COLUMN {schema}.lock_link.account IS 'id of the recipient''s account, if it has one';

CREATE TABLE {schema}.team (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX team_name ON {schema}.team (lower(name));
COMMENT ON TABLE {schema}.team IS 'named lists of accounts that questions are asked of';
CREATE TABLE {schema}.team_member (
    team_id uuid NOT NULL REFERENCES {schema}.team ON DELETE CASCADE,
    role_id uuid NOT NULL REFERENCES {schema}.role ON DELETE CASCADE,
    PRIMARY KEY (team_id, role_id)
);
CREATE INDEX team_member_role ON {schema}.team_member (role_id);

CREATE FUNCTION {schema}.people_of(reference text, owner text)
RETURNS TABLE (id text, name text) LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT r.id::text, r.name FROM {schema}.role r WHERE r.active AND (
        CASE WHEN reference = 'owner' THEN r.id::text = owner
        WHEN reference LIKE 'team:%' THEN r.id IN (
            SELECT m.role_id FROM {schema}.team_member m JOIN {schema}.team t ON t.id = m.team_id
            WHERE lower(t.name) = substr(reference, 6))
        WHEN reference LIKE '@%' THEN r.id::text = substr(reference, 2)
        ELSE lower(r.name) = reference END);
END;
COMMENT ON FUNCTION {schema}.people_of IS
    'the active accounts that a name in lock.asked stands for';

CREATE FUNCTION {schema}.references_to(account text) RETURNS text[]
LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT array(
        SELECT '@' || r.id::text FROM {schema}.role r WHERE r.id::text = account AND r.active
        UNION ALL
        SELECT lower(r.name) FROM {schema}.role r WHERE r.id::text = account AND r.active
            AND NOT lower(r.name) = 'owner' AND NOT r.name ILIKE ANY(ARRAY['team:%', '@%'])
        UNION ALL
        SELECT 'team:' || lower(t.name) FROM {schema}.role r
        JOIN {schema}.team_member m ON m.role_id = r.id JOIN {schema}.team t ON t.id = m.team_id
        WHERE r.id::text = account AND r.active);
END;
COMMENT ON FUNCTION {schema}.references_to IS
    'the names in lock.asked that stand for an account, but for owner';

-- Without a subquery, so that Postgres plans it as a part of queries.
CREATE FUNCTION {schema}.is_named(asked text[], handed_on text[], owner text, account text,
    names text[]) RETURNS boolean LANGUAGE sql STABLE
RETURN CASE WHEN account IS NULL THEN false
    WHEN asked IS NULL THEN coalesce(owner = account, false)
    ELSE account <> ALL(handed_on)
        AND (asked && names OR (owner IS NOT DISTINCT FROM account AND 'owner' = ANY(asked))) END;
COMMENT ON FUNCTION {schema}.is_named IS 'whether an account is asked by one of its names';

CREATE FUNCTION {schema}.falls_to(asked text[], owner text, account text) RETURNS boolean
LANGUAGE sql STABLE
RETURN owner = account AND EXISTS (SELECT FROM unnest(asked) AS one (reference)
    WHERE reference <> 'owner'
        AND NOT EXISTS (SELECT FROM {schema}.people_of(reference, owner)));
COMMENT ON FUNCTION {schema}.falls_to IS
    'whether an account is asked as the owner, since one of the names stands for nobody';

CREATE FUNCTION {schema}.is_asked(asked text[], handed_on text[], owner text, account text)
RETURNS boolean LANGUAGE sql STABLE
RETURN {schema}.is_named(asked, handed_on, owner, account, {schema}.references_to(account))
    OR coalesce({schema}.falls_to(asked, owner, account), false);
COMMENT ON FUNCTION {schema}.is_asked IS 'whether an account is asked';

DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.lock_plan, {schema}.lock_step,
            {schema}.lock_link, {schema}.team, {schema}.team_member TO {name}_writer;
        GRANT EXECUTE ON FUNCTION {schema}.set_lock_deadline, {schema}.people_of,
            {schema}.references_to, {schema}.is_named, {schema}.falls_to, {schema}.is_asked
            TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        REVOKE ALL ON {schema}.lock_link FROM {name}_reader;
        GRANT SELECT ON {schema}.lock_plan, {schema}.lock_step, {schema}.team,
            {schema}.team_member TO {name}_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    statements = STATEMENTS.format(schema=f'"{name}"', name=name)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    run = op.get_bind().exec_driver_sql
    for function in (
        "is_asked(text[], text[], text, text)",
        "falls_to(text[], text, text)",
        "is_named(text[], text[], text, text, text[])",
        "references_to(text)",
        "people_of(text, text)",
    ):
        run(f"DROP FUNCTION {schema}.{function}")
    tables = ("team_member", "team", "lock_link", "lock_step", "lock_plan")
    run(f"DROP TABLE {', '.join(f'{schema}.{table}' for table in tables)}")
    run(f"DROP TRIGGER set_lock_deadline ON {schema}.lock")
    run(f"DROP FUNCTION {schema}.set_lock_deadline()")
    columns = ("asked", "handed_on", "quorum", "on_expiry", "link", "deadline")
    drops = ", ".join(f"DROP COLUMN {column}" for column in columns)
    run(f"ALTER TABLE {schema}.lock {drops}")
