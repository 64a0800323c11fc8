"""Idempotency receipts: what a command with a key was answered, committed with its events.

A receipt is kept for seven days (``RECEIPTS_KEPT``); then its key is free again. The bytes of an answer
are the caller's. Its position is not among them, because only the append itself knows it: it is kept
beside them and given back with them.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import psycopg

from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.log.columns import Bigints, Blobs, Integers, Texts
from infrastructure.log.log import (
    APPEND_TOGETHER,
    Append,
    Appended,
    append,
    parameters_together,
)

RECEIPTS_KEPT = timedelta(days=7)
"""How long the answer to an idempotency key is remembered."""

Key = tuple[str, str]
"""A shop's id and an idempotency key."""


class StoredReceipt(NamedTuple):
    """A receipt that was found: what the request was, and what it was answered."""

    fingerprint: bytes
    response: bytes
    position: int


class Receipt(NamedTuple):
    """A receipt to keep. It is kept only if the append to ``stream`` is accepted; ``None`` appends nothing.

    Its position is ``behind`` events before the last one of that append, else ``position``.
    """

    shop_id: str
    key: str
    fingerprint: bytes
    response: bytes
    stream: str | None
    behind: int
    position: int


class KeyTaken(Exception):
    """Another process answered one of the keys meanwhile; nothing was committed."""


_FIND = """
SELECT r.shop_id, r.key, r.fingerprint, r.outcome, coalesce(r.position, 0), r.recorded_at > %b
FROM unnest(%b, %b) AS w(shop_id, key)
JOIN receipt r ON r.shop_id = w.shop_id AND r.key = w.key
"""

_FREE = """
DELETE FROM receipt r USING unnest(%b, %b) AS w(shop_id, key)
WHERE r.shop_id = w.shop_id AND r.key = w.key AND r.recorded_at <= %b
"""

_KEEP = """
INSERT INTO receipt (shop_id, key, fingerprint, outcome, position, recorded_at)
SELECT r.*, %b FROM unnest(%b, %b, %b, %b, %b) AS r(shop_id, key, fingerprint, outcome, position)
ORDER BY r.shop_id, r.key
"""

_APPEND_AND_KEEP = f"""
WITH appended AS MATERIALIZED ({APPEND_TOGETHER}), kept AS (
    INSERT INTO receipt (shop_id, key, fingerprint, outcome, position, recorded_at)
    SELECT r.shop_id, r.key, r.fingerprint, r.outcome, coalesce(a.last_position - r.behind, r.position), %b
    FROM unnest(%b, %b, %b, %b, %b, %b, %b)
         AS r(shop_id, key, fingerprint, outcome, of_append, behind, position)
    LEFT JOIN appended a USING (of_append)
    WHERE r.of_append = 0 OR a.accepted
    ORDER BY r.shop_id, r.key
)
SELECT accepted, stream_version, last_position, at FROM appended ORDER BY of_append
"""

# Bounded, so that forgetting many never holds anything up for long.
_FORGET = """
DELETE FROM receipt WHERE (shop_id, key) IN (
    SELECT shop_id, key FROM receipt WHERE recorded_at <= %s ORDER BY recorded_at LIMIT 5000
)
"""


async def ask_receipts(
    connection: ReadConnection, keys: Iterable[Key], now: datetime
) -> Callable[[], Awaitable[tuple[dict[Key, StoredReceipt], list[Key]]]]:
    """Ask for the answers given to these keys, and for those of the keys whose answers have expired.

    What is returned gets them, see ``infrastructure.log.log.ask_histories``.
    """
    wanted = sorted(set(keys))
    cursor = connection.cursor(binary=True)
    columns = Texts([shop_id for shop_id, _ in wanted]), Texts([key for _, key in wanted])
    await cursor.execute(_FIND, (now - RECEIPTS_KEPT, *columns))

    async def answer() -> tuple[dict[Key, StoredReceipt], list[Key]]:
        found: dict[Key, StoredReceipt] = {}
        expired: list[Key] = []
        for shop_id, key, fingerprint, outcome, position, valid in await cursor.fetchall():
            if valid:
                found[shop_id, key] = StoredReceipt(fingerprint, outcome, position)
            else:
                expired.append((shop_id, key))
        return found, expired

    return answer


