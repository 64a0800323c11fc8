"""The API on a real database, with its worker running."""

import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
from starlette.testclient import TestClient

from api.http.app import create_app
from api.http.pipeline import Pipeline
from infrastructure.runtime import clock
from tests.access import headers, prepare_access
from tests.api.command_line import CommandLine, command_lines
from tests.databases import copied_database, template_database

SHOP = "100000001"
LOCAL = "http://localhost"
LINE = {
    "sku_id": "52000301",
    "goods_id": "520003",
    "name": "泰国金枕榴莲 1个",
    "quantity": 1,
    "unit_price_fen": 12900,
}


class Api:
    """A shop's orders over HTTP, in few words."""

    def __init__(self, http: TestClient) -> None:
        self.http = http

    def do(
        self, order_sn: str, action: str, shop: str = SHOP, headers: dict[str, str] | None = None, **body: Any
    ) -> Any:
        sent = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in body.items()}
        return self.http.post(f"/v1/shops/{shop}/orders/{order_sn}/{action}", json=sent, headers=headers)

    def enrol(self, shop: str) -> None:
        answer = self.http.post("/v1/access/shops", json={"shop_id": shop})
        assert answer.status_code == 201, answer.text

    def events_of_access(self) -> int:
        """How many events the installation's own log has; a rebuild passes over them."""
        return len(self.http.get("/v1/access/log?limit=500").json()["items"])

    def done(self, order_sn: str, action: str, **body: Any) -> Any:
        """The body of a command that must not be refused."""
        answer = self.do(order_sn, action, **body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def get(self, path: str, shop: str = SHOP, **parameters: Any) -> Any:
        sent = {
            name.rstrip("_"): value.isoformat() if isinstance(value, datetime) else value
            for name, value in parameters.items()
        }
        return self.http.get(f"/v1/shops/{shop}/{path}", params=sent)

    def every(self, path: str, *, running: str = "", **parameters: Any) -> list[Any]:
        """The items of all pages of a list, which are the same when it is read back from its last page.

        The field that is ``running`` with the clock may differ.
        """
        last = page = self.page(path, **parameters)
        assert page["previous_cursor"] is None
        items = list(page["items"])
        while page["next_cursor"] is not None:
            last = page = self.page(path, **parameters, cursor=page["next_cursor"])
            items += page["items"]
        back = list(last["items"])
        while last["previous_cursor"] is not None:
            last = self.page(path, **parameters, cursor=last["previous_cursor"])
            back = last["items"] + back
        for item, again in zip(items, back, strict=True):
            assert item | {running: None} == again | {running: None}
        return items

    def page(self, path: str, **parameters: Any) -> Any:
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def order(self, order_sn: str, **parameters: Any) -> Any:
        answer = self.get(f"orders/{order_sn}", **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def placed(self, order_sn: str, *, at: datetime | None = None, **body: Any) -> Any:
        return self.done(
            order_sn, "place", **{"lines": [LINE], "paid_fen": 12900, "occurred_at": at or ago(60)} | body
        )

    def formed(self, order_sn: str, *, at: datetime | None = None, **body: Any) -> Any:
        """An order whose group formed, an hour ago by default."""
        at = at or ago(1)
        self.placed(order_sn, at=at)
        return self.done(order_sn, "form-group", occurred_at=at, **body)


def ago(hours: float) -> datetime:
    return clock.now() - timedelta(hours=hours)


@pytest.fixture(scope="session")
def command_line() -> Iterator[CommandLine]:
    with command_lines() as run:
        yield run


@pytest.fixture(scope="session")
def served_template(server_url: str) -> Iterator[str]:
    """The name of a database that has the tests' client and shops, to copy others from."""
    with template_database(server_url, prepare_access) as name:
        yield name


@pytest.fixture
def database_url(server_url: str, served_template: str) -> Iterator[str]:
    """A fresh database of the test's own, with the tests' client and shops."""
    with copied_database(server_url, served_template) as url:
        yield url


def client_of(app: Pipeline) -> TestClient:
    """A client of an application that sends the tests' key, and gets errors as answers."""
    return TestClient(app, LOCAL, raise_server_exceptions=False, headers=headers())


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with client_of(create_app(database_url)) as http:
        yield Api(http)


@pytest.fixture
def live(database_url: str) -> Iterator[httpx.Client]:
    """The API behind a real server on a port of this machine."""
    server = uvicorn.Server(uvicorn.Config(create_app(database_url), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers=headers()) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
