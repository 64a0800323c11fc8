"""The HTTP API under load, compared with a bare FastAPI endpoint that inserts one row a request."""

import asyncio
import itertools
import json
import multiprocessing
import socket
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import uvicorn
import uvloop
from fastapi import FastAPI, Request
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel
from starlette.types import ASGIApp, Scope

from api.cli.serving import SERVER
from api.http.app import serving_app
from api.http.door import Admission, Door
from api.http.pipeline import Pipeline
from api.http.problems import Problem
from benchmarks.access import let_in
from benchmarks.table import Result, plural
from domain.access.scopes import SHOP_SCOPES
from domain.access.state import Limits
from infrastructure.access.buckets import Bucket
from infrastructure.access.directory import Credential

SECONDS = 2.5
TURNS = 4
CLIENTS = 32
BULK = 1_000
LINE = {"sku_id": "52000301", "goods_id": "520003", "name": "durian", "quantity": 1, "unit_price_fen": 12900}
ORDER = {"lines": [LINE], "paid_fen": 12900}


_BEHIND = """
SELECT FROM shop_log s LEFT JOIN checkpoint c ON c.shop_id = s.shop_id AND c.reader = 'live'
WHERE coalesce(c.position, 0) < s.position LIMIT 1
"""


class Load(NamedTuple):
    """Requests answered a second, and how long answers took, in milliseconds."""

    rate: float
    median: float
    p99: float


class BareLine(BaseModel):
    sku_id: str
    goods_id: str
    name: str
    quantity: int
    unit_price_fen: int


class BareOrder(BaseModel):
    lines: list[BareLine]
    paid_fen: int | None = None


def bare_app(url: str) -> FastAPI:
    """What anyone would write first, and no more: a route, the body's model, a pool, an INSERT."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        kwargs = {"autocommit": True}
        pool: AsyncConnectionPool[AsyncConnection[TupleRow]]
        async with AsyncConnectionPool(url, min_size=16, max_size=16, kwargs=kwargs) as pool:
            async with pool.connection() as connection:
                await connection.execute("CREATE TABLE bare (LIKE event INCLUDING ALL)")
                await connection.execute("CREATE SEQUENCE bare_position")
            app.state.pool = pool
            yield
            async with pool.connection() as connection:
                await connection.execute("DROP TABLE bare")
                await connection.execute("DROP SEQUENCE bare_position")

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/shops/{shop_id}/orders/{order_sn}/place")
    async def place(shop_id: str, order_sn: str, order: BareOrder, request: Request) -> dict[str, int]:
        body = order.model_dump_json().encode()
        now = datetime.now(UTC)
        async with request.app.state.pool.connection() as connection:
            cursor = await connection.execute(
                """INSERT INTO bare
                   VALUES (%s, nextval('bare_position'), %s, 1, %s, 'OrderPlaced', 1, %s, %s, %s, '{}', '')
                   RETURNING position""",
                (shop_id, order_sn, uuid.uuid4(), now, now, body),
            )
            row = await cursor.fetchone()
        return {"position": row[0]}

    return app


def singles(url: str, shops: int, clients: int = CLIENTS) -> Result:
    """Clients sending single commands, each the whole job: load, decide, append, receipt, answer.

    The two servers take turns, so that both see the same weather of the machine.
    """
    key = let_in(url, shop_ids(shops))
    with _serving(bare_app, url) as bare_port, _serving(serving_app, url) as port:
        bare, ours = _together(
            [
                (
                    uvloop.run(_load(bare_port, key, shops, clients)),
                    uvloop.run(_settled(url, _load(port, key, shops, clients))),
                )
                for _ in range(TURNS)
            ]
        )
    claim = f"HTTP, single commands, {plural(clients, 'client')}, {plural(shops, 'shop')}"
    note = f"median {ours.median:.1f} ms, p99 {ours.p99:.1f} ms (bare {bare.median:.1f}, {bare.p99:.1f})"
    return Result(claim, "requests", ours.rate, "bare FastAPI + INSERT", bare.rate, note)


class OpenDoor(Door):
    """Lets everything in without a look at it. Only this comparison has such a door."""

    async def refusal(self, scope: Scope) -> Problem | None:
        shop_id = scope["path"].split("/", 4)[3]
        scope["admission"] = Admission(_NOBODY, SHOP_SCOPES, shop_id)
        return None


_LONG = datetime(9999, 1, 1, tzinfo=UTC)
_NOBODY = Credential(
    "nobody", "nobody", b"", _LONG, _LONG, {}, frozenset(), frozenset(), (), Bucket(Limits()), False, False
)


def open_app(url: str) -> Pipeline:
    """The program with a door that stands open."""
    app = serving_app(url)
    app.door = OpenDoor()
    return app


def access(url: str, shops: int, clients: int = CLIENTS) -> Result:
    """Single commands with the door, and with one that stands open, by turns on one database."""
    key = let_in(url, shop_ids(shops))
    with _serving(open_app, url) as open_port, _serving(serving_app, url) as port:
        opened, ours = _together(
            [
                (
                    uvloop.run(_settled(url, _load(open_port, key, shops, clients))),
                    uvloop.run(_settled(url, _load(port, key, shops, clients))),
                )
                for _ in range(2 * TURNS)
            ]
        )
    claim = f"access: single commands, {plural(clients, 'client')}, {plural(shops, 'shop')}"
    note = f"median {ours.median:.1f} ms (open door {opened.median:.1f})"
    return Result(claim, "requests", ours.rate, "an open door", opened.rate, note)


def all_of_it(fresh: Callable[[str], str]) -> Iterator[Result]:
    """1, 8 and 32 clients on one shop and on 1,000, and the bulk endpoint; ``fresh`` makes a database."""
    for shops in (1, 1_000):
        for clients in (1, 8, CLIENTS):
            yield singles(fresh(f"serve_{shops}_{clients}"), shops, clients)
    for shops in (1, 1_000):
        yield access(fresh(f"serve_access_{shops}"), shops)
    yield bulk(fresh("serve_bulk"))


def bulk(url: str) -> Result:
    """The bulk endpoint, in commands, compared with single commands, by turns."""
    key = let_in(url, [*shop_ids(1), "bulk"])
    with _serving(serving_app, url) as port:
        turns = [
            (uvloop.run(_settled(url, _load(port, key, 1))), uvloop.run(_settled(url, _bulk_load(port, key))))
            for _ in range(TURNS)
        ]
        single, many = _together(turns)
    rate = many.rate * BULK
    note = f"a request of {BULK}: median {many.median:.0f} ms, p99 {many.p99:.0f} ms"
    return Result(
        f"HTTP, bulk of {BULK} commands, 4 clients", "commands", rate, "single commands", single.rate, note
    )


def _together(turns: Sequence[tuple[Load, ...]]) -> list[Load]:
    """Per server, the mean of its turns."""
    return [
        Load(*(statistics.fmean(values) for values in zip(*loads, strict=True)))
        for loads in zip(*turns, strict=True)
    ]


@contextmanager
def serving(url: str, shops: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The program on a database, in a process of its own; yields its port, and a key for the shops."""
    key = let_in(url, shops)
    with _serving(serving_app, url) as port:
        yield port, key


