"""Appending to the log, beside a binary COPY of the same rows and beside the library's own recorder."""

import asyncio
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg_pool import ConnectionPool

from benchmarks.table import Result
from domain.history import Metadata
from domain.order.events import GroupFormed, Line, OrderPlaced
from infrastructure.log.log import Append, append, new_event
from infrastructure.log.recorders import ShopApplicationRecorder

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
STREAMS = 500
CALLS = 40
EVENTS = (
    new_event(
        OrderPlaced((Line("52000301", "520003", "泰国金枕榴莲 1个", 1, 12900),), paid_fen=12900), NOW, Metadata()
    ),
    new_event(GroupFormed(NOW), NOW, Metadata()),
)
_TYPES = [
    "text",
    "int8",
    "text",
    "int4",
    "uuid",
    "text",
    "int2",
    "timestamptz",
    "timestamptz",
    "bytea",
    "bytea",
    "bytea",
]


def batches(url: str) -> Result:
    """500 streams of 2 events a call, one call a transaction; COPY puts as many rows in each transaction."""
    return asyncio.run(_batches(url))


async def _batches(url: str) -> Result:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with connection:
        await connection.execute("CREATE TABLE copied (LIKE event INCLUDING ALL)")
        ours = peer = 0.0
        for turn in range(3):
            calls = [
                [
                    Append(f"order:{turn}-{call}-{n}", 0, [e._replace(event_id=uuid.uuid4()) for e in EVENTS])
                    for n in range(STREAMS)
                ]
                for call in range(CALLS)
            ]
            began = time.perf_counter()
            for appends in calls:
                async with connection.transaction():
                    await append(connection, NOW, {"bench": appends})
            ours += time.perf_counter() - began
            rows = [[_row(turn, call, n) for n in range(STREAMS * 2)] for call in range(CALLS)]
            began = time.perf_counter()
            for batch in rows:
                async with (
                    connection.cursor() as cursor,
                    cursor.copy("COPY copied FROM STDIN (FORMAT BINARY)") as copy,
                ):
                    copy.set_types(_TYPES)
                    for row in batch:
                        await copy.write_row(row)
            peer += time.perf_counter() - began
        await connection.execute("DROP TABLE copied")
    events = 3 * CALLS * STREAMS * 2
    return Result("append, 500 streams x 2 events a call", "events", events / ours, "binary COPY", events / peer)


def _row(turn: int, call: int, n: int) -> tuple[object, ...]:
    """The n-th row of a call, as COPY takes it."""
    event = EVENTS[n % 2]
    stream = f"order:{turn}-{call}-{n // 2}"
    place = turn * 10**6 + call * 1000 + n
    fields = (event.type, 1, NOW, NOW, event.payload, event.metadata, bytes(32))
    return ("bench", place, stream, n % 2 + 1, uuid.uuid4(), *fields)


def beside_the_library(url: str, writers: int = 8, each: int = 100) -> Result:
    """Single appends by several threads: our recorder and the library's, the same calls."""
    from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

    info = psycopg.conninfo.conninfo_to_dict(url)
    datastore = PostgresDatastore(
        dbname=str(info["dbname"]),
        host=str(info["host"]),
        port=str(info.get("port", 5432)),
        user=str(info["user"]),
        password="",
        pool_size=writers,
    )
    library = PostgresApplicationRecorder(datastore, events_table_name="library_events")
    library.create_table()
    with ConnectionPool(url, min_size=writers, max_size=writers) as pool:
        shop = ShopApplicationRecorder(pool, "library")
        peer = _rate(library.insert_events, writers, each)
        ours = _rate(shop.insert_events, writers, each)
    datastore.close()
    return Result(
        f"single appends, {writers} writers, one by one", "events", ours, "eventsourcing's recorder", peer
    )


def _rate(insert: Callable[[list[StoredEvent]], object], writers: int, each: int) -> float:
    def write(_: int) -> None:
        for _ in range(each):
            insert([StoredEvent(uuid.uuid4(), 1, "topic", EVENTS[0].payload)])

    with ThreadPoolExecutor(writers) as threads:
        began = time.perf_counter()
        list(threads.map(write, range(writers)))
        return writers * each / (time.perf_counter() - began)
