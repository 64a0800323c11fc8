"""``serve`` as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.access import headers

Serve = Callable[..., tuple["subprocess.Popen[bytes]", httpx.Client]]


@pytest.fixture
def serve(database_url: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts ``shiplock serve`` with options, and a client of it once it is ready."""
    started: list[tuple[subprocess.Popen[bytes], httpx.Client]] = []

    def start(*options: str) -> tuple["subprocess.Popen[bytes]", httpx.Client]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli", "serve", "--port", str(port), *options],
            env=os.environ | {"SHIPLOCK_DATABASE_URL": database_url, "SHIPLOCK_DATA_DIR": str(tmp_path)},
        )
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers=headers())
        started.append((process, client))
        while not is_ready(client):
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
        return process, client

    yield start
    for process, client in started:
        client.close()
        process.kill()
        process.wait()


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_stops_ends_live_streams_in_order(serve: Serve, workers: str) -> None:
    process, client = serve("--workers", workers)
    accept = {"Accept": "text/event-stream"}
    with client.stream("GET", "/v1/shops/100000001/events", headers=accept) as stream:
        chunks = stream.iter_text()
        assert "begins" in next(chunks)
        process.send_signal(signal.SIGTERM)
        assert "".join(chunks).strip() == "", "a stream that is cut off raises an error here"
    assert process.wait() == 0
