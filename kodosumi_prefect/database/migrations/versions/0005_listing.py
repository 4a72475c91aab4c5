"""What lists of executions are filtered and searched by, beside the rows that every batch updates.

Table ``listing`` is kept by triggers, so that writers of older code fill it as well. It is a table
of its own since Postgres writes all indexes of a row anew with each of its versions that changes an
indexed column, and progress changes ``execution.changed``: no filter costs a running flow anything.
"""

from alembic import context, op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = r"""
CREATE FUNCTION {schema}.words_of(said text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT coalesce(array_agg(DISTINCT left(word, 100)), '{{}}') FROM unnest(string_to_array(
        translate(lower(said),
            E'\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15'
            '\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f!"#$%&\'()*+,-./:;<=>?@[\\]^_`{{|}}~'
            '\u00a0\u00ab\u00bb\u2013\u2014\u2018\u2019\u201a\u201c\u201d\u201e\u2026\u2400'
            '\u3000\u3001\u3002',
            repeat(' ', 100)), ' ')) AS word
    WHERE word <> ''
$body$;
COMMENT ON FUNCTION {schema}.words_of IS
    'words in lower case: what stands between spaces and ASCII punctuation, of any language';

CREATE TABLE {schema}.listing (
    execution_id bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    owner text,
    flow_name text,
    status text NOT NULL,
    archived boolean NOT NULL,
    words tsvector NOT NULL
);
COMMENT ON TABLE {schema}.listing IS
    'what lists of executions are filtered by; kept by triggers of table execution';
COMMENT ON COLUMN {schema}.listing.flow_name IS 'its first 200 characters, as of owner';
COMMENT ON COLUMN {schema}.listing.words IS
    'words to search; and behind U+0001 the owner (o) and each tag (t) as they are';

CREATE FUNCTION {schema}.searched(e {schema}.execution) RETURNS tsvector
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT array_to_tsvector(
        {schema}.words_of(concat_ws(' ', e.fid::text, e.status, left(e.flow_name, 1000),
            left(e.summary, 2000), left(e.owner, 200),
            left(array_to_string(e.tags, ' '), 2000),
            regexp_replace(left(e.inputs, 4000), '\\[nrt]', ' ', 'g')))
        || ARRAY(SELECT E'\x01t' || left(tag, 200) FROM unnest(e.tags[1:100]) AS tag
            WHERE tag IS NOT NULL)
        || CASE WHEN e.owner IS NULL THEN '{{}}' ELSE ARRAY[E'\x01o' || left(e.owner, 200)] END)
$body$;

CREATE FUNCTION {schema}.list_execution() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    INSERT INTO {schema}.listing AS l
    VALUES (NEW.id, NEW.created_at, left(NEW.owner, 200), left(NEW.flow_name, 200), NEW.status,
        NEW.archived_at IS NOT NULL, {schema}.searched(NEW))
    ON CONFLICT (execution_id) DO UPDATE SET owner = excluded.owner,
        flow_name = excluded.flow_name, status = excluded.status, archived = excluded.archived,
        created_at = excluded.created_at, words = excluded.words;
    RETURN NULL;
END
$body$;
COMMENT ON FUNCTION {schema}.list_execution IS
    'carries an execution into listing, for writers that may not know that table';

-- Long, with many executions; nobody waits for it.
INSERT INTO {schema}.listing
SELECT e.id, e.created_at, left(e.owner, 200), left(e.flow_name, 200), e.status,
    e.archived_at IS NOT NULL, {schema}.searched(e)
FROM {schema}.execution e;

CREATE INDEX listing_newest ON {schema}.listing (created_at, execution_id) WHERE NOT archived;
CREATE INDEX listing_owner ON {schema}.listing (owner, created_at, execution_id)
    WHERE NOT archived;
CREATE INDEX listing_flow ON {schema}.listing (flow_name, created_at, execution_id)
    WHERE NOT archived;
CREATE INDEX listing_status ON {schema}.listing (status, created_at, execution_id)
    WHERE NOT archived;
-- A short list of pending entries: whoever fills it up has to sort it in.
CREATE INDEX listing_words ON {schema}.listing USING gin (words)
    WITH (gin_pending_list_limit = 512);
ANALYZE {schema}.listing;

-- From here to the end, soon, everybody waits.
ALTER TABLE {schema}.execution ADD COLUMN again_of uuid;
CREATE INDEX execution_again ON {schema}.execution (again_of) WHERE again_of IS NOT NULL;
CREATE INDEX execution_app ON {schema}.execution (app_url, flow_name, id) INCLUDE (owner)
    WHERE app_url IS NOT NULL AND archived_at IS NULL;
CREATE INDEX execution_deployment ON {schema}.execution (deployment_id, id) INCLUDE (owner)
    WHERE deployment_id IS NOT NULL AND archived_at IS NULL;
COMMENT ON COLUMN {schema}.execution.again_of IS 'the execution whose inputs this one was given';

CREATE TRIGGER list_new AFTER INSERT ON {schema}.execution
    FOR EACH ROW EXECUTE FUNCTION {schema}.list_execution();
-- Inputs are stored once, so that nothing compares large ones with themselves.
CREATE TRIGGER list_changed AFTER UPDATE OF owner, flow_name, summary, tags, inputs, status,
    archived_at, created_at ON {schema}.execution
    FOR EACH ROW WHEN (
        (OLD.status, OLD.owner, OLD.flow_name, OLD.summary, OLD.tags, OLD.archived_at,
            OLD.created_at, OLD.inputs IS NULL)
        IS DISTINCT FROM (NEW.status, NEW.owner, NEW.flow_name, NEW.summary, NEW.tags,
            NEW.archived_at, NEW.created_at, NEW.inputs IS NULL))
    EXECUTE FUNCTION {schema}.list_execution();

-- What writers did meanwhile.
INSERT INTO {schema}.listing AS l
SELECT e.id, e.created_at, left(e.owner, 200), left(e.flow_name, 200), e.status,
    e.archived_at IS NOT NULL, {schema}.searched(e)
FROM {schema}.execution e LEFT JOIN {schema}.listing known ON known.execution_id = e.id
WHERE known.execution_id IS NULL OR known.status <> e.status
    OR known.archived <> (e.archived_at IS NOT NULL)
    OR e.updated_at > now() - interval '10 minutes'
ON CONFLICT (execution_id) DO UPDATE SET owner = excluded.owner,
    flow_name = excluded.flow_name, status = excluded.status, archived = excluded.archived,
    created_at = excluded.created_at, words = excluded.words;
DELETE FROM {schema}.listing l
WHERE NOT EXISTS (SELECT FROM {schema}.execution e WHERE e.id = l.execution_id);
ALTER TABLE {schema}.listing
    ADD FOREIGN KEY (execution_id) REFERENCES {schema}.execution ON DELETE CASCADE
"""


def upgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(STATEMENTS.format(schema=schema).replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    op.get_bind().exec_driver_sql(
        f"DROP TRIGGER list_new ON {schema}.execution; "
        f"DROP TRIGGER list_changed ON {schema}.execution; "
        f"DROP FUNCTION {schema}.list_execution(); "
        f"DROP FUNCTION {schema}.searched({schema}.execution); "
        f"DROP INDEX {schema}.execution_app, {schema}.execution_deployment; "
        f"DROP TABLE {schema}.listing; DROP FUNCTION {schema}.words_of(text); "
        f"ALTER TABLE {schema}.execution DROP COLUMN again_of"
    )