def shop_ids(shops: int) -> list[str]:
    """The shops that clients send commands to."""
    return [f"s{number}" for number in range(shops)]


@contextmanager
def _serving(make: Callable[[str], ASGIApp], url: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(make, url, port))
    process.start()
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.join()


def _serve(make: Callable[[str], ASGIApp], url: str, port: int) -> None:
    uvicorn.run(lambda: make(url), port=port, **SERVER)


async def _load(port: int, key: str, shops: int, clients: int = CLIENTS) -> Load:
    """Clients that each send one command after another, every one with a key of its own."""
    body = json.dumps(ORDER).encode()
    tag = time.time_ns() % 10**9

    def commands(k: int) -> Iterator[bytes]:
        for n in itertools.count():
            shop = f"s{(k * 7919 + n) % shops}"
            name = f"{tag}-{k}-{n}"
            yield _request(f"/v1/shops/{shop}/orders/{name}/place", key, body, name)

    return await _drive(port, [commands(k) for k in range(clients)])


async def _settled(url: str, loading: Awaitable[Load]) -> Load:
    """Wait for the worker afterwards: what it has left to do must not weigh on the next turn."""
    load = await loading
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        while await (await connection.execute(_BEHIND)).fetchone():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return load


async def _bulk_load(port: int, key: str) -> Load:
    tag = time.time_ns() % 10**9

    def batches(k: int) -> Iterator[bytes]:
        for n in itertools.count():
            names = [f"{tag}-{k}-{n}-{i}" for i in range(BULK)]
            commands = [{"order_sn": name, "action": "place", **ORDER} for name in names]
            yield _request("/v1/shops/bulk/commands", key, json.dumps({"commands": commands}).encode())

    return await _drive(port, [batches(k) for k in range(4)])


def _request(path: str, key: str, body: bytes, idempotency_key: str = "") -> bytes:
    head = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"Idempotency-Key: {idempotency_key}"] if idempotency_key else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


async def _drive(port: int, clients: Sequence[Iterator[bytes]]) -> Load:
    times: list[float] = []
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    drivers = [_Client(requests, began + SECONDS, times) for requests in clients]
    for driver in drivers:
        await loop.create_connection(lambda driver=driver: driver, "127.0.0.1", port)  # type: ignore[misc]
    for driver in drivers:
        await driver.done
    seconds = time.perf_counter() - began
    times.sort()
    return Load(len(times) / seconds, times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3)


class _Client(asyncio.Protocol):
    """As light as can be, so that it takes little of the machine from what is measured."""

    def __init__(self, requests: Iterator[bytes], until: float, times: list[float]) -> None:
        self._requests = requests
        self._until = until
        self._times = times
        self._answer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        request = next(self._requests)
        self._began = time.perf_counter()
        self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._answer += data
        end = self._answer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._answer.lower().index(b"content-length: ", 0, end) + 16
        length = int(self._answer[at : self._answer.index(b"\r\n", at)])
        if len(self._answer) < end + 4 + length:
            return
        now = time.perf_counter()
        if self._answer[9:10] != b"2":
            self.done.set_exception(AssertionError(self._answer))
        elif now < self._until:
            self._times.append(now - self._began)
            self._answer = b""
            self._send()
        else:
            self._transport.close()
            self.done.set_result(None)
