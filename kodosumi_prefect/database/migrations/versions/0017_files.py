"""Files of executions, and uploads that belong to none yet."""

from alembic import context, op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE {schema}.file (
    execution_id bigint NOT NULL REFERENCES {schema}.execution ON DELETE CASCADE,
    direction text NOT NULL CHECK (direction IN ('in', 'out')),
    comparable text NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    media_type text NOT NULL,
    created_at timestamptz NOT NULL,
    attempt integer NOT NULL,
    task_run text,
    node text,
    PRIMARY KEY (execution_id, direction, comparable)
);
CREATE INDEX file_key ON {schema}.file (key);
CREATE INDEX file_path ON {schema}.file (execution_id, direction, path COLLATE "C");
COMMENT ON TABLE {schema}.file IS
    'files of executions, made of upload events: what is here is whole, under its key';
COMMENT ON COLUMN {schema}.file.comparable IS
    'the path as file systems compare it that know neither case nor Unicode forms';
COMMENT ON COLUMN {schema}.file.key IS 'of its content in the storage';
COMMENT ON COLUMN {schema}.file.task_run IS 'id of the Prefect task run that made it';

ALTER TABLE {schema}.execution
    ADD COLUMN files integer NOT NULL DEFAULT 0,
    ADD COLUMN file_bytes bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN {schema}.execution.files IS 'how many files it has, in and out';

CREATE TABLE {schema}.dropped_content (
    key text PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dropped_content_since ON {schema}.dropped_content (since);
COMMENT ON TABLE {schema}.dropped_content IS
    'contents that no file has any more, to be deleted from the storage';

CREATE FUNCTION {schema}.drop_content() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {schema}.dropped_content (key) VALUES (OLD.key) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER file_deleted AFTER DELETE ON {schema}.file
    FOR EACH ROW EXECUTE FUNCTION {schema}.drop_content();
CREATE TRIGGER file_replaced AFTER UPDATE OF key ON {schema}.file
    FOR EACH ROW WHEN (OLD.key <> NEW.key) EXECUTE FUNCTION {schema}.drop_content();

CREATE TABLE {schema}.file_storage (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    identity text NOT NULL,
    url text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE {schema}.file_storage IS
    'the storage that holds the contents: a folder of the same name elsewhere is another one';

CREATE TABLE {schema}.upload_batch (
    id uuid PRIMARY KEY,
    owner text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    touched_at timestamptz NOT NULL DEFAULT now(),
    fid uuid,
    schedule text,
    answer text
);
CREATE INDEX upload_batch_owner ON {schema}.upload_batch (owner);
CREATE INDEX upload_batch_touched ON {schema}.upload_batch (touched_at);
CREATE INDEX upload_batch_fid ON {schema}.upload_batch (fid) WHERE fid IS NOT NULL;
COMMENT ON TABLE {schema}.upload_batch IS 'files that somebody sent together';
COMMENT ON COLUMN {schema}.upload_batch.fid IS 'the execution that it was launched with';
COMMENT ON COLUMN {schema}.upload_batch.schedule IS 'the schedule whose runs get a copy of it';
COMMENT ON COLUMN {schema}.upload_batch.answer IS 'what completing it was answered, as JSON';

CREATE TABLE {schema}.upload (
    id uuid PRIMARY KEY,
    batch uuid NOT NULL REFERENCES {schema}.upload_batch ON DELETE CASCADE,
    path text NOT NULL,
    comparable text NOT NULL,
    chunks integer NOT NULL,
    media_type text NOT NULL,
    key text,
    size bigint,
    sha256 text,
    UNIQUE (batch, comparable)
);
CREATE INDEX upload_key ON {schema}.upload (key);
COMMENT ON TABLE {schema}.upload IS 'a file that is being sent, or was: then it has a size';
COMMENT ON COLUMN {schema}.upload.key IS 'of the whole content in the storage';

CREATE TABLE {schema}.upload_chunk (
    upload uuid NOT NULL REFERENCES {schema}.upload ON DELETE CASCADE,
    number integer NOT NULL,
    key text NOT NULL,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (upload, number)
);
CREATE INDEX upload_chunk_key ON {schema}.upload_chunk (key);
COMMENT ON TABLE {schema}.upload_chunk IS 'the parts of it that have arrived';

-- As `db grants` has it, where the one who upgrades is not the one who granted.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.file, {schema}.dropped_content,
            {schema}.file_storage, {schema}.upload_batch, {schema}.upload,
            {schema}.upload_chunk TO {name}_writer;
        GRANT EXECUTE ON FUNCTION {schema}.drop_content() TO {name}_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}_reader') THEN
        GRANT SELECT ON {schema}.file, {schema}.dropped_content TO {name}_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    name = context.config.attributes["schema"]
    statements = STATEMENTS.format(schema=f'"{name}"', name=name)
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))


def downgrade() -> None:
    schema = f'"{context.config.attributes["schema"]}"'
    tables = ("upload_chunk", "upload", "upload_batch", "file", "dropped_content", "file_storage")
    run = op.get_bind().exec_driver_sql
    run(f"DROP TABLE {', '.join(f'{schema}.{table}' for table in tables)}")
    run(f"DROP FUNCTION {schema}.drop_content()")
    run(f"ALTER TABLE {schema}.execution DROP COLUMN files, DROP COLUMN file_bytes")
