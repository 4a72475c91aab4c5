"""Budgets: what runs, services, owners and all together may spend, weighed as spans are written."""

from alembic import context, op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.budget (
    per text NOT NULL CHECK (per IN ('run', 'service', 'owner', 'all')),
    name text NOT NULL DEFAULT '',
    dollars numeric,
    tokens bigint,
    at_limit text NOT NULL DEFAULT 'stop' CHECK (at_limit IN ('stop', 'ask')),
    source text NOT NULL DEFAULT 'operator',
    PRIMARY KEY (per, name)
);
COMMENT ON TABLE {schema}.budget IS
    'what may be spent: per run in all, otherwise on a day; null: any amount';
COMMENT ON COLUMN {schema}.budget.name IS
    'of a flow, a service''s URL, or the id of an owner; empty: each that has no budget by name';
COMMENT ON COLUMN {schema}.budget.source IS 'settings, or who set it otherwise';

CREATE TABLE {schema}.budget_rules (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    zone text NOT NULL DEFAULT 'UTC',
    unpriced text NOT NULL DEFAULT 'tokens' CHECK (unpriced IN ('stop', 'ask', 'tokens')),
    unpriced_tokens bigint NOT NULL DEFAULT 1000000
);
INSERT INTO {schema}.budget_rules DEFAULT VALUES;

CREATE TABLE {schema}.spending (
    execution_id bigint NOT NULL,
    day date NOT NULL,
    owner text,
    service text NOT NULL,
    flow text,
    dollars numeric NOT NULL,
    tokens bigint NOT NULL,
    PRIMARY KEY (execution_id, day)
);
CREATE INDEX spending_owner ON {schema}.spending (day, owner);
CREATE INDEX spending_service ON {schema}.spending (day, service);
CREATE INDEX spending_flow ON {schema}.spending (day, flow);
COMMENT ON TABLE {schema}.spending IS
    'what executions spent on each day, a row each, so that none waits for another one';

CREATE TABLE {schema}.budget_mark (
    execution_id bigint NOT NULL REFERENCES {schema}.execution ON DELETE CASCADE,
    per text NOT NULL,
    unit text NOT NULL,
    day date NOT NULL,
    spent numeric NOT NULL,
    allowed numeric NOT NULL,
    granted numeric NOT NULL DEFAULT 0,
    at_limit text NOT NULL,
    calls_open integer,
    near_at timestamptz,
    over_at timestamptz,
    near_told boolean NOT NULL DEFAULT false,
    over_told boolean NOT NULL DEFAULT false,
    lid text,
    refused_at timestamptz,
    stopped_at timestamptz,
    PRIMARY KEY (execution_id, per, unit, day)
);
COMMENT ON TABLE {schema}.budget_mark IS
    'budgets of executions of which four fifths are spent, and what follows from it';
COMMENT ON COLUMN {schema}.budget_mark.unit IS
    'dollars, tokens, or unpriced: tokens of models whose price is not known';
COMMENT ON COLUMN {schema}.budget_mark.day IS 'in the zone of budgets; -infinity: of the whole run';
COMMENT ON COLUMN {schema}.budget_mark.granted IS 'what somebody allowed this run beyond it';
COMMENT ON COLUMN {schema}.budget_mark.calls_open IS
    'calls of models that were under way when it was spent';

