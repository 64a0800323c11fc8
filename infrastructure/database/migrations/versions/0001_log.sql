-- The log. A shop's events stand in gapless positions 1, 2, 3 ..., given out under the lock of its row
-- in shop_log. Every key begins with shop_id, so the tables can be distributed by it.

CREATE TABLE shop_log (
    shop_id     text        NOT NULL PRIMARY KEY,
    position    bigint      NOT NULL,
    recorded_at timestamptz NOT NULL
);
COMMENT ON TABLE shop_log IS 'The head of each shop''s log: its last position and when that was recorded.';

CREATE TABLE event (
    shop_id        text        NOT NULL,
    position       bigint      NOT NULL,
    stream         text        NOT NULL,
    version        integer     NOT NULL,
    event_id       uuid        NOT NULL,
    type           text        NOT NULL,
    schema_version smallint    NOT NULL,
    occurred_at    timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL,
    payload        bytea       NOT NULL,
    metadata       bytea       NOT NULL,
    leaf_hash      bytea       NOT NULL,
    PRIMARY KEY (shop_id, position),
    CONSTRAINT event_version_is_unique UNIQUE (shop_id, stream, version)
);
COMMENT ON COLUMN event.payload IS 'UTF-8 JSON; read it with convert_from(payload, ''UTF8'')::jsonb.';
COMMENT ON COLUMN event.leaf_hash IS 'SHA-256 of 0x00 and the canonical bytes, see event_leaf_hash().';

-- Events are never changed and never removed: the second wall behind the application role's privileges.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of a recorded event is refused: the log only grows', TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER event_is_immutable BEFORE UPDATE OR DELETE ON event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_is_not_truncated BEFORE TRUNCATE ON event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The canonical bytes of an event: each field in table order, as its length in four bytes (big endian)
-- and its value; numbers as eight bytes, times as microseconds since 1970 in eight bytes, the event id
-- as its sixteen bytes, text in UTF-8. infrastructure/log/canonical.py computes the same.
CREATE FUNCTION event_leaf_hash(
    shop_id text, "position" bigint, stream text, version integer, event_id uuid, type text,
    schema_version smallint, occurred_at timestamptz, recorded_at timestamptz, payload bytea, metadata bytea
) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN sha256(
    '\x00'::bytea
    || int4send(octet_length(shop_id)) || convert_to(shop_id, 'UTF8')
    || '\x00000008'::bytea || int8send("position")
    || int4send(octet_length(stream)) || convert_to(stream, 'UTF8')
    || '\x00000008'::bytea || int8send(version::bigint)
    || '\x00000010'::bytea || uuid_send(event_id)
    || int4send(octet_length(type)) || convert_to(type, 'UTF8')
    || '\x00000008'::bytea || int8send(schema_version::bigint)
    || '\x00000008'::bytea || int8send((extract(epoch FROM occurred_at) * 1000000)::bigint)
    || '\x00000008'::bytea || int8send((extract(epoch FROM recorded_at) * 1000000)::bigint)
    || int4send(octet_length(payload)) || payload
    || int4send(octet_length(metadata)) || metadata
);

