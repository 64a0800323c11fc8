"""How soon lists show a command's effect, how fast views catch up, and how long lists of a million orders take."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import uvloop
from rich.progress import Progress

from benchmarks import lives
from benchmarks.serving import ORDER, serving
from benchmarks.table import Result
from domain.kernel import Command
from domain.sku.commands import CountStock, Delist, SetCapacity
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import SkuCommand
from infrastructure.database.pool import connection_pool
from infrastructure.projections import rebuild
from infrastructure.projections.worker import Worker
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import shipped_rules

SECONDS = 20.0
EVENTS_A_SECOND = 1_000
BATCHES_A_SECOND = 20
LISTS = 2_000
CATCH_UP_EVENTS = 300_000
"""The number of events that the worker is behind by."""


def all_of_it(live: str, behind: str, large: str, orders: int, progress: Progress) -> Iterator[Result]:
    yield freshness(live)
    yield catching_up(behind, progress)
    yield from lists(large, orders, progress)


# ---- live -------------------------------------------------------------------------------------------


def freshness(url: str) -> Result:
    """From a command's answer to the answer of a list that shows it, under a steady load."""
    with serving(url, ["live"]) as (port, key):
        waits, appended = uvloop.run(_freshness(port, key))
    waits.sort()
    p50, p99 = (waits[len(waits) * share // 100] * 1e3 for share in (50, 99))
    note = f"{appended / SECONDS:,.0f} events/s appended meanwhile, median {p50:.0f} ms, {len(waits)} looks"
    return Result("a command's effect in a list, p99", "ms", p99, "the promise", 200.0, note)


async def _freshness(port: int, key: str) -> tuple[list[float], int]:
    waits: list[float] = []
    appended = 0
    until = time.perf_counter() + SECONDS
    numbers = itertools.count()

    async def load() -> None:
        nonlocal appended
        client = await Client.to(port, key)
        each = EVENTS_A_SECOND // BATCHES_A_SECOND
        for turn in itertools.count():
            at = until - SECONDS + turn / BATCHES_A_SECOND
            if at >= until:
                return
            await asyncio.sleep(at - time.perf_counter())
            commands = [{"order_sn": f"b-{next(numbers)}", "action": "place", **ORDER} for _ in range(each)]
            await client.ask("POST", "/v1/shops/live/commands", {"commands": commands})
            appended += each

    async def look() -> None:
        client = await Client.to(port, key)
        while time.perf_counter() < until:
            answer = await client.ask("POST", f"/v1/shops/live/orders/p-{next(numbers)}/place", ORDER)
            began = time.perf_counter()
            await client.ask(
                "GET", f"/v1/shops/live/orders?sort=-placed_at&limit=1&min_position={answer['position']}"
            )
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)

    await asyncio.gather(load(), look())
    return waits, appended


class Client:
    """A connection that sends one request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self._reader, self._writer = reader, writer
        self._key = key

    @classmethod
    async def to(cls, port: int, key: str) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return cls(reader, writer, key)

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, object]:
        sent = json.dumps(body).encode() if body is not None else b""
        lines = ["Host: localhost", f"Authorization: Bearer {self._key}", f"Content-Length: {len(sent)}"]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
        self._writer.write(head.encode() + sent)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        answer: dict[str, object] = json.loads(await self._reader.readexactly(length))
        assert head.split()[1].startswith("2"), answer
        return answer


# ---- catching up ------------------------------------------------------------------------------------


def catching_up(url: str, progress: Progress) -> Result:
    """One worker on a log of which it has read nothing."""
    uvloop.run(_prepared(url))
    lives.fill(url, CATCH_UP_EVENTS, 1, progress)
    seconds = uvloop.run(_catch_up(url))
    rate = CATCH_UP_EVENTS / seconds
    return Result(
        "a worker catching up", "events", rate, "the promise", 20_000.0, f"{CATCH_UP_EVENTS:,} events behind"
    )


async def _prepared(url: str) -> None:
    async with connection_pool(url, size=6) as pool:
        await rebuild.prepare(pool, url, shipped_rules())


async def _catch_up(url: str) -> float:
    async with connection_pool(url, size=4) as pool:
        worker = Worker(pool, shipped_rules())
        began = time.perf_counter()
        while await worker.catch_up_once():
            pass
        return time.perf_counter() - began


# ---- lists ------------------------------------------------------------------------------------------


def lists(url: str, orders: int, progress: Progress) -> Iterator[Result]:
    """Random pages of lists over one shop's orders, requested by one client, in any mix of filters."""
    lives.fill(url, int(orders * 6.65), 1, progress)
    uvloop.run(_prepared(url))
    uvloop.run(_stocked(url, int(orders)))
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM order_list").fetchone()
        assert row
        orders = row[0]
    with serving(url, ["shop-0"]) as (port, key):
        for name, promise in (("orders", 50.0), ("deadlines", 50.0), ("violations", 50.0), ("skus", 100.0)):
            times = sorted(uvloop.run(_pages(port, key, name)))
            p99 = times[len(times) * 99 // 100] * 1e3
            median, slowest = times[len(times) // 2] * 1e3, times[-1] * 1e3
            note = f"median {median:.1f} ms, slowest {slowest:.0f} ms, {len(times)} pages"
            yield Result(f"a page of {name}, {orders:,} orders, p99", "ms", p99, "the promise", promise, note)


async def _stocked(url: str, orders: int) -> None:
    """Count every SKU half-way through the orders, give it a capacity, and take some off the shelf."""
    half = lives.BEGIN + orders // 2 * lives.BETWEEN_ORDERS
    intents: list[SkuCommand] = []
    for number in range(lives.SKUS):
        commands: list[Command] = [
            CountStock(on_hand=number % 120, occurred_at=half),
            SetCapacity(production_per_day=number % 7, shipping_per_day=number % 50, occurred_at=half),
            *([Delist(reason="out of stock", occurred_at=half)] if number % 20 == 0 else []),
        ]
        intents += [SkuCommand("shop-0", f"52{number:06d}", command, "benchmark") for command in commands]
    book = shipped_rules()
    async with (
        connection_pool(url, size=4) as pool,
        CommandPath(pool, book, clock.now, render=lambda intent, outcome: b"") as path,
    ):
        for first in range(0, len(intents), 1_000):
            await path.submit(intents[first : first + 1_000])
        await Worker(pool, book).catch_up("shop-0")
        async with pool.connection() as connection:
            await connection.execute("VACUUM ANALYZE")  # as autovacuum does after some minutes


async def _pages(port: int, key: str, name: str) -> list[float]:
    chance = random.Random(name)
    client = await Client.to(port, key)
    times = []
    cursor = None
    query = ""
    for _ in range(LISTS):
        if cursor is None or chance.random() < 0.7:
            query, cursor = _query(chance, name), None
        path = f"/v1/shops/shop-0/{name}?{query}" + (f"&cursor={cursor}" if cursor else "")
        began = time.perf_counter()
        answer = await client.ask("GET", path)
        times.append(time.perf_counter() - began)
        cursor = answer["next_cursor"]
    return times


def _query(chance: random.Random, name: str) -> str:
    """Random filters of a list, usually one or two at once."""
    moment = (lives.BEGIN + timedelta(days=chance.random() * 240)).strftime("%Y-%m-%dT%H:%M:%SZ")
    later = (lives.BEGIN + timedelta(days=chance.random() * 240)).strftime("%Y-%m-%dT%H:%M:%SZ")
    kinds = ("late_shipment", "stockout", "false_shipment", "fraudulent_shipment")
    every: dict[str, dict[str, tuple[str, ...]]] = {
        "orders": {
            "status": ("awaiting_shipment", "stockout_review", "stocked_out", "shipped", "received", "refunded"),
            "sku_id": tuple(f"52{chance.randrange(lives.SKUS):06d}" for _ in range(2)),
            "due_before": (moment,),
            "violation": kinds,
            "sort": ("ship_by", "-placed_at"),
            "locked": ("true", "false"),
        },
        "deadlines": {
            "kind": ("tracking_upload", "deemed_stockout", "carrier_pickup", "review_decision", "delist_sku"),
            "due_before": (moment,),
            "state": ("pending", "met", "missed", "waived", "unknown"),
        },
        "skus": {"listed": ("true", "false"), "oversold": ("true", "false")},
        "violations": {"kind": kinds, "from": (min(moment, later),), "to": (max(moment, later),)},
    }
    filters = every[name]
    share = 0.2 if name == "skus" else 1.5 / len(filters)
    chosen = {key: chance.choice(values) for key, values in filters.items() if chance.random() < share}
    limit = chance.choice((20, 50, 50, 100 if name == "skus" else 200))
    return "&".join(f"{key}={value}" for key, value in {"limit": limit, **chosen}.items())
