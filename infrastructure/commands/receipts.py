"""Idempotency receipts: the response to a command with a key, committed with its events.

``api/http/requests.py`` reads the header and makes the fingerprint of the request. ``IdempotencyKey`` in
``intents.py`` carries both. This file finds a receipt, stores it, and makes the outcome of a repeated request.

A receipt counts for seven days (``RECEIPT_LIFETIME``). Then its key is free again. The bytes of a response are the
caller's. The position is not among them, because only the append knows it: it has a column of its own.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import psycopg

from domain.kernel import Refusal
from domain.order.state import Order
from domain.sku.state import Sku
from infrastructure.commands.intents import Intent, OrderOutcome, Outcome, SkuCommand, SkuOutcome
from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.log.columns import Bigints, Blobs, Integers, Texts
from infrastructure.log.log import (
    APPEND_TOGETHER,
    Append,
    Appended,
    append,
    parameters_together,
)

RECEIPT_LIFETIME = timedelta(days=7)
"""How long the response to an idempotency key is remembered."""

Key = tuple[str, str]
"""A shop's id and an idempotency key."""


class StoredReceipt(NamedTuple):
    """A receipt in the database: what the request was, and its response."""

    fingerprint: bytes
    response: bytes
    position: int


class FoundReceipts(NamedTuple):
    """What the database has for some keys: receipts that count, and keys whose receipts have expired."""

    valid: Mapping[Key, StoredReceipt]
    expired: Sequence[Key]


NO_RECEIPTS = FoundReceipts({}, ())


class Receipt(NamedTuple):
    """A receipt to store. It is stored only if the append to ``stream`` is accepted; ``None`` appends nothing.

    Its position is ``behind`` events before the last one of that append. Without an append it is ``position``.
    """

    shop_id: str
    key: str
    fingerprint: bytes
    response: bytes
    stream: str | None
    behind: int
    position: int


class KeyTaken(Exception):
    """Another process committed a receipt for one of the keys meanwhile. Nothing was committed here."""


_FIND = """
SELECT r.shop_id, r.key, r.fingerprint, r.outcome, coalesce(r.position, 0), r.recorded_at > %b
FROM unnest(%b, %b) AS w(shop_id, key)
JOIN receipt r ON r.shop_id = w.shop_id AND r.key = w.key
"""

_FREE = """
DELETE FROM receipt r USING unnest(%b, %b) AS w(shop_id, key)
WHERE r.shop_id = w.shop_id AND r.key = w.key AND r.recorded_at <= %b
"""

_STORE = """
INSERT INTO receipt (shop_id, key, fingerprint, outcome, position, recorded_at)
SELECT r.*, %b FROM unnest(%b, %b, %b, %b, %b) AS r(shop_id, key, fingerprint, outcome, position)
ORDER BY r.shop_id, r.key
"""

_APPEND_AND_STORE = f"""
WITH appended AS MATERIALIZED ({APPEND_TOGETHER}), stored AS (
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
) -> Callable[[], Awaitable[FoundReceipts]]:
    """Ask for the receipts of these keys. The function returned gets them, as with ``ask_histories``."""
    distinct = sorted(set(keys))
    cursor = connection.cursor(binary=True)
    columns = Texts([shop_id for shop_id, _ in distinct]), Texts([key for _, key in distinct])
    await cursor.execute(_FIND, (now - RECEIPT_LIFETIME, *columns))

    async def receipts() -> FoundReceipts:
        valid: dict[Key, StoredReceipt] = {}
        expired: list[Key] = []
        for shop_id, key, fingerprint, response, position, counts in await cursor.fetchall():
            if counts:
                valid[shop_id, key] = StoredReceipt(fingerprint, response, position)
            else:
                expired.append((shop_id, key))
        return FoundReceipts(valid, expired)

    return receipts


async def free_keys(connection: WriteConnection, keys: Sequence[Key], now: datetime) -> None:
    """Remove those receipts of these keys that have expired."""
    columns = Texts([shop_id for shop_id, _ in keys]), Texts([key for _, key in keys])
    await connection.execute(_FREE, (*columns, now - RECEIPT_LIFETIME))


async def append_with_receipts(
    connection: WriteConnection,
    now: datetime,
    shops: Mapping[str, Sequence[Append]],
    receipts: Sequence[Receipt],
    *,
    together: bool = True,
) -> dict[str, list[Appended]]:
    """As ``append``, with the receipts that belong to it, in one transaction. Raises ``KeyTaken``."""
    try:
        if together:
            return await _append_and_store(connection, now, shops, receipts)
        async with connection.transaction():
            appended = await append(connection, now, shops, together=False)
            await _store(connection, now, shops, receipts, appended)
        return appended
    except psycopg.errors.UniqueViolation as error:
        if error.diag.table_name != "receipt":
            raise  # the log's own keys never collide while its heads are right
        raise KeyTaken from error


async def _append_and_store(
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
        _APPEND_AND_STORE,
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


async def _store(
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
    stored = []
    for receipt in receipts:
        result = results[receipt.shop_id, receipt.stream] if receipt.stream else None
        if result is None:
            stored.append((receipt, receipt.position))
        elif result.accepted:
            stored.append((receipt, result.position - receipt.behind))
    await connection.execute(
        _STORE,
        (
            now,
            Texts([receipt.shop_id for receipt, _ in stored]),
            Texts([receipt.key for receipt, _ in stored]),
            Blobs([receipt.fingerprint for receipt, _ in stored]),
            Blobs([receipt.response for receipt, _ in stored]),
            Bigints([position for _, position in stored]),
        ),
    )


def key_reused(intent: Intent, now: datetime) -> Outcome:
    """The refusal of an intent whose idempotency key was another request's."""
    refusal = Refusal("idempotency_key_reused", "This idempotency key was used for another request.")
    if isinstance(intent, SkuCommand):
        return SkuOutcome(Sku(intent.sku_id), 0, 0, now, refusal)
    return OrderOutcome(Order(intent.order_sn), 0, 0, now, refusal)


def replay(intent: Intent, response: bytes, position: int, now: datetime) -> Outcome:
    """The outcome of an intent that was answered before: the same response again."""
    if isinstance(intent, SkuCommand):
        return SkuOutcome(Sku(intent.sku_id), 0, position, now, response=response, replayed=True)
    return OrderOutcome(Order(intent.order_sn), 0, position, now, response=response, replayed=True)


async def forget_receipts(connection: WriteConnection, now: datetime) -> int:
    """Remove some of the receipts that have expired. Returns how many."""
    cursor = await connection.execute(_FORGET, (now - RECEIPT_LIFETIME,))
    return cursor.rowcount
