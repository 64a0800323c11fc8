-- The tables of the projections. Their rows are computed from folded orders (infrastructure/projections). They
-- can be dropped and rebuilt at any time, for they hold no information of their own. No row depends on the time
-- of a query either: queries compare the times here with their own time, to get the state of a deadline or to
-- see whether a violation stands.

CREATE TABLE order_list (
    shop_id          text        NOT NULL,
    order_sn         text        NOT NULL,
    version          integer     NOT NULL,
    position         bigint      NOT NULL,
    status           text        NOT NULL,
    locked           boolean     NOT NULL,
    sku_ids          text[]      NOT NULL,
    open_ship_by     timestamptz,
    ship_by_key      timestamptz NOT NULL,
    placed_at        timestamptz NOT NULL,
    summary          bytea       NOT NULL,
    PRIMARY KEY (shop_id, order_sn)
);
COMMENT ON COLUMN order_list.open_ship_by IS 'The ship-by while the upload deadline is still open, else null.';
COMMENT ON COLUMN order_list.ship_by_key IS 'The ship-by for sorting; infinity where there is none.';
COMMENT ON COLUMN order_list.summary IS 'What a list shows of the order, as UTF-8 JSON.';
CREATE INDEX order_list_by_ship_by ON order_list (shop_id, ship_by_key, order_sn);
CREATE INDEX order_list_by_placed_at ON order_list (shop_id, placed_at DESC, order_sn DESC);
CREATE INDEX order_list_by_status ON order_list (shop_id, status, ship_by_key, order_sn);
CREATE INDEX order_list_locked ON order_list (shop_id, ship_by_key, order_sn) WHERE locked;
CREATE INDEX order_list_open ON order_list (shop_id, open_ship_by, order_sn) WHERE open_ship_by IS NOT NULL;
CREATE INDEX order_list_by_sku ON order_list USING gin (sku_ids);

CREATE TABLE deadline_list (
    shop_id         text        NOT NULL,
    order_sn        text        NOT NULL,
    number          smallint    NOT NULL,
    kind            text        NOT NULL,
    due_key         timestamptz NOT NULL,
    met_at          timestamptz,
    settled         text,
    tracking_number text,
    PRIMARY KEY (shop_id, order_sn, number)
);
COMMENT ON COLUMN deadline_list.due_key IS 'When it is due; infinity where that is not known.';
COMMENT ON COLUMN deadline_list.settled IS 'The state no time can change; null: pending until due, then missed.';
CREATE INDEX deadline_list_by_due ON deadline_list (shop_id, due_key, order_sn, number);
CREATE INDEX deadline_list_by_kind ON deadline_list (shop_id, kind, due_key, order_sn, number);
CREATE INDEX deadline_list_running ON deadline_list (shop_id, kind, due_key, order_sn, number) WHERE settled IS NULL;

CREATE TABLE violation_list (
    shop_id      text        NOT NULL,
    violation_id text        NOT NULL,
    order_sn     text        NOT NULL,
    kind         text        NOT NULL,
    cause        text,
    arose_at     timestamptz NOT NULL,
    stands_from  timestamptz NOT NULL,
    penalty_fen  bigint,
    rule         text        NOT NULL,
    appeal       bytea,
    overturned   boolean     NOT NULL,
    PRIMARY KEY (shop_id, violation_id)
);
COMMENT ON COLUMN violation_list.stands_from IS 'It can be claimed from here on; in the future while the clock still runs.';
CREATE INDEX violation_list_by_time ON violation_list (shop_id, arose_at, violation_id);
CREATE INDEX violation_list_by_kind ON violation_list (shop_id, kind, arose_at, violation_id);
CREATE INDEX violation_list_by_order ON violation_list (shop_id, order_sn);
