-- Backtests that were requested over HTTP. Only a few are stored for each shop; the oldest are deleted.

CREATE TABLE backtest (
    shop_id        text        NOT NULL,
    id             integer     NOT NULL,
    asked          bytea       NOT NULL,
    state          text        NOT NULL,
    begun          integer     NOT NULL DEFAULT 0,
    done           bigint      NOT NULL DEFAULT 0,
    total          bigint      NOT NULL DEFAULT 0,
    worked_seconds float8      NOT NULL DEFAULT 0,
    requested_at   timestamptz NOT NULL,
    finished_at    timestamptz,
    error          text,
    result         bytea,
    PRIMARY KEY (shop_id, id)
);
COMMENT ON COLUMN backtest.asked IS 'JSON: the rule set to judge by, and which orders (infrastructure/queries/backtest.py).';
COMMENT ON COLUMN backtest.begun IS 'How often it was begun: whoever is killed, the next begins again.';
COMMENT ON COLUMN backtest.total IS 'How many events there are to fold, and done how many are.';

CREATE INDEX backtest_unfinished ON backtest (requested_at) WHERE finished_at IS NULL;
