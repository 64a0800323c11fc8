"""Appending to the log: batches compared with COPY, single appends with raw INSERTs and the library's recorder."""

import asyncio
import os
import random
import re
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import uvloop
from eventsourcing.persistence import ApplicationRecorder, StoredEvent
from psycopg_pool import ConnectionPool

from benchmarks.table import Result, plural
from domain.history import Metadata
from domain.order.commands import OrderedLine, Place
from domain.order.events import GroupFormed, Line, OrderPlaced
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import OrderCommand
from infrastructure.database.cluster import binaries
from infrastructure.database.pool import WriteConnection, connection_pool
from infrastructure.log.log import Append, append, new_event
from infrastructure.log.recorders import ShopApplicationRecorder
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
STREAMS = 500
CALLS = 15
TURNS = 5
SECONDS = 2.0
MOST = 100_000
EVENTS = (
    new_event(
        OrderPlaced((Line("52000301", "520003", "泰国金枕榴莲 1个", 1, 12900),), paid_fen=12900), NOW, Metadata()
    ),
    new_event(GroupFormed(NOW), NOW, Metadata()),
)
PLACE = Place(lines=(OrderedLine("52000301", "520003", "泰国金枕榴莲 1个", 1, 12900),), paid_fen=12900)
_TYPES = ["text", "int8", "text", "int4", "uuid", "text", "int2", *["timestamptz"] * 2, *["bytea"] * 3]


def new_orders(count: int) -> list[str]:
    """Streams that are named like the orders of one day, in random order."""
    return [f"order:260302-{random.randrange(10**15):015d}" for _ in range(count)]


def calls(streams: int, count: int = CALLS) -> list[list[Append]]:
    """Calls that each place so many new orders and form their groups."""
    return [
        [Append(stream, 0, [e._replace(event_id=uuid.uuid4()) for e in EVENTS]) for stream in new_orders(streams)]
        for _ in range(count)
    ]


async def append_all(
    connection: WriteConnection, batches: Sequence[Sequence[Append]], shop_id: str = "bench"
) -> float:
    """The seconds it takes to append these calls to one shop, a transaction each."""
    began = time.perf_counter()
    for appends in batches:
        await append(connection, NOW, {shop_id: appends})
    return time.perf_counter() - began


def batches(url: str) -> Result:
    """500 streams of 2 events a call; COPY puts as many rows in each transaction. They take turns."""
    return uvloop.run(_batches(url))


async def _batches(url: str) -> Result:
    connection = await WriteConnection.connect(url, autocommit=True)
    async with connection:
        await connection.execute("CREATE TABLE copied (LIKE event INCLUDING ALL)")
        ours = peer = 0.0
        for turn in range(TURNS):
            ours += await append_all(connection, calls(STREAMS))
            peer += await _copy_all(connection, turn)
        await connection.execute("DROP TABLE copied")
    events = TURNS * CALLS * STREAMS * 2
    claim = f"append, {STREAMS} streams x 2 events a call"
    return Result(claim, "events", events / ours, "binary COPY", events / peer)


