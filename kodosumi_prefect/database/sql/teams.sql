-- name: teams
-- All teams with the names of their accounts.
SELECT t.id::text AS id, t.name, array(SELECT r.name FROM {schema}.team_member m
    JOIN {schema}.role r ON r.id = m.role_id WHERE m.team_id = t.id
    ORDER BY lower(r.name)) AS members
FROM {schema}.team t WHERE %(name)s::text IS NULL OR lower(t.name) = lower(%(name)s)
ORDER BY lower(t.name);

-- name: add_team
-- Create a team; no row if its name is taken.
INSERT INTO {schema}.team (name) VALUES (%(name)s)
ON CONFLICT ((lower(name))) DO NOTHING RETURNING id::text;

-- name: rename_team
-- Give a team another name; a name that is taken is a unique violation.
UPDATE {schema}.team SET name = %(new)s WHERE id = %(team)s::uuid RETURNING id::text;

-- name: remove_team
-- Delete a team.
DELETE FROM {schema}.team WHERE id = %(team)s::uuid RETURNING id::text;

-- name: lock_team
-- A team that is about to change.
SELECT id::text, name FROM {schema}.team WHERE lower(name) = lower(%(name)s) FOR UPDATE;

-- name: known_accounts
-- Those of these names that are accounts.
SELECT id::text AS id, name FROM {schema}.role WHERE lower(name) = ANY(%(names)s::text[]);

-- name: set_team
-- Have exactly these accounts in a team.
WITH gone AS (
    DELETE FROM {schema}.team_member
    WHERE team_id = %(team)s::uuid AND role_id <> ALL(%(accounts)s::uuid[])
)
INSERT INTO {schema}.team_member (team_id, role_id)
SELECT %(team)s::uuid, id FROM unnest(%(accounts)s::uuid[]) AS one (id)
ON CONFLICT DO NOTHING RETURNING role_id;
