-- Append to several shops' logs in one call: for a batch that concerns many shops on one server. Where the
-- tables are distributed by shop_id, append_events is called shop by shop instead; both do the same.
--
-- p_shop_ids, p_streams and p_expected describe the appends; (shop, stream) pairs must be distinct. Events
-- come flattened, each with the number (from 1) of its append, in the order of the logs. Heads are locked in
-- the byte order of the shops' ids, as callers of append_events lock them.
--
-- Plans are generic, not made for each shop: the planner knows nothing of a shop that is newer than the last
-- ANALYZE, and might read all its events to find one stream.
CREATE FUNCTION append_events_together(
    p_recorded_at timestamptz,
    p_shop_ids text[], p_streams text[], p_expected integer[],
    p_of integer[], p_event_ids uuid[], p_types text[], p_schema_versions smallint[],
    p_occurred_at timestamptz[], p_payloads bytea[], p_metadata bytea[]
) RETURNS TABLE (of_append integer, accepted boolean, stream_version integer, last_position bigint, at timestamptz)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    heads bigint[];
    times timestamptz[];
    actual integer[];
BEGIN
    -- A shop never heard of begins its log here; the others are only looked at.
    INSERT INTO shop_log AS s (shop_id, position, recorded_at)
        SELECT d.shop_id, 0, p_recorded_at
        FROM (SELECT DISTINCT w.shop_id COLLATE "C" AS shop_id FROM unnest(p_shop_ids) AS w(shop_id)) d
        WHERE NOT EXISTS (SELECT FROM shop_log s WHERE s.shop_id = d.shop_id)
        ORDER BY d.shop_id
        ON CONFLICT (shop_id) DO NOTHING;
    SELECT array_agg(h.position ORDER BY w.n), array_agg(greatest(h.recorded_at, p_recorded_at) ORDER BY w.n)
    INTO heads, times
    FROM unnest(p_shop_ids) WITH ORDINALITY AS w(shop_id, n)
    JOIN (
        SELECT s.shop_id, s.position, s.recorded_at FROM shop_log s
        WHERE s.shop_id = ANY (p_shop_ids) ORDER BY s.shop_id COLLATE "C" FOR UPDATE
    ) h USING (shop_id);

    -- Only a statement that begins after the locks were got sees what their last holders appended.
    SELECT array_agg(coalesce(last.version, 0) ORDER BY w.n) INTO actual
    FROM unnest(p_shop_ids, p_streams) WITH ORDINALITY AS w(shop_id, stream, n)
    LEFT JOIN LATERAL (
        SELECT e.version FROM event e
        WHERE e.shop_id = w.shop_id AND e.stream = w.stream
        ORDER BY e.version DESC LIMIT 1
    ) last ON true;

    RETURN QUERY
    WITH accepted_event AS (
        SELECT p_shop_ids[e.of] AS shop_id,
               heads[e.of] + row_number() OVER (PARTITION BY p_shop_ids[e.of] ORDER BY n) AS position,
               p_streams[e.of] AS stream,
               p_expected[e.of] + (row_number() OVER (PARTITION BY e.of ORDER BY n))::integer AS version,
               times[e.of] AS recorded_at,
               e.*
        FROM unnest(p_of, p_event_ids, p_types, p_schema_versions, p_occurred_at, p_payloads, p_metadata)
             WITH ORDINALITY AS e(of, event_id, type, schema_version, occurred_at, payload, metadata, n)
        WHERE actual[e.of] = greatest(p_expected[e.of], 0)
    ), inserted AS (
        INSERT INTO event (shop_id, position, stream, version, event_id, type, schema_version,
                           occurred_at, recorded_at, payload, metadata, leaf_hash)
        SELECT p.shop_id, p.position, p.stream, p.version, p.event_id, p.type, p.schema_version,
               p.occurred_at, p.recorded_at, p.payload, p.metadata,
               event_leaf_hash(p.shop_id, p.position, p.stream, p.version, p.event_id, p.type,
                               p.schema_version, p.occurred_at, p.recorded_at, p.payload, p.metadata)
        FROM accepted_event p
    ), moved AS (
        UPDATE shop_log s SET position = p.position, recorded_at = p.recorded_at
        FROM (
            SELECT a.shop_id, max(a.position) AS position, max(a.recorded_at) AS recorded_at
            FROM accepted_event a GROUP BY a.shop_id
        ) p
        WHERE s.shop_id = p.shop_id
    )
    SELECT s.n::integer,
           actual[s.n] = greatest(p_expected[s.n], 0),
           coalesce(mine.version, actual[s.n]),
           coalesce(mine.position, heads[s.n]),
           times[s.n]
    FROM generate_subscripts(p_streams, 1) AS s(n)
    LEFT JOIN (
        SELECT a.of, max(a.version) AS version, max(a.position) AS position FROM accepted_event a GROUP BY a.of
    ) mine ON mine.of = s.n
    ORDER BY s.n;
