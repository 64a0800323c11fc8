"""Replaying a log over processes: every order once, as a fold of it gives, whatever happens to the processes."""

import asyncio
import gc
import os
import signal
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
from infrastructure.log.replay import Replayed, ReplayFailed, Stretch, Task, replay, stretches
from tests.orders import MONDAY_9, SHOP, done, on_database, order_sn, placed_and_formed, tell

COUNT = 30

Seen = list[tuple[str, int, str]]


def what_is_there(orders: Iterable[Order]) -> Seen:
    return [(order.order_sn, order.version, order.status) for order in orders]


class DiesOnce(NamedTuple):
    """Kills its process, which is not ``spared``, unless somebody's was killed before."""

    mark: str
    spared: int

    def work(self, orders: Iterable[Order]) -> Seen:
        if os.getpid() == self.spared:
            wait_for(lambda: Path(self.mark).exists())
            return what_is_there(orders)
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return what_is_there(orders)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Dies(NamedTuple):
    """Kills its process; the one that is ``spared`` waits for all who may die."""

    marks: str
    spared: int

    def work(self, orders: Iterable[Order]) -> Seen:
        if os.getpid() == self.spared:
            wait_for(lambda: len(list(Path(self.marks).iterdir())) == replaying.MOST_DEATHS)
            return what_is_there(orders)
        (Path(self.marks) / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def wait_for(there: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 60
    while not there():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def children_at_work() -> int:
    """Processes of ours that replay."""
    found = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            ours = f"PPid:\t{os.getpid()}\n" in status.read_text()
            found += ours and b"infrastructure.runtime.processes" in (status.parent / "cmdline").read_bytes()
    return found


@pytest.fixture
def log_url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Thirty orders of a shop, some shipped; a SKU beside them, and other shops."""
    monkeypatch.setattr(replaying, "STRETCH_EVENTS", 9)

    async def fill(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, COUNT)
        await placed_and_formed(path, 3, "other")
        upload = c.UploadTracking(carrier="SF", tracking_number="SF1", occurred_at=MONDAY_9 + timedelta(hours=5))
        await done(path, *(tell(order_sn(n), upload) for n in range(0, COUNT, 3)))
        await done(path, SkuCommand(SHOP, "52000301", s.CountStock(on_hand=4), "test"))

    on_database(database_url, fill)
    return database_url


def replayed(
    url: str,
    task: Task[Seen] = what_is_there,
    *,
    shop: str = SHOP,
    up_to: int = 2 * COUNT + 11,
    as_of: datetime | None = None,
    processes: int | None = 2,
    here: bool = True,
) -> tuple[list[Stretch], list[Replayed[Seen]]]:
    async def run() -> tuple[list[Stretch], list[Replayed[Seen]]]:
        async with await WriteConnection.connect(url, autocommit=True) as connection:
            planned = await stretches(connection, shop, up_to)
        parts = replay(url, planned, task, as_of=as_of, processes=processes, here=here)
        return planned, [part async for part in parts]

    return asyncio.run(run())


def everything(parts: list[Replayed[Seen]]) -> Seen:
    return [seen for part in parts for seen in part.result]


EXPECTED = [(order_sn(n), 2 if n % 3 else 3, "awaiting_shipment" if n % 3 else "shipped") for n in range(COUNT)]


@pytest.mark.parametrize("here", [False, True])
@pytest.mark.parametrize("processes", [1, 2, None])
def test_every_order_of_the_shop_is_folded_once_in_the_order_of_stretches(
    log_url: str, processes: int | None, here: bool
) -> None:
    planned, parts = replayed(log_url, processes=processes, here=here)
    assert len(planned) > 4
    assert len(parts) == len(planned)
    assert sorted(everything(parts)) == EXPECTED
    assert [min(part.result) for part in parts] == sorted(min(part.result) for part in parts)
    assert sum(part.events for part in parts) == 2 * COUNT + 11
    assert [part.unreadable for part in parts] == [()] * len(parts)


def whose_work(orders: Iterable[Order]) -> Seen:
    return [("", os.getpid(), str(len(list(orders))))]


def test_who_serves_others_folds_nothing_itself(log_url: str) -> None:
    _, parts = replayed(log_url, whose_work, here=False)
    assert os.getpid() not in {process for _, process, _ in everything(parts)}


def test_this_process_can_do_all_of_it(log_url: str) -> None:
    _, parts = replayed(log_url, whose_work, processes=1)
    assert {process for _, process, _ in everything(parts)} == {os.getpid()}


def breaks(orders: Iterable[Order]) -> Seen:
    raise ArithmeticError("it does not add up")


def test_what_a_task_fails_with_is_said(log_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ReplayFailed, match="see their errors above"):
        replayed(log_url, breaks, processes=1)
    assert "it does not add up" in caplog.text


def test_a_log_is_replayed_as_far_as_a_position(log_url: str) -> None:
    """Orders are placed first and their groups form then."""
    _, parts = replayed(log_url, up_to=COUNT)
    assert sorted(everything(parts)) == [(order_sn(n), 1, "pending_group") for n in range(COUNT)]


def test_a_log_is_replayed_as_of_a_moment(log_url: str) -> None:
    _, parts = replayed(log_url, as_of=MONDAY_9)
    assert sorted(everything(parts)) == [(order_sn(n), 2, "awaiting_shipment") for n in range(COUNT)]


def test_a_shop_without_a_log_has_nothing_to_replay(log_url: str) -> None:
    assert replayed(log_url, shop="unheard", up_to=0) == ([], [])


def test_a_process_that_is_killed_is_replaced_and_its_stretch_done_again(log_url: str, tmp_path: Path) -> None:
    _, parts = replayed(log_url, DiesOnce(f"{tmp_path}/died", os.getpid()).work)
    assert sorted(everything(parts)) == EXPECTED


def test_when_processes_keep_dying_the_replay_fails_instead_of_trying_for_ever(
    log_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ReplayFailed, match="keep dying"):
        replayed(log_url, Dies(f"{tmp_path}", os.getpid()).work)
    gc.collect()
    assert caplog.messages == [], "it is said once, by what is raised"


def lingers(orders: Iterable[Order]) -> Seen:
    """Is quick with the first orders, and never done with the others."""
    found = what_is_there(orders)
    if found[0][0] != order_sn(0):
        time.sleep(600)
    return found


def test_whoever_stops_listening_leaves_no_process_behind(log_url: str) -> None:
    async def run() -> None:
        async with await WriteConnection.connect(log_url, autocommit=True) as connection:
            planned = await stretches(connection, SHOP, 2 * COUNT)
        parts = replay(log_url, planned, lingers, processes=2)
        await anext(parts)
        wait_for(lambda: children_at_work() == 2)
        await parts.aclose()  # type: ignore[attr-defined]
        assert children_at_work() == 0

    asyncio.run(run())


def test_an_order_that_cannot_be_read_whole_is_named_and_folded_as_far_as_it_can(log_url: str) -> None:
    with psycopg.connect(log_url, autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(
            "UPDATE event SET payload = '{'::bytea WHERE shop_id = %s AND stream = %s AND version = 2",
            (SHOP, f"order:{order_sn(4)}"),
        )
    _, parts = replayed(log_url)
    assert [number for part in parts for number in part.unreadable] == [order_sn(4)]
    found = sorted(everything(parts))
    assert found[4] == (order_sn(4), 1, "pending_group")
    assert found[:4] + found[5:] == EXPECTED[:4] + EXPECTED[5:]
