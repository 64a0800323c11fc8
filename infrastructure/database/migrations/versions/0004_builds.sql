-- Views are rebuilt while the live ones stay in use. Each build has its own tables, made from the program's
-- declarations (infrastructure/projections/views). The names order_list, deadline_list and violation_list are SQL
-- views over the tables of the active build. The rows of the old tables are folded anew from the log.

DROP TABLE order_list, deadline_list, violation_list;
DELETE FROM checkpoint WHERE reader = 'live';

CREATE TABLE build (
    id           integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    views        text[]      NOT NULL,
    definition   text        NOT NULL,
    state        text        NOT NULL,
    live         boolean     NOT NULL DEFAULT false,
    scope        jsonb       NOT NULL DEFAULT '{}',
    total        bigint      NOT NULL DEFAULT 0,
    worked_seconds float8    NOT NULL DEFAULT 0,
    requested_at timestamptz NOT NULL,
    finished_at  timestamptz,
    error        text,
    verification jsonb
);
COMMENT ON COLUMN build.definition IS 'The versions of its views and the rules they were judged by.';
COMMENT ON COLUMN build.live IS 'Whether workers keep it at the head of every log; its checkpoints are those of reader build:ID.';
COMMENT ON COLUMN build.scope IS 'What it shows instead of the present: a shop and a position, a time, other rules. Empty: the present.';
COMMENT ON COLUMN build.total IS 'How many events there were to fold.';
COMMENT ON COLUMN build.worked_seconds IS 'How long slices were worked on, over all its runs.';

-- The build that is active for a view, and the one that was active before.
CREATE TABLE projection (
    name     text    PRIMARY KEY,
    active   integer NOT NULL,
    previous integer
);

-- The parts of a build. A slice is several whole small shops, or a range of one shop's streams. Its rows and its
-- flag done are committed together.
CREATE TABLE slice (
    build_id    integer  NOT NULL,
    number      integer  NOT NULL,
    shop_ids    text[]   NOT NULL,
    up_to       bigint[] NOT NULL,
    from_stream text,
    to_stream   text,
    events      bigint   NOT NULL,
    done        boolean  NOT NULL DEFAULT false,
    PRIMARY KEY (build_id, number)
);
COMMENT ON COLUMN slice.up_to IS 'For each shop, the last position that is folded.';
COMMENT ON COLUMN slice.events IS 'How many events it has, estimated where it is part of a shop.';

-- Orders with an event that can't be applied. Views show them as they were before that event.
CREATE TABLE parked (
    shop_id   text        NOT NULL,
    stream    text        NOT NULL,
    position  bigint      NOT NULL,
    error     text        NOT NULL,
    state     text        NOT NULL,
    attempts  integer     NOT NULL,
    retry_at  timestamptz NOT NULL,
    parked_at timestamptz NOT NULL,
    PRIMARY KEY (shop_id, stream)
);
COMMENT ON COLUMN parked.position IS 'The event that could not be applied; it and all later ones of the order wait.';
COMMENT ON COLUMN parked.state IS 'retrying: tried again at retry_at; parked: left to people; discarded: given up by them.';
CREATE INDEX parked_retrying ON parked (retry_at) WHERE state = 'retrying';
