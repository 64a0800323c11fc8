"""The HTTP API under load, beside a bare FastAPI endpoint that inserts one row a request."""

import asyncio
import json
import multiprocessing
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import uvicorn
from fastapi import FastAPI, Request
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from api.app import create_app
from benchmarks.table import Result

SECONDS = 5.0
CLIENTS = 32
BULK = 500
LINE = {"sku_id": "52000301", "goods_id": "520003", "name": "durian", "quantity": 1, "unit_price_fen": 12900}
ORDER = {"lines": [LINE], "paid_fen": 12900}


class Load(NamedTuple):
    """Requests answered a second, and how long answers took, in milliseconds."""

    rate: float
    median: float
    p99: float


def bare_app(url: str) -> FastAPI:
    """What anyone would write first: a route, a pool, an INSERT."""

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
    async def place(shop_id: str, order_sn: str, request: Request) -> dict[str, int]:
        body = await request.body()
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


def singles(url: str, shops: int) -> tuple[Result, Load]:
    """32 clients sending single commands, each the whole job: load, decide, append, answer."""
    bare = _under_load(bare_app, url, shops)
    ours = _under_load(create_app, url, shops)
    claim = f"HTTP, single commands, {CLIENTS} clients, {shops} shop{'s' if shops > 1 else ''}"
    note = f"median {ours.median:.0f} ms, p99 {ours.p99:.0f} ms (bare {bare.median:.0f}, {bare.p99:.0f})"
    return Result(claim, "requests", ours.rate, "bare FastAPI + INSERT", bare.rate, note), ours


def bulk(url: str, single: Load) -> Result:
    """The bulk endpoint, in commands, beside the single commands of the same run."""
    with _serving(create_app, url) as port:
        rate = asyncio.run(_bulk_load(port)) * BULK
    return Result(f"HTTP, bulk of {BULK} commands, 4 clients", "commands", rate, "single commands", single.rate)


def _under_load(make: Callable[[str], FastAPI], url: str, shops: int) -> Load:
    with _serving(make, url) as port:
        return asyncio.run(_load(port, shops))


@contextmanager
def _serving(make: Callable[[str], FastAPI], url: str) -> Iterator[int]:
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


def _serve(make: Callable[[str], FastAPI], url: str, port: int) -> None:
    uvicorn.run(make(url), port=port, log_level="warning", access_log=False)


async def _load(port: int, shops: int) -> Load:
    body = json.dumps(ORDER).encode()
    tag = time.time_ns() % 10**9
    times: list[float] = []
    end = time.perf_counter() + SECONDS

    async def client(k: int) -> None:
        send = await _connection(port)
        n = 0
        while (began := time.perf_counter()) < end:
            n += 1
            shop = f"s{(k * 7919 + n) % shops}"
            await send(f"/v1/shops/{shop}/orders/{tag}-{k}-{n}/place", body)
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(client(k) for k in range(CLIENTS)))
    seconds = time.perf_counter() - began
    times.sort()
    return Load(len(times) / seconds, times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3)


async def _bulk_load(port: int) -> float:
    tag = time.time_ns() % 10**9
    sent = 0
    end = time.perf_counter() + SECONDS

    async def client(k: int) -> None:
        nonlocal sent
        send = await _connection(port)
        n = 0
        while time.perf_counter() < end:
            n += 1
            commands = [{"order_sn": f"{tag}-{k}-{n}-{i}", "action": "place", **ORDER} for i in range(BULK)]
            await send("/v1/shops/bulk/commands", json.dumps({"commands": commands}).encode())
            sent += 1

    began = time.perf_counter()
    await asyncio.gather(*(client(k) for k in range(4)))
    return sent / (time.perf_counter() - began)


async def _connection(port: int) -> Callable[[str, bytes], "asyncio.Future[None]"]:
    """A client as light as can be, so that it takes little of the machine from what is measured."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send(path: str, body: bytes) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer[9:10] == b"2", answer
        at = answer.lower().index(b"content-length: ") + 16
        await reader.readexactly(int(answer[at : answer.index(b"\r\n", at)]))

    return send  # type: ignore[return-value]
