"""Hashes of a log's tree, from its tiles (https://c2sp.org/tlog-tiles) and from the leaf hashes of events.

A tile of level n has up to 256 hashes, each of a complete subtree of ``256 ** n`` leaves, so a proof in a log of
any size reads a handful of tiles. Tiles are derived data. Whoever reads them checks the result against a signed
root; if it is wrong, the tiles are made anew.
"""

from collections.abc import Iterable

from infrastructure.audit.merkle import HASH_BYTES, Node, levels
from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.log.columns import Bigints, Integers

_BITS = 8
_WIDTH = 1 << _BITS

_LEAVES = """
SELECT w.n, e.hashes FROM unnest(%s, %s) AS w(n, until)
CROSS JOIN LATERAL (
    SELECT string_agg(leaf_hash, ''::bytea ORDER BY position) AS hashes FROM event
    WHERE shop_id = %s AND position > w.n * 256 AND position <= w.until
) e
"""

_TILES = """
SELECT level, number, hashes FROM unnest(%s, %s) AS w(level, number) JOIN tile USING (level, number)
WHERE shop_id = %s
"""

_RANGE = """
SELECT string_agg(leaf_hash, ''::bytea ORDER BY position) FROM event
WHERE shop_id = %s AND position > %s AND position <= %s
"""

_LOWER = """
SELECT string_agg(hashes, ''::bytea ORDER BY number) FROM tile
WHERE shop_id = %s AND level = %s AND number >= %s AND number < %s
"""

_PUT = """
INSERT INTO tile (shop_id, level, number, hashes) VALUES (%s, %s, %s, %s)
ON CONFLICT (shop_id, level, number) DO UPDATE SET hashes = excluded.hashes
"""


class Incomplete(Exception):
    """A needed tile or leaf is missing."""


async def read(connection: ReadConnection, shop_id: str, nodes: Iterable[Node]) -> dict[Node, bytes]:
    """The hashes of complete subtrees of a shop's tree. Raises ``Incomplete``."""
    places: dict[Node, tuple[int, int, int, int]] = {}
    for level, number in nodes:
        height, above = divmod(level, _BITS)
        first = number << above
        places[level, number] = (height, first // _WIDTH, first % _WIDTH, 1 << above)
    needed: dict[tuple[int, int], int] = {}
    for height, tile, first, count in places.values():
        needed[height, tile] = max(needed.get((height, tile), 0), first + count)
    rows = await _rows(connection, shop_id, needed)
    node_hashes = {}
    for node, (height, tile, first, count) in places.items():
        hashes = _hashes(rows.get((height, tile), b""))[first : first + count]
        if len(hashes) < count:
            raise Incomplete(f"tile {tile} of level {height} has no {count} hashes from {first} on")
        (node_hashes[node],) = levels(hashes)[-1]
    return node_hashes


async def _rows(
    connection: ReadConnection, shop_id: str, needed: dict[tuple[int, int], int]
) -> dict[tuple[int, int], bytes]:
    """Tiles by level and number. Those of level 0 come from the events, up to the number of hashes needed."""
    rows: dict[tuple[int, int], bytes] = {}
    leaves = {tile: count for (height, tile), count in needed.items() if height == 0}
    if leaves:
        until = [tile * _WIDTH + count for tile, count in leaves.items()]
        cursor = await connection.execute(_LEAVES, (Bigints(list(leaves)), Bigints(until), shop_id), binary=True)
        rows |= {(0, tile): hashes or b"" for tile, hashes in await cursor.fetchall()}
    upper = [tile for tile in needed if tile[0] > 0]
    if upper:
        heights, numbers = zip(*upper, strict=True)
        cursor = await connection.execute(_TILES, (Integers(heights), Bigints(numbers), shop_id), binary=True)
        rows |= {(height, tile): hashes for height, tile, hashes in await cursor.fetchall()}
    return rows


async def extend(connection: WriteConnection, shop_id: str, size: int) -> None:
    """Make the missing tiles of the first ``size`` events. If tiles in the middle were lost, make all of them.

    Raises ``Incomplete`` if events are missing.
    """
    try:
        await _extend(connection, shop_id, size)
    except Incomplete:
        await renew(connection, shop_id, size)


async def _extend(connection: WriteConnection, shop_id: str, size: int) -> None:
    level = 1
    while complete := size >> _BITS * level:
        count = await _count(connection, shop_id, level)
        while count < complete:
            until = min(complete, (count // _WIDTH + 1) * _WIDTH)
            await _put(connection, shop_id, level, count, until)
            count = until
        level += 1


async def _count(connection: ReadConnection, shop_id: str, level: int) -> int:
    """How many hashes of a level the tiles have."""
    cursor = await connection.execute(
        "SELECT number, hashes FROM tile WHERE shop_id = %s AND level = %s ORDER BY number DESC LIMIT 1",
        (shop_id, level),
        binary=True,
    )
    row = await cursor.fetchone()
    return row[0] * _WIDTH + len(_hashes(row[1])) if row else 0


async def _put(connection: WriteConnection, shop_id: str, level: int, since: int, until: int) -> None:
    """Add a level's hashes ``since`` to ``until - 1``, made from the level below. They belong to one tile."""
    number = since // _WIDTH
    if level == 1:
        cursor = await connection.execute(_RANGE, (shop_id, since * _WIDTH, until * _WIDTH), binary=True)
    else:
        cursor = await connection.execute(_LOWER, (shop_id, level - 1, since, until), binary=True)
    row = await cursor.fetchone()
    below = _hashes(row[0] or b"") if row else []
    if len(below) != (until - since) * _WIDTH:
        raise Incomplete(f"there are no {until * _WIDTH} hashes below level {level}")
    tile = await _rows(connection, shop_id, {(level, number): 0}) if since % _WIDTH else {}
    roots = [levels(below[n : n + _WIDTH])[-1][0] for n in range(0, len(below), _WIDTH)]
    hashes = tile.get((level, number), b"")[: since % _WIDTH * HASH_BYTES] + b"".join(roots)
    await connection.execute(_PUT, (shop_id, level, number, hashes))


async def renew(connection: WriteConnection, shop_id: str, size: int) -> None:
    """Make all tiles of a shop anew. Raises ``Incomplete`` if events are missing."""
    async with connection.transaction():
        await connection.execute("DELETE FROM tile WHERE shop_id = %s", (shop_id,))
        await _extend(connection, shop_id, size)


def _hashes(joined: bytes) -> list[bytes]:
    return [joined[n : n + HASH_BYTES] for n in range(0, len(joined), HASH_BYTES)]