END $$;

-- The same function for one shop as before, in fewer statements: a head is inserted only if it is missing, and
-- one statement writes the rows and the head and returns the outcomes.
CREATE OR REPLACE FUNCTION append_events(
    p_shop_id text, p_recorded_at timestamptz,
    p_streams text[], p_expected integer[],
    p_of integer[], p_event_ids uuid[], p_types text[], p_schema_versions smallint[],
    p_occurred_at timestamptz[], p_payloads bytea[], p_metadata bytea[]
) RETURNS TABLE (of_append integer, accepted boolean, stream_version integer, last_position bigint, at timestamptz)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    head shop_log%ROWTYPE;
    actual integer[];
BEGIN
    SELECT * INTO head FROM shop_log s WHERE s.shop_id = p_shop_id FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO shop_log AS s (shop_id, position, recorded_at) VALUES (p_shop_id, 0, p_recorded_at)
            ON CONFLICT (shop_id) DO NOTHING;
        SELECT * INTO STRICT head FROM shop_log s WHERE s.shop_id = p_shop_id FOR UPDATE;
    END IF;
    p_recorded_at := greatest(p_recorded_at, head.recorded_at);

    -- Only a statement that begins after the lock was got sees what its last holder appended.
    SELECT array_agg(coalesce(last.version, 0) ORDER BY wanted.n) INTO actual
    FROM unnest(p_streams) WITH ORDINALITY AS wanted(stream, n)
    LEFT JOIN LATERAL (
        SELECT e.version FROM event e
        WHERE e.shop_id = p_shop_id AND e.stream = wanted.stream
        ORDER BY e.version DESC LIMIT 1
    ) last ON true;

    -- A stream may begin at version 0 or 1, so any expectation below 1 means "nothing there yet".
    RETURN QUERY
    WITH accepted_event AS (
        SELECT head.position + row_number() OVER (ORDER BY n) AS position,
               p_streams[e.of] AS stream,
               p_expected[e.of] + (row_number() OVER (PARTITION BY e.of ORDER BY n))::integer AS version,
               e.*
        FROM unnest(p_of, p_event_ids, p_types, p_schema_versions, p_occurred_at, p_payloads, p_metadata)
             WITH ORDINALITY AS e(of, event_id, type, schema_version, occurred_at, payload, metadata, n)
        WHERE actual[e.of] = greatest(p_expected[e.of], 0)
    ), inserted AS (
        INSERT INTO event (shop_id, position, stream, version, event_id, type, schema_version,
                           occurred_at, recorded_at, payload, metadata, leaf_hash)
        SELECT p_shop_id, p.position, p.stream, p.version, p.event_id, p.type, p.schema_version,
               p.occurred_at, p_recorded_at, p.payload, p.metadata,
               event_leaf_hash(p_shop_id, p.position, p.stream, p.version, p.event_id, p.type,
                               p.schema_version, p.occurred_at, p_recorded_at, p.payload, p.metadata)
        FROM accepted_event p
    ), moved AS (
        UPDATE shop_log s SET position = p.position, recorded_at = p_recorded_at
        FROM (SELECT max(a.position) AS position FROM accepted_event a) p
        WHERE s.shop_id = p_shop_id AND p.position IS NOT NULL
    )
    SELECT s.n::integer,
           actual[s.n] = greatest(p_expected[s.n], 0),
           coalesce(mine.version, actual[s.n]),
           coalesce(mine.position, head.position),
           p_recorded_at
    FROM generate_subscripts(p_streams, 1) AS s(n)
    LEFT JOIN (
        SELECT a.of, max(a.version) AS version, max(a.position) AS position FROM accepted_event a GROUP BY a.of
    ) mine ON mine.of = s.n
    ORDER BY s.n;
END $$;

-- A response is rendered before its position is known, so that one statement writes the events and the receipts.
ALTER TABLE receipt ADD COLUMN position bigint;
COMMENT ON COLUMN receipt.position IS 'The Shiplock-Position that goes with the outcome; null in old receipts.';
-- Responses have about two kilobytes. They stay in the row; by default each would be compressed or moved out.
ALTER TABLE receipt SET (toast_tuple_target = 8160);