-- Append to one shop's log: one or more streams, each with its expected version and the events that follow.
-- A stream that has another version is refused and reported with the version it has; the others are appended.
-- Streams must be distinct within a call. Events come flattened, each with the number (from 1) of its stream
-- in the call, in the order of the log.
--
-- recorded_at is the caller's clock, or the head's time if that clock is behind: it never decreases.
CREATE FUNCTION append_events(
    p_shop_id text, p_recorded_at timestamptz,
    p_streams text[], p_expected integer[],
    p_of integer[], p_event_ids uuid[], p_types text[], p_schema_versions smallint[],
    p_occurred_at timestamptz[], p_payloads bytea[], p_metadata bytea[]
) RETURNS TABLE (of_append integer, accepted boolean, stream_version integer, last_position bigint, at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    head shop_log%ROWTYPE;
    actual integer[];
    appended bigint;
BEGIN
    INSERT INTO shop_log AS s (shop_id, position, recorded_at) VALUES (p_shop_id, 0, p_recorded_at)
        ON CONFLICT (shop_id) DO NOTHING;
    SELECT * INTO STRICT head FROM shop_log s WHERE s.shop_id = p_shop_id FOR UPDATE;
    p_recorded_at := greatest(p_recorded_at, head.recorded_at);

    SELECT array_agg(coalesce(last.version, 0) ORDER BY wanted.n) INTO actual
    FROM unnest(p_streams) WITH ORDINALITY AS wanted(stream, n)
    LEFT JOIN LATERAL (
        SELECT e.version FROM event e
        WHERE e.shop_id = p_shop_id AND e.stream = wanted.stream
        ORDER BY e.version DESC LIMIT 1
    ) last ON true;

    -- A stream may begin at version 0 or 1, so any expectation below 1 means "nothing there yet".
    INSERT INTO event (shop_id, position, stream, version, event_id, type, schema_version,
                       occurred_at, recorded_at, payload, metadata, leaf_hash)
    SELECT p_shop_id, p.position, p.stream, p.version, p.event_id, p.type, p.schema_version,
           p.occurred_at, p_recorded_at, p.payload, p.metadata,
           event_leaf_hash(p_shop_id, p.position, p.stream, p.version, p.event_id, p.type,
                           p.schema_version, p.occurred_at, p_recorded_at, p.payload, p.metadata)
    FROM (
        SELECT head.position + row_number() OVER (ORDER BY n) AS position,
               p_streams[e.of] AS stream,
               p_expected[e.of] + (row_number() OVER (PARTITION BY e.of ORDER BY n))::integer AS version,
               e.*
        FROM unnest(p_of, p_event_ids, p_types, p_schema_versions, p_occurred_at, p_payloads, p_metadata)
             WITH ORDINALITY AS e(of, event_id, type, schema_version, occurred_at, payload, metadata, n)
        WHERE actual[e.of] = greatest(p_expected[e.of], 0)
    ) p;
    GET DIAGNOSTICS appended = ROW_COUNT;

    IF appended > 0 THEN
        UPDATE shop_log s SET position = head.position + appended, recorded_at = p_recorded_at
        WHERE s.shop_id = p_shop_id;
    END IF;

    RETURN QUERY
    SELECT s.n::integer,
           actual[s.n] = greatest(p_expected[s.n], 0),
           CASE WHEN actual[s.n] = greatest(p_expected[s.n], 0)
                THEN p_expected[s.n] + coalesce(mine.count, 0)::integer ELSE actual[s.n] END,
           head.position + coalesce(mine.last, 0),
           p_recorded_at
    FROM generate_subscripts(p_streams, 1) AS s(n)
    LEFT JOIN (
        SELECT e.of, count(*) AS count, max(e.place) AS last
        FROM (
            SELECT u.of, row_number() OVER (ORDER BY u.n) AS place
            FROM unnest(p_of) WITH ORDINALITY AS u(of, n)
            WHERE actual[u.of] = greatest(p_expected[u.of], 0)
        ) e GROUP BY e.of
    ) mine ON mine.of = s.n
    ORDER BY s.n;
END $$;

-- The last position that each reader of a shop's log has processed. The transaction that writes the results of
-- the events also moves it. The table keeps its first name; elsewhere a checkpoint is a signed tree head.
CREATE TABLE checkpoint (
    shop_id  text   NOT NULL,
    reader   text   NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (shop_id, reader)
);

-- The outcome of a command with an idempotency key, committed with the command's events.
CREATE TABLE receipt (
    shop_id     text        NOT NULL,
    key         text        NOT NULL,
    fingerprint bytea       NOT NULL,
    outcome     bytea       NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (shop_id, key)
);
CREATE INDEX receipt_by_age ON receipt (recorded_at);
