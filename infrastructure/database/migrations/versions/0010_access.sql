-- What people call merchants, clients and people. The log has ids alone, because it can't forget.
CREATE TABLE access_name (
    id   text PRIMARY KEY,
    kind text NOT NULL,
    name text NOT NULL
);

CREATE INDEX access_name_by_name ON access_name (kind, name);

-- When an API key was last used, to the minute.
CREATE TABLE key_use (
    key_id  text PRIMARY KEY,
    used_at timestamptz NOT NULL
);
