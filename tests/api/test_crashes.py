"""Kill the program and the database under load: what was acknowledged is there, once."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from infrastructure.database.embedded import EmbeddedServer
from tests.api.conftest import LINE, SHOP

WRITERS = 4


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(data_dir: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """``shiplock serve`` on its embedded database, as a user would start it."""
    environment = os.environ | {"SHIPLOCK_DATA_DIR": str(data_dir)}
    process = subprocess.Popen(
        [sys.executable, "-c", "from api.cli import main; main()", "serve", "--port", str(port)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, "serve ended"
            assert time.monotonic() < deadline, "serve did not come up"
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


class Load:
    """Clients that place orders as fast as they can and remember what was acknowledged."""

    def __init__(self, port: int, round_number: int) -> None:
        self.acknowledged: set[str] = set()
        self.tried: set[str] = set()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(port, f"26030{round_number}-{writer:03d}"))
            for writer in range(WRITERS)
        ]

    def _write(self, port: int, prefix: str) -> None:
        n = 0
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
            while not self._stop.is_set():
                n += 1
                order_sn = f"{prefix}{n:012d}"
                self.tried.add(order_sn)
                try:
                    answer = http.post(
                        f"/v1/shops/{SHOP}/orders/{order_sn}/place",
                        json={"lines": [LINE], "paid_fen": 1},
                        headers={"Idempotency-Key": order_sn},
                    )
                except httpx.HTTPError:
                    time.sleep(0.01)
                    continue
                if answer.status_code == 201:
                    self.acknowledged.add(order_sn)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def reach(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.acknowledged) < count:
            assert time.monotonic() < deadline, "the load gets no answers"
            time.sleep(0.01)


def recorded(port: int) -> list[tuple[int, str]]:
    """(position, order number) of every event of the shop."""
    found: list[tuple[int, str]] = []
    after = "0"
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        while True:
            page = http.get(f"/v1/shops/{SHOP}/events", params={"after": after, "limit": 500}).json()
            found += [(event["position"], event["order_sn"]) for event in page["items"]]
            if page["next_cursor"] is None:
                return found
            after = page["next_cursor"]


@pytest.mark.timeout(240)
def test_nothing_acknowledged_is_lost_or_doubled_whatever_is_killed(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    tried: set[str] = set()
    port = free_port()
    for round_number in range(4):
        with serving(tmp_path, port) as process, Load(port, round_number) as load:
            load.reach(150)
            if round_number % 2:
                first_line = (tmp_path / "postgresql" / "postmaster.pid").read_text().splitlines()[0]
                os.kill(int(first_line), signal.SIGQUIT)
                load.reach(300)
            process.send_signal(signal.SIGKILL)
            process.wait()
        acknowledged |= load.acknowledged
        tried |= load.tried
    with serving(tmp_path, port):
        events = recorded(port)
    positions = [position for position, _ in events]
    numbers = [number for _, number in events]
    assert positions == list(range(1, len(positions) + 1))
    assert len(numbers) == len(set(numbers)), "an order was placed twice"
    assert acknowledged <= set(numbers) <= tried
    assert not EmbeddedServer(tmp_path).is_alive(), "the last program to leave stops the server"