async def _copy_all(connection: WriteConnection, turn: int) -> float:
    """The seconds for the same rows by COPY into the same table and indexes."""
    streams = [new_orders(STREAMS) for _ in range(CALLS)]
    rows = [
        [_row(turn * 10**6 + n * 2 * STREAMS + k, names[k // 2], k % 2) for k in range(2 * STREAMS)]
        for n, names in enumerate(streams)
    ]
    began = time.perf_counter()
    for batch in rows:
        async with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(_TYPES)
            for row in batch:
                await copy.write_row(row)
    return time.perf_counter() - began


def _row(position: int, stream: str, n: int) -> tuple[object, ...]:
    event = EVENTS[n]
    fields = (event.type, 1, NOW, NOW, event.payload, event.metadata, bytes(32))
    return ("bench", position, stream, n + 1, uuid.uuid4(), *fields)


def sizes(url: str) -> Iterator[Result]:
    """1, 10, 100 and 1,000 appends a call, by one writer, compared with one client's single INSERTs."""
    peer = raw_inserts(url, 1)

    async def measure(count: int) -> float:
        connection = await WriteConnection.connect(url, autocommit=True)
        async with connection:
            rounds = max(2_000 // count, 4)
            spent = await append_all(connection, calls(count, rounds))
        return rounds * count * 2 / spent

    for count in (1, 10, 100, 1_000):
        rate = uvloop.run(measure(count))
        claim = f"append, {plural(count, 'stream')} x 2 events a call"
        yield Result(claim, "events", rate, "raw INSERT, 1 client", peer)


def singles(url: str) -> Iterator[Result]:
    """Commands that come one by one from so many writers: loaded, judged and appended, in batches as they fall."""
    for writers in (1, 8, 32):
        ours = uvloop.run(command_rate(url, writers))
        yield Result(
            f"single commands in process, {plural(writers, 'writer')}",
            "commands",
            ours,
            f"raw INSERT, {plural(writers, 'client')}",
            raw_inserts(url, writers),
        )


async def command_rate(url: str, writers: int) -> float:
    """Orders placed a second through a command path by concurrent tasks, each waiting for its answer."""
    async with (
        connection_pool(url, size=4) as pool,
        CommandPath(pool, shipped_rules(), clock.now, render=lambda intent, outcome: b"") as path,
    ):
        submitted = 0
        commands = [
            OrderCommand("bench", stream.removeprefix("order:"), PLACE, "bench") for stream in new_orders(MOST)
        ]
        waiting = iter(commands)
        end = time.perf_counter() + SECONDS

        async def write() -> None:
            nonlocal submitted
            while time.perf_counter() < end:
                await path.submit_one(next(waiting))
                submitted += 1

        await asyncio.gather(*(write() for _ in range(writers)))
        return submitted / SECONDS


def raw_inserts(url: str, clients: int) -> float:
    """Single-row INSERTs a second into a table like the log's, by pgbench."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS raw (LIKE event INCLUDING ALL)")
        connection.execute("CREATE SEQUENCE IF NOT EXISTS raw_position")
    payload = EVENTS[0].payload.hex()
    script = f"""
INSERT INTO raw SELECT 'bench', n, 'order:' || n, 1, gen_random_uuid(), 'OrderPlaced', 1, now(), now(),
    '\\x{payload}', '\\x7b7d', sha256('\\x{payload}') FROM nextval('raw_position') AS n;
"""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        arguments = [
            "-n",
            "-c",
            str(clients),
            "-j",
            str(min(clients, 2)),
            "-T",
            str(int(SECONDS)),
            "-M",
            "prepared",
        ]
        pgbench = subprocess.run(
            [binaries() / "pgbench", *arguments, "-f", file.name, url],
            env=os.environ | {"PGCONNECT_TIMEOUT": "10"},
            capture_output=True,
            text=True,
            check=True,
        )
    rate = re.search(r"tps = ([\d.]+)", pgbench.stdout)
    assert rate, pgbench.stdout
    return float(rate[1])


def against_the_library(url: str, writers: int = 8) -> Iterator[Result]:
    """Single appends by several writers, compared with those of the library's recorder in as many threads."""
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
    commands = ours = peer = 0.0
    with ConnectionPool(url, min_size=writers, max_size=writers) as pool:
        recorder = ShopApplicationRecorder(pool, "library")
        for _ in range(TURNS):
            peer += _recorder_rate(library, writers) / TURNS
            commands += uvloop.run(command_rate(url, writers)) / TURNS
            ours += _recorder_rate(recorder, writers) / TURNS
    name = "eventsourcing's recorder"
    yield Result(f"single commands in process, {plural(writers, 'writer')}", "commands", commands, name, peer)
    yield Result(f"our recorder, {writers} threads, one by one", "events", ours, name, peer)
    datastore.close()


def _recorder_rate(recorder: ApplicationRecorder, writers: int) -> float:
    stop = threading.Event()

    def write(_: int) -> int:
        done = 0
        while not stop.is_set():
            recorder.insert_events([StoredEvent(uuid.uuid4(), 1, "topic", EVENTS[0].payload)])
            done += 1
        return done

    with ThreadPoolExecutor(writers) as threads:
        running = [threads.submit(write, n) for n in range(writers)]
        began = time.perf_counter()
        time.sleep(SECONDS)
        stop.set()
        return sum(future.result() for future in running) / (time.perf_counter() - began)
