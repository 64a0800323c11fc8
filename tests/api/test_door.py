"""Which requests are let in: those for a name of this server, and none that a page of another site makes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.http.app import create_app
from api.http.door import Door
from infrastructure.runtime.settings import Settings
from tests.api.conftest import LINE, SHOP, Api, ago, client_of

PLACE = f"/v1/shops/{SHOP}/orders/260302-1/place"
BODY = {"lines": [LINE], "paid_fen": 12900}
OWN_PAGE = {"Origin": "http://localhost:8000", "Host": "localhost:8000"}


def refusal(method: str = "GET", path: str = "/docs", **headers: str) -> str | None:
    """What the door says to a request for localhost with these headers."""
    sent = {"host": "localhost:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in sent.items() if value],
    }
    refused = asyncio.run(Door(["shiplock.example.com", "[fd00::1]"]).refusal(scope))
    return refused.code if refused else None


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST",
        "127.0.0.1:8000",
        "[::1]",
        "[::1]:8000",
        "shiplock.example.com",
        "Shiplock.Example.COM:443",
        "[fd00::1]:8000",
    ],
)
def test_a_name_of_the_server_is_answered(host: str) -> None:
    assert refusal(host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "evil.test:8000",
        "shiplock.example.com.evil.test",
        "[::2]",
        "[::1",
        "[::1]evil.test",
        "localhost:evil.test",
        "localhost@evil.test",
        "",
        " ",
        "0.0.0.0",
        "127.0.0.2",
    ],
)
def test_any_other_name_is_refused(host: str) -> None:
    """Also one that an attacker's name server points to this machine."""
    assert refusal(host=host) == "wrong_host"


def test_two_names_are_one_too_many() -> None:
    scope = {"method": "GET", "path": "/", "headers": [(b"host", b"localhost"), (b"host", b"localhost")]}
    refused = asyncio.run(Door().refusal(scope))
    assert refused is not None
    assert (refused.code, refused.status) == ("ambiguous_request", 400)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "FORGED"])
@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({}, False),
        ({"sec_fetch_site": "same-origin"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"sec_fetch_site": "same-origin", "origin": "http://localhost:8000"}, False),
        ({"origin": "http://localhost:8000"}, False),
        ({"origin": "https://LOCALHOST:8000"}, False),
        ({"sec_fetch_site": "cross-site"}, True),
        ({"sec_fetch_site": "same-site"}, True),
        ({"sec_fetch_site": "nonsense"}, True),
        ({"sec_fetch_site": "cross-site", "origin": "http://localhost:8000"}, True),
        ({"origin": "https://evil.test"}, True),
        ({"origin": "http://localhost:9000"}, True),
        ({"origin": "http://localhost"}, True),
        ({"origin": "null"}, True),
        ({"origin": "localhost:8000"}, True),
    ],
)
def test_a_page_of_another_site_changes_nothing(method: str, headers: dict[str, str], is_refused: bool) -> None:
    assert refusal(method, **headers) == ("cross_site" if is_refused else None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_only_reads_needs_no_page_of_ours(method: str) -> None:
    """A link from a chat to the documentation works; what is answered, no foreign page can read."""
    assert refusal(method, sec_fetch_site="cross-site", origin="https://evil.test") is None


def test_a_form_of_another_site_places_no_order(api: Api) -> None:
    for headers in ({"Origin": "https://evil.test"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = api.http.post(PLACE, json=BODY, headers=headers | {"Content-Type": "text/plain"})
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert api.http.post(PLACE, json=BODY, headers={"Host": "evil.test"}).status_code == 421
    assert api.http.get(PLACE.rpartition("/")[0]).status_code == 404, "nothing was placed"
    placed = api.http.post(PLACE, json=BODY | {"occurred_at": ago(1).isoformat()}, headers=OWN_PAGE)
    assert placed.status_code == 201


@pytest.fixture
def named(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(database_url=database_url, data_dir=tmp_path, hosts=("shiplock.example.com",))
    with client_of(create_app(database_url, settings=settings)) as http:
        yield http


def test_a_server_has_the_names_of_its_settings(named: TestClient) -> None:
    assert named.get("/healthz", headers={"Host": "shiplock.example.com"}).status_code == 200
    assert named.get("/healthz").status_code == 200
    refused = named.get("/healthz", headers={"Host": "other.example.com"})
    assert (refused.status_code, refused.json()["code"]) == (421, "wrong_host")
    assert "SHIPLOCK_HOSTS" not in refused.json()["instance"]
