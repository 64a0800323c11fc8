"""A replay gives every folded order to the task exactly once, whatever happens to the processes."""

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from domain.order import commands as c
from domain.order.state import Order
from domain.sku import commands as s
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import SkuCommand
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.log import replay as replaying
from infrastructure.log.replay import Partition, Replayed, ReplayFailed, Task, partitions, replay
from infrastructure.runtime.processes import Deaths
from tests.orders import MONDAY_9, SHOP, done, on_database, order_command, order_sn, placed_and_formed

COUNT = 30

Rows = list[tuple[str, int, str]]


def rows_of(orders: Iterable[Order]) -> Rows:
    return [(order.order_sn, order.version, order.status) for order in orders]


class KillOneProcess(NamedTuple):
    """A task that kills its process if none was killed before, except the process ``spared``."""

    mark: str
    spared: int

    def work(self, orders: Iterable[Order]) -> Rows:
        if os.getpid() == self.spared:
            wait_for(lambda: Path(self.mark).exists())
            return rows_of(orders)
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return rows_of(orders)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


too_many_are_dead = threading.Event()


class ObservedDeaths(Deaths):
    """Sets ``too_many_are_dead`` in the process that counts."""

    def add(self, number: int = 1) -> None:
        super().add(number)
        if self.too_many:
            too_many_are_dead.set()