async def free_keys(connection: WriteConnection, keys: Sequence[Key], now: datetime) -> None:
    """Remove what has expired of these keys' receipts."""
    columns = Texts([shop_id for shop_id, _ in keys]), Texts([key for _, key in keys])
    await connection.execute(_FREE, (*columns, now - RECEIPTS_KEPT))


async def append_with_receipts(
    connection: WriteConnection,
    now: datetime,
    shops: Mapping[str, Sequence[Append]],
    receipts: Sequence[Receipt],
    *,
    together: bool = True,
) -> dict[str, list[Appended]]:
    """As ``append``, with the receipts that go with it, committed at once. Raises ``KeyTaken``."""
    try:
        if not receipts:
            return await append(connection, now, shops, together=together)
        if together:
            return await _append_and_keep(connection, now, shops, receipts)
        async with connection.transaction():
            appended = await append(connection, now, shops, together=False)
            await _keep(connection, now, shops, receipts, appended)
        return appended
    except psycopg.errors.UniqueViolation as error:
        if error.diag.table_name != "receipt":
            raise  # the log's own keys never collide while its heads are right
        raise KeyTaken from error


async def _append_and_keep(
    connection: WriteConnection,
    now: datetime,
    shops: Mapping[str, Sequence[Append]],
    receipts: Sequence[Receipt],
) -> dict[str, list[Appended]]:
    """One statement, one round trip."""
    flat = [(shop_id, append) for shop_id, appends in shops.items() for append in appends]
    numbers = {(shop_id, append.stream): n for n, (shop_id, append) in enumerate(flat, start=1)}
    cursor = connection.cursor(binary=True)
    await cursor.execute(
        _APPEND_AND_KEEP,
        (
            *parameters_together(now, flat),
            now,
            Texts([receipt.shop_id for receipt in receipts]),
            Texts([receipt.key for receipt in receipts]),
            Blobs([receipt.fingerprint for receipt in receipts]),
            Blobs([receipt.response for receipt in receipts]),
            Integers([numbers[r.shop_id, r.stream] if r.stream else 0 for r in receipts]),
            Integers([receipt.behind for receipt in receipts]),
            Bigints([receipt.position for receipt in receipts]),
        ),
    )
    outcomes: dict[str, list[Appended]] = {shop_id: [] for shop_id in shops}
    for (shop_id, _), row in zip(flat, await cursor.fetchall(), strict=True):
        outcomes[shop_id].append(Appended(*row))
    return outcomes


async def _keep(
    connection: WriteConnection,
    now: datetime,
    shops: Mapping[str, Sequence[Append]],
    receipts: Sequence[Receipt],
    appended: Mapping[str, Sequence[Appended]],
) -> None:
    """Where the tables are distributed, appends and receipts are statements of one transaction."""
    results = {
        (shop_id, append.stream): result
        for shop_id, appends in shops.items()
        for append, result in zip(appends, appended[shop_id], strict=True)
    }
    kept = []
    for receipt in receipts:
        result = results[receipt.shop_id, receipt.stream] if receipt.stream else None
        if result is None:
            kept.append((receipt, receipt.position))
        elif result.accepted:
            kept.append((receipt, result.position - receipt.behind))
    await connection.execute(
        _KEEP,
        (
            now,
            Texts([receipt.shop_id for receipt, _ in kept]),
            Texts([receipt.key for receipt, _ in kept]),
            Blobs([receipt.fingerprint for receipt, _ in kept]),
            Blobs([receipt.response for receipt, _ in kept]),
            Bigints([position for _, position in kept]),
        ),
    )


async def forget_receipts(connection: WriteConnection, now: datetime) -> int:
    """Remove some of the receipts that have expired; how many that were."""
    cursor = await connection.execute(_FORGET, (now - RECEIPTS_KEPT,))
    return cursor.rowcount
