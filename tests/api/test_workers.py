"""The worker process of the API: it follows the log, is replaced when it dies, and ends with its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from api.workers import supervised_worker
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from infrastructure.runtime import processes
from infrastructure.runtime.processes import Supervised
from tests.orders import SHOP, on_database, placed_and_formed


@pytest.fixture
def process(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervised]:
    monkeypatch.setattr(processes, "RESTART_SECONDS", 0.0)
    process = supervised_worker(database_url)
    try:
        yield process
    finally:
        process.stop()


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def listed(url: str, shop: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM order_list WHERE shop_id = %s", (shop,)).fetchone()
        assert row
        return int(row[0])


def place(url: str, shop: str, count: int) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, count, shop)

    on_database(url, work)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_keeps_the_views_current_and_is_replaced_when_killed(database_url: str, process: Supervised) -> None:
    place(database_url, SHOP, 3)
    process.wake()
    wait_until(lambda: listed(database_url, SHOP) == 3)
    killed = process.pid
    os.kill(killed, signal.SIGKILL)
    place(database_url, "other", 2)
    wait_until(lambda: process.pid != killed)
    process.wake()
    wait_until(lambda: listed(database_url, "other") == 2)


def test_it_ends_on_request(process: Supervised) -> None:
    process.stop()
    assert not alive(process.pid)


def test_it_does_not_outlive_a_program_that_is_killed(database_url: str) -> None:
    program = """
import sys, time
from api.workers import supervised_worker
print(supervised_worker(sys.argv[1]).pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, database_url], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        assert alive(worker)
        parent.kill()
    wait_until(lambda: not alive(worker) or _is_zombie(worker))


def _is_zombie(pid: int) -> bool:
    """In a container there may be no process that removes a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
