"""A key that is revoked is refused by every process within a second, also where the database can't be reached."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2 as httpx
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from domain.access import commands as c
from infrastructure.access.administration import Administration
from infrastructure.access.doorkeeper import POLL_SECONDS, TOO_OLD_SECONDS, opened_installation
from tests.access import headers
from tests.api.conftest import SHOP

BOUND = 1.0
"""Seconds after which no process may let a revoked key in."""

SLACK = 1.0
"""What four servers and their clients may take of two cores beyond that."""


class Wire:
    """A way to the database that can be cut: bytes go through it until then, and nothing is told afterwards."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._cut = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._cut.set()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                if self._cut.is_set():
                    return  # the connection stays open, and silent
                sink.sendall(data)
        except OSError:
            pass
        if not self._cut.is_set():
            sink.close()


@pytest.fixture
def wire(database_url: str) -> Iterator[Wire]:
    parts = conninfo_to_dict(database_url)
    if not str(parts.get("host", "")).startswith("/"):
        pytest.skip("the given server is not reached by a socket of this machine")
    wire = Wire(f"{parts['host']}/.s.PGSQL.{parts['port']}")
    yield wire
    wire.close()


@contextmanager
def server(url: str, folder: str) -> Iterator[str]:
    """``shiplock serve`` on a database; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "serve", "--port", str(port)],
        env=os.environ | {"SHIPLOCK_DATABASE_URL": url, "SHIPLOCK_DATA_DIR": folder},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def until_ready(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{address}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the server did not come up"
        time.sleep(0.1)


def test_no_process_lets_a_revoked_key_in(
    database_url: str, wire: Wire, tmp_path_factory: pytest.TempPathFactory
) -> None:
    through = make_conninfo(database_url, host="127.0.0.1", port=wire.port)
    with opened_installation(database_url) as installation:
        administration = Administration(installation, database_url)
        client_id = administration.add_client("viewer", "viewer", [SHOP])
        revoked, kept = administration.issue_key(client_id), administration.issue_key(client_id)
        folder = str(tmp_path_factory.mktemp("data"))
        with (
            server(database_url, folder) as one,
            server(database_url, folder) as two,
            server(database_url, folder) as three,
            server(through, folder) as cut_off,
        ):
            addresses = (one, two, three, cut_off)
            for address in addresses:
                until_ready(address)
            stop = threading.Event()
            answers: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)

            def ask(address: str, key: str) -> None:
                with httpx.Client(base_url=address, headers=headers(key), timeout=20) as http:
                    while not stop.is_set():
                        began = time.monotonic()
                        answers[address, key].append((began, http.get("/v1/shops").status_code))
                        time.sleep(0.01)

            threads = [
                threading.Thread(target=ask, args=(address, key.key))
                for address in addresses
                for key in (revoked, kept)
            ]
            for thread in threads:
                thread.start()
            time.sleep(1)
            wire.cut()
            cut_at = time.monotonic()
            administration.do(c.RevokeKey(key_id=revoked.key_id))
            revoked_at = time.monotonic()
            time.sleep(TOO_OLD_SECONDS + POLL_SECONDS + 3)
            stop.set()
            for thread in threads:
                thread.join()
    for address in (one, two, three):
        late = [s for at, s in answers[address, revoked.key] if at > revoked_at + BOUND + SLACK]
        assert set(late) == {401}, address
        assert {s for _, s in answers[address, kept.key]} == {200}, address
    for key in (revoked, kept):
        late = [s for at, s in answers[cut_off, key.key] if at > cut_at + TOO_OLD_SECONDS + SLACK]
        assert set(late) == {503}, "nobody is let in where nothing is heard of the log"
