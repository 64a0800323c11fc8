"""One whole shop is folded at a time; who comes meanwhile waits for a while."""

import asyncio

import pytest

from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from infrastructure.queries.errors import ReplayRunning
from infrastructure.queries.whole_shop import WholeShopFolds
from tests.orders import SHOP, on_database


def test_folds_run_one_after_another(database_url: str) -> None:
    async def work(pool: Pool, _: CommandPath) -> None:
        folds = WholeShopFolds()
        running, most = 0, 0

        async def fold() -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            return running

        assert await asyncio.gather(*(folds.run(pool, SHOP, "skus", fold) for _ in range(5))) == [0] * 5
        assert most == 1

    on_database(database_url, work)


def test_who_waits_too_long_is_refused_and_the_next_one_is_not(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrastructure.queries.whole_shop.WAIT_SECONDS", 0.05)

    async def work(pool: Pool, _: CommandPath) -> None:
        folds = WholeShopFolds()
        done = asyncio.Event()
        long = asyncio.create_task(folds.run(pool, SHOP, "skus", done.wait))
        await asyncio.sleep(0.01)
        with pytest.raises(ReplayRunning):
            await folds.run(pool, SHOP, "skus", done.wait)
        done.set()
        assert await long
        assert await folds.run(pool, SHOP, "skus", done.wait)

    on_database(database_url, work)
