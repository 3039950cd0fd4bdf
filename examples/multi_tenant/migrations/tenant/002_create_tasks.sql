CREATE TABLE {{tables.tasks}} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES {{tables.projects}} (id),
    title text NOT NULL
);
CREATE INDEX tasks_project_id ON {{tables.tasks}} (project_id);
