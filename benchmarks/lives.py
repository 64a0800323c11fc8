"""A log as shops fill it: orders that are paid, grouped, shipped, received; some late, out of stock, refunded."""

import hashlib
import heapq
import random
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
from rich.progress import Progress

from domain.history import Metadata
from domain.order import events as e
from infrastructure.log.canonical import canonical_bytes, leaf_hash
from infrastructure.log.codec import encode_event, encode_metadata

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BETWEEN_ORDERS = timedelta(seconds=20)
EVENTS_OF_AN_ORDER = 6.67
"""So many on average, once its life is over."""

SKUS = 10_000

_TYPES = ["text", "int8", "text", "int4", "uuid", "text", "int2", *["timestamptz"] * 2, *["bytea"] * 3]

Life = list[tuple[e.OrderEvent, datetime]]


def fill(url: str, events: int, shops: int, progress: Progress | None = None, days: float | None = None) -> int:
    """Give each of so many shops its share of the events; how many orders that makes.

    They span about so many ``days``, where given: then a small log is that of small shops, and not one in which
    most orders have only begun. Otherwise each shop has an order every twenty seconds. The bar is shown meanwhile
    and no longer: one that is drawn again and again takes its share of what is measured afterwards.
    """
    between = timedelta(days=days) * shops * EVENTS_OF_AN_ORDER / events if days else BETWEEN_ORDERS
    task = progress.add_task(f"a log of {events:,} events", total=events) if progress else None
    orders = 0
    with progress or nullcontext(), psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for number in range(shops):
            shop = f"shop-{number}"
            metadata = encode_metadata(Metadata(actor="api"))
            with connection.cursor() as cursor, cursor.copy("COPY event FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(_TYPES)
                log = _log(number, events // shops, between)
                for position, (stream, version, event, at) in enumerate(log, start=1):
                    name, schema, payload = encode_event(event)
                    row = (shop, position, stream, version, _uuid(shop, position), name, schema, at, at)
                    hashed = leaf_hash(canonical_bytes(*row, payload, metadata))
                    copy.write_row((*row, payload, metadata, hashed))
                    orders += version == 1
                    if progress and task is not None and position % 10_000 == 0:
                        progress.advance(task, 10_000)
            connection.execute("INSERT INTO shop_log VALUES (%s, %s, %s)", (shop, events // shops, at))
        if progress and task is not None:
            progress.update(task, completed=events)
        connection.execute("VACUUM ANALYZE event")
        connection.execute("CHECKPOINT")
    return orders


def _log(shop: int, events: int, between: timedelta) -> Iterator[tuple[str, int, e.OrderEvent, datetime]]:
    """A shop's events in the order in which they happened, interleaved as orders live side by side."""
    chance = random.Random(shop)
    waiting: list[tuple[datetime, int, int, str, e.OrderEvent]] = []
    number = yielded = 0
    while yielded < events:
        now = BEGIN + number * between
        number += 1
        stream = f"order:{now:%y%m%d}-{chance.randrange(10**15):015d}"
        for version, (event, at) in enumerate(_life(chance, number, now), start=1):
            heapq.heappush(waiting, (at, number, version, stream, event))
        while waiting and waiting[0][0] <= now and yielded < events:
            at, _, version, stream, event = heapq.heappop(waiting)
            yielded += 1
            yield stream, version, event, at


def _life(chance: random.Random, number: int, placed: datetime) -> Life:
    """80 % are shipped and received, a few of them late or not picked up; 10 % are out of stock; the rest wait."""
    line = e.Line(
        f"52{number % SKUS:06d}", f"52{number % SKUS // 10:04d}", "泰国金枕榴莲 1个", 1 + number % 3, 12900
    )
    tracking = f"SF{number:013d}"

    def after(hours: float) -> datetime:
        return placed + timedelta(hours=hours)

    life: Life = [
        (e.OrderPlaced((line,), group_id=f"g{number // 2}"), placed),
        (e.OrderPaid(12900 * line.quantity), after(0.02)),
        (e.GroupFormed(), after(1)),
    ]
    fate = chance.random()
    if fate < 0.8:
        upload = 1 + chance.random() * 44 + (30 if fate < 0.03 else 0)
        pickup = upload + (30 if fate < 0.02 else 5)
        life += [
            (e.TrackingUploaded("SF", tracking), after(upload)),
            (e.ParcelPickedUp(tracking), after(pickup)),
            (e.ParcelDelivered(tracking), after(pickup + 45)),
            (e.ReceiptConfirmed(), after(pickup + 65)),
        ]
    elif fate < 0.86:
        life += [
            (e.StockoutRequested("oversold"), after(10)),
            (e.BuyerContacted("chat", "您好，非常抱歉"), after(11)),
            (e.ReviewCompleted("approved"), after(60)),
            (e.OrderRefunded("platform", "out_of_stock"), after(61)),
        ]
    elif fate < 0.9:
        life += [
            (e.StockoutRequested("oversold"), after(10)),
            (e.ReviewCompleted("rejected"), after(40)),
            (e.TrackingUploaded("SF", tracking), after(45)),
            (e.ParcelPickedUp(tracking), after(50)),
            (e.ParcelDelivered(tracking), after(90)),
        ]
    elif fate < 0.95:
        life.append((e.OrderRefunded("buyer", "changed_mind"), after(5)))
    return life


def _uuid(shop: str, position: int) -> UUID:
    return UUID(bytes=hashlib.md5(f"{shop} {position}".encode(), usedforsecurity=False).digest(), version=4)
