"""A database that goes away gives 503, and the program recovers by itself when it is back."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.http.app import create_app
from infrastructure.database.embedded import EmbeddedServer
from infrastructure.database.migrate import migrate
from tests.access import prepare_access
from tests.api.conftest import Api, client_of

ORDER = "260302-000000000000001"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path) as server:
        migrate(server.url)
        yield server


def strike_down(folder: Path, within: float = 60.0) -> None:
    """Have the server drop everything, and wait until it has: a last command may pass while it does."""
    running = folder / "postgresql" / "postmaster.pid"
    os.kill(int(running.read_text().splitlines()[0]), signal.SIGQUIT)
    deadline = time.monotonic() + within
    while running.exists():
        assert time.monotonic() < deadline, "the server did not stop"
        time.sleep(0.01)


def answered(api: Api, within: float = 60.0) -> None:
    """Wait until the program answers again."""
    deadline = time.monotonic() + within
    while api.http.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline, "the program did not recover"
        time.sleep(0.05)


def test_a_database_that_goes_away_gives_503_and_comes_back(own_server: EmbeddedServer, tmp_path: Path) -> None:
    prepare_access(own_server.url)
    with client_of(create_app(own_server.url)) as http:
        api = Api(http)
        api.formed(ORDER)

        strike_down(tmp_path)
        for answer in (
            api.do(ORDER, "upload-tracking", carrier="SF", tracking_number="SF1"),
            api.get(f"orders/{ORDER}"),
            api.get("orders"),
            api.http.get("/readyz"),
        ):
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unavailable"
            assert int(answer.headers["retry-after"]) > 0
        assert api.http.get("/healthz").status_code == 200

        own_server.ensure_running()
        answered(api)
        order = api.done(ORDER, "upload-tracking", carrier="SF", tracking_number="SF1")
        assert order["version"] == 3
        position = order["position"]
        assert api.get("orders", min_position=position).json()["items"][0]["status"] == "shipped"