class KillEveryProcess(NamedTuple):
    """A task that kills its process. The process ``spared`` waits until too many deaths were counted."""

    spared: int

    def work(self, orders: Iterable[Order]) -> Rows:
        if os.getpid() == self.spared:
            assert too_many_are_dead.wait(60)
            return rows_of(orders)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def wait_for(there: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 60
    while not there():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def children_at_work() -> int:
    """Processes of ours that replay."""
    children = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            ours = f"PPid:\t{os.getpid()}\n" in status.read_text()
            children += ours and b"infrastructure.runtime.processes" in (status.parent / "cmdline").read_bytes()
    return children


@pytest.fixture
def log_url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A log with thirty orders of a shop, some of them shipped, a SKU, and another shop."""
    monkeypatch.setattr(replaying, "PARTITION_EVENTS", 9)

    async def fill(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, COUNT)
        await placed_and_formed(path, 3, "other")
        upload = c.UploadTracking(carrier="SF", tracking_number="SF1", occurred_at=MONDAY_9 + timedelta(hours=5))
        await done(path, *(order_command(order_sn(n), upload) for n in range(0, COUNT, 3)))
        await done(path, SkuCommand(SHOP, "52000301", s.CountStock(on_hand=4), "test"))

    on_database(database_url, fill)
    return database_url


def replayed(
    url: str,
    task: Task[Rows] = rows_of,
    *,
    shop: str = SHOP,
    up_to: int = 2 * COUNT + 11,
    as_of: datetime | None = None,
    processes: int | None = 2,
    here: bool = True,
) -> tuple[list[Partition], list[Replayed[Rows]]]:
    async def run() -> tuple[list[Partition], list[Replayed[Rows]]]:
        async with await WriteConnection.connect(url, autocommit=True) as connection:
            planned = await partitions(connection, shop, up_to)
        parts = replay(url, planned, task, as_of=as_of, processes=processes, here=here)
        return planned, [part async for part in parts]

    return asyncio.run(run())


def all_rows(parts: list[Replayed[Rows]]) -> Rows:
    return [row for part in parts for row in part.result]


EXPECTED = [(order_sn(n), 2 if n % 3 else 3, "awaiting_shipment" if n % 3 else "shipped") for n in range(COUNT)]


@pytest.mark.parametrize("here", [False, True])
@pytest.mark.parametrize("processes", [1, 2, None])
def test_every_order_of_the_shop_is_folded_once_in_the_order_of_partitions(
    log_url: str, processes: int | None, here: bool
) -> None:
    planned, parts = replayed(log_url, processes=processes, here=here)
    assert len(planned) > 4
    assert len(parts) == len(planned)
    assert sorted(all_rows(parts)) == EXPECTED
    assert [min(part.result) for part in parts] == sorted(min(part.result) for part in parts)
    assert sum(part.events for part in parts) == 2 * COUNT + 11
    assert [part.unreadable for part in parts] == [()] * len(parts)


def process_of(orders: Iterable[Order]) -> Rows:
    return [("", os.getpid(), str(len(list(orders))))]


def test_without_here_this_process_folds_nothing_itself(log_url: str) -> None:
    _, parts = replayed(log_url, process_of, here=False)
    assert os.getpid() not in {process for _, process, _ in all_rows(parts)}


def test_this_process_can_do_all_the_work(log_url: str) -> None:
    _, parts = replayed(log_url, process_of, processes=1)
    assert {process for _, process, _ in all_rows(parts)} == {os.getpid()}


def fail(orders: Iterable[Order]) -> Rows:
    raise ArithmeticError("it does not add up")


def test_the_error_of_a_task_is_logged(log_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ReplayFailed, match="see their errors above"):
        replayed(log_url, fail, processes=1)
    assert "it does not add up" in caplog.text


def test_a_log_is_replayed_up_to_a_position(log_url: str) -> None:
    """All orders are placed first, then their groups form."""
    _, parts = replayed(log_url, up_to=COUNT)
    assert sorted(all_rows(parts)) == [(order_sn(n), 1, "pending_group") for n in range(COUNT)]


def test_a_log_is_replayed_as_of_a_time(log_url: str) -> None:
    _, parts = replayed(log_url, as_of=MONDAY_9)
    assert sorted(all_rows(parts)) == [(order_sn(n), 2, "awaiting_shipment") for n in range(COUNT)]


def test_a_shop_without_a_log_has_nothing_to_replay(log_url: str) -> None:
    assert replayed(log_url, shop="unknown", up_to=0) == ([], [])


def test_a_killed_process_is_replaced_and_its_partition_done_again(log_url: str, tmp_path: Path) -> None:
    _, parts = replayed(log_url, KillOneProcess(f"{tmp_path}/died", os.getpid()).work)
    assert sorted(all_rows(parts)) == EXPECTED


def test_when_processes_keep_dying_the_replay_fails(
    log_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    too_many_are_dead.clear()
    monkeypatch.setattr(replaying, "Deaths", ObservedDeaths)
    with pytest.raises(ReplayFailed, match="keep dying"):
        replayed(log_url, KillEveryProcess(os.getpid()).work)
    gc.collect()
    assert caplog.messages == [], "the raised error says it once"


def lingers(orders: Iterable[Order]) -> Rows:
    """Is quick with the first orders, and never done with the others."""
    rows = rows_of(orders)
    if rows[0][0] != order_sn(0):
        time.sleep(600)
    return rows


def test_a_replay_that_is_closed_early_leaves_no_process_behind(log_url: str) -> None:
    async def run() -> None:
        async with await WriteConnection.connect(log_url, autocommit=True) as connection:
            planned = await partitions(connection, SHOP, 2 * COUNT)
        parts = replay(log_url, planned, lingers, processes=2)
        await anext(parts)
        wait_for(lambda: children_at_work() == 2)
        await parts.aclose()  # type: ignore[attr-defined]
        assert children_at_work() == 0

    asyncio.run(run())


def test_an_order_with_an_unreadable_event_is_named_and_folded_up_to_it(log_url: str) -> None:
    with psycopg.connect(log_url, autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(
            "UPDATE event SET payload = '{'::bytea WHERE shop_id = %s AND stream = %s AND version = 2",
            (SHOP, f"order:{order_sn(4)}"),
        )
    _, parts = replayed(log_url)
    assert [number for part in parts for number in part.unreadable] == [order_sn(4)]
    rows = sorted(all_rows(parts))
    assert rows[4] == (order_sn(4), 1, "pending_group")
    assert rows[:4] + rows[5:] == EXPECTED[:4] + EXPECTED[5:]