-- One budget of an execution against what was spent of it.
CREATE FUNCTION {schema}.mark_budget(id_ bigint, per_ text, unit_ text, day_ date, spent_ numeric,
    allowed_ numeric, at_limit_ text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE {schema}.budget_mark m SET spent = spent_, allowed = allowed_ + m.granted,
        at_limit = at_limit_,
        near_at = CASE WHEN spent_ >= 0.8 * (allowed_ + m.granted) THEN coalesce(m.near_at, now())
            WHEN m.near_told THEN m.near_at END,
        over_at = CASE WHEN spent_ >= allowed_ + m.granted THEN coalesce(m.over_at, now()) END,
        calls_open = CASE WHEN spent_ >= allowed_ + m.granted
            THEN coalesce(m.calls_open, {schema}.calls_open(id_)) END
    WHERE m.execution_id = id_ AND m.per = per_ AND m.unit = unit_ AND m.day = day_;
    IF NOT FOUND AND spent_ >= 0.8 * allowed_ THEN
        INSERT INTO {schema}.budget_mark (execution_id, per, unit, day, spent, allowed, at_limit,
            near_at, over_at, calls_open)
        VALUES (id_, per_, unit_, day_, spent_, allowed_, at_limit_, now(),
            CASE WHEN spent_ >= allowed_ THEN now() END,
            CASE WHEN spent_ >= allowed_ THEN {schema}.calls_open(id_) END)
        ON CONFLICT DO NOTHING;
    END IF;
END $$;

CREATE FUNCTION {schema}.calls_open(id_ bigint) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT count(*)::integer FROM {schema}.span
    WHERE execution_id = id_ AND type IN ('llm', 'embedding') AND end_seq IS NULL
        AND attempt >= (SELECT attempt FROM {schema}.execution WHERE id = id_)
$$;

CREATE FUNCTION {schema}.weigh_budgets(id_ bigint) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rules {schema}.budget_rules;
    e record;
    b {schema}.budget;
    key text;
    today date;
    day_ date;
    dollars_ numeric;
    tokens_ numeric;
    in_money text;
BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.budget) THEN
        RETURN;
    END IF;
    SELECT * INTO rules FROM {schema}.budget_rules;
    today := (now() AT TIME ZONE rules.zone)::date;
    SELECT x.owner, coalesce(x.app_url, x.flow_name, '') AS service, x.flow_name AS flow, x.cost,
        x.input_tokens + x.output_tokens AS tokens, x.unpriced_calls
    INTO e FROM {schema}.execution x WHERE x.id = id_;
    FOR b IN
        SELECT DISTINCT ON (per) * FROM {schema}.budget
        WHERE per = 'all' OR (per IN ('run', 'service') AND name IN ('', e.service, e.flow))
            OR (per = 'owner' AND e.owner IS NOT NULL AND name IN ('', e.owner))
        ORDER BY per, name DESC
    LOOP
        day_ := CASE WHEN b.per = 'run' THEN '-infinity'::date ELSE today END;
        IF b.per = 'run' THEN
            dollars_ := e.cost; tokens_ := e.tokens;
        ELSIF b.per = 'owner' THEN
            SELECT coalesce(sum(s.dollars), 0), coalesce(sum(s.tokens), 0) INTO dollars_, tokens_
            FROM {schema}.spending s WHERE s.day = today AND s.owner = e.owner;
        ELSIF b.per = 'service' THEN
            key := CASE WHEN b.name = '' THEN e.service ELSE b.name END;
            SELECT coalesce(sum(s.dollars), 0), coalesce(sum(s.tokens), 0) INTO dollars_, tokens_
            FROM {schema}.spending s WHERE s.day = today AND (s.service = key OR s.flow = key);
        ELSE
            SELECT coalesce(sum(s.dollars), 0), coalesce(sum(s.tokens), 0) INTO dollars_, tokens_
            FROM {schema}.spending s WHERE s.day = today;
        END IF;
        IF b.dollars IS NOT NULL THEN
            in_money := b.at_limit;
            PERFORM {schema}.mark_budget(id_, b.per, 'dollars', day_, dollars_, b.dollars,
                b.at_limit);
        END IF;
        IF b.tokens IS NOT NULL THEN
            PERFORM {schema}.mark_budget(id_, b.per, 'tokens', day_, tokens_, b.tokens, b.at_limit);
        END IF;
    END LOOP;
    IF in_money IS NULL OR e.unpriced_calls = 0 THEN
        RETURN;
    END IF;
    -- What is being looked up, or is known by now and being filled in, is not unknown.
    SELECT coalesce(sum(m.input_tokens + m.output_tokens), 0) INTO tokens_
    FROM {schema}.model_use m
    WHERE m.execution_id = id_ AND m.unpriced > 0 AND NOT EXISTS (
        SELECT FROM {schema}.model_price p WHERE p.provider = m.provider AND p.model = m.model
            AND (p.input IS NOT NULL
                OR (p.looked_up_at IS NULL AND p.asked_at > now() - interval '30 s')));
    IF tokens_ > 0 THEN
        PERFORM {schema}.mark_budget(id_, 'run', 'unpriced', '-infinity', tokens_,
            CASE WHEN rules.unpriced = 'tokens' THEN rules.unpriced_tokens ELSE 0 END,
            CASE WHEN rules.unpriced = 'tokens' THEN in_money ELSE rules.unpriced END);
    END IF;
