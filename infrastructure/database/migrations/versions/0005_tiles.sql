-- Hashes of complete subtrees of a log's Merkle tree (RFC 9162), so that a proof reads a few of them and not all
-- leaves. They are derived from event.leaf_hash: missing ones are made anew, and they prove nothing by themselves.
--
-- Tiles are those of C2SP's tlog-tiles: a tile of level n holds up to 256 hashes, each of a complete subtree of
-- 256 ^ n leaves. Level 0 is not stored here: it is the leaf hashes of the events.
CREATE TABLE tile (
    shop_id text     NOT NULL,
    level   smallint NOT NULL CHECK (level > 0),
    number  bigint   NOT NULL,
    hashes  bytea    NOT NULL CHECK (octet_length(hashes) % 32 = 0),
    PRIMARY KEY (shop_id, level, number)
);
