"""A signed log for tests: a shop's events come through the real command path, with keys and checkpoints."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from infrastructure.audit.archive import Archive
from infrastructure.audit.checkpoint import Signed
from infrastructure.audit.checkpoints import Checkpoints
from infrastructure.audit.keys import Keys
from infrastructure.audit.signing import make_checkpoint
from infrastructure.audit.verification import Verified, verify
from infrastructure.database.pool import WriteConnection
from tests.orders import SHOP, on_database, placed_and_formed

T = TypeVar("T")


class SignedLog:
    """A database, and the archive that belongs to it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.archive = Archive(Keys(folder / "keys"), Checkpoints(folder / "checkpoints"))

    def fill(self, orders: int, shop: str = SHOP) -> None:
        """Place so many orders, then form the group of each: two events an order. Once per shop."""
        on_database(self.url, lambda pool, path: placed_and_formed(path, orders, shop))

    def sign(self, shop: str = SHOP, *, whole: bool = True) -> Signed:
        made = make_checkpoint(self.url, shop, self.archive, whole=whole)
        assert made
        return made.signed

    def verify(self, shop: str = SHOP, processes: int = 1) -> Verified:
        (verified,) = verify(self.url, [shop], self.archive, processes=processes)
        return verified

    def tamper(self, statements: str) -> None:
        """As a superuser with triggers off."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statements.encode())

    def on_connection(self, work: Callable[[WriteConnection], Awaitable[T]]) -> T:
        async def run() -> T:
            async with await WriteConnection.connect(self.url, autocommit=True) as connection:
                await connection.execute("SET TIME ZONE 'UTC'")
                return await work(connection)

        return asyncio.run(run())

    def one(self, query: str, *parameters: Any) -> Any:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query.encode(), parameters).fetchone()
            return row[0] if row else None


REHASH = """
UPDATE event SET leaf_hash = event_leaf_hash(shop_id, position, stream, version, event_id, type, schema_version,
                                             occurred_at, recorded_at, payload, metadata);
"""