END $$;
COMMENT ON FUNCTION {schema}.weigh_budgets IS
    'marks budgets of an execution that are nearly or wholly spent; retries and subflows count too';

CREATE FUNCTION {schema}.follow_spending() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO {schema}.spending AS known
        (execution_id, day, owner, service, flow, dollars, tokens)
    SELECT NEW.id, (now() AT TIME ZONE r.zone)::date, NEW.owner,
        coalesce(NEW.app_url, NEW.flow_name, ''), NEW.flow_name, NEW.cost - OLD.cost,
        NEW.input_tokens + NEW.output_tokens - OLD.input_tokens - OLD.output_tokens
    FROM {schema}.budget_rules r
    ON CONFLICT (execution_id, day) DO UPDATE SET owner = coalesce(excluded.owner, known.owner),
        service = excluded.service, flow = excluded.flow,
        dollars = known.dollars + excluded.dollars, tokens = known.tokens + excluded.tokens;
    PERFORM {schema}.weigh_budgets(NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER follow_spending AFTER UPDATE OF cost, input_tokens, output_tokens, unpriced_calls
    ON {schema}.execution FOR EACH ROW
    WHEN ((OLD.cost, OLD.input_tokens, OLD.output_tokens, OLD.unpriced_calls)
        IS DISTINCT FROM (NEW.cost, NEW.input_tokens, NEW.output_tokens, NEW.unpriced_calls))
    EXECUTE FUNCTION {schema}.follow_spending();

CREATE FUNCTION {schema}.budget_standing(id_ bigint, OUT state text, OUT per text, OUT unit text,
    OUT spent numeric, OUT allowed numeric) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.budget) THEN
        state := 'free';
        RETURN;
    END IF;
    PERFORM {schema}.weigh_budgets(id_);
    SELECT CASE WHEN m.over_at IS NULL THEN 'near'
            WHEN m.at_limit = 'ask' AND m.refused_at IS NULL THEN 'asking' ELSE 'spent' END,
        m.per, m.unit, m.spent, m.allowed
    INTO state, per, unit, spent, allowed
    FROM {schema}.budget_mark m, {schema}.budget_rules r
    WHERE m.execution_id = id_ AND m.near_at IS NOT NULL
        AND m.day IN ('-infinity', (now() AT TIME ZONE r.zone)::date)
    ORDER BY m.over_at IS NULL, m.at_limit = 'ask' AND m.refused_at IS NULL,
        m.spent / nullif(m.allowed, 0) DESC LIMIT 1;
    state := coalesce(state, 'within');
END $$;
COMMENT ON FUNCTION {schema}.budget_standing IS
    'free, within, near, asking or spent, and the budget that it is about';

DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.budget, {schema}.budget_rules,
            {schema}.spending, {schema}.budget_mark TO {name}_writer;
        GRANT EXECUTE ON FUNCTION {schema}.weigh_budgets, {schema}.mark_budget, {schema}.calls_open,
            {schema}.follow_spending, {schema}.budget_standing TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        GRANT SELECT ON {schema}.budget, {schema}.budget_rules, {schema}.spending,
            {schema}.budget_mark TO {name}_reader;
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
    run(f"DROP TRIGGER follow_spending ON {schema}.execution")
    for function in (
        "budget_standing(bigint)",
        "follow_spending()",
        "weigh_budgets(bigint)",
        "calls_open(bigint)",
        "mark_budget(bigint, text, text, date, numeric, numeric, text)",
    ):
        run(f"DROP FUNCTION {schema}.{function}")
    tables = ("budget_mark", "spending", "budget_rules", "budget")
    run(f"DROP TABLE {', '.join(f'{schema}.{table}' for table in tables)}")
