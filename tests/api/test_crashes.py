"""Kill the program and the database under load: what was acknowledged is there, once."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx2 as httpx
import psycopg
import pytest

from benchmarks.crashes import (
    DATABASE_AT_ONCE,
    LIFE,
    LIFE_IN_BULK,
    PROGRAM,
    SHOPS,
    Answer,
    Finding,
    Request,
    Sent,
    inspect,
    run,
)
from infrastructure.database.embedded import EmbeddedServer

SHOP = SHOPS[0]


def test_nothing_acknowledged_is_lost_or_doubled_whatever_is_killed(tmp_path: Path) -> None:
    rounds = list(run(tmp_path, [DATABASE_AT_ONCE, PROGRAM], seconds=0.5))
    assert [each.findings for each in rounds] == [[], []]
    assert all(each.acknowledged > 100 and each.unanswered for each in rounds)
    assert not EmbeddedServer(tmp_path).is_alive(), "the last program to leave stops the server"


@pytest.fixture
def requests(live: httpx.Client) -> list[Request]:
    """The life of an order in single commands with keys, and that of another in bulk without keys."""
    singles = [
        Request(SHOP, [Sent(f"single-{number}", "single", step)], keyed=True) for number, step in enumerate(LIFE)
    ]
    in_bulk = [Sent(f"bulk-{number}", "bulk", step) for number, step in enumerate(LIFE_IN_BULK)]
    sent = [*singles, Request(SHOP, in_bulk, keyed=False, bulk=True)]

    async def send() -> None:
        async with httpx.AsyncClient(base_url=live.base_url, headers=live.headers) as http:
            for request in sent:
                await request.send(http)

    asyncio.run(send())
    return sent


def kinds(findings: set[Finding]) -> set[str]:
    return {finding.kind for finding in findings}


def test_a_log_with_every_acknowledged_event_passes(database_url: str, requests: Sequence[Request]) -> None:
    assert all(request.is_answered for request in requests)
    assert inspect(database_url, requests) == set()


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("DELETE FROM event WHERE stream = 'order:bulk' AND version = 3", "lost"),
        ("UPDATE event SET position = 100 WHERE position = 8 AND shop_id <> '_installation'", "lost"),
        ("UPDATE event SET type = 'GroupFailed' WHERE stream = 'order:bulk' AND version = 2", "lost"),
        (
            """INSERT INTO event SELECT shop_id, 9, stream, 4, event_id, type, schema_version, occurred_at,
               recorded_at, payload, metadata, leaf_hash FROM event
               WHERE position = 8 AND shop_id <> '_installation'""",
            "doubled",
        ),
        ("DELETE FROM event WHERE position = 2 AND shop_id <> '_installation'", "gaps"),
        ("UPDATE shop_log SET position = 9 WHERE shop_id <> '_installation'", "gaps"),
        ("DELETE FROM shop_log", "gaps"),
        ("UPDATE event SET version = 9 WHERE position = 8 AND shop_id <> '_installation'", "gaps"),
        ("DELETE FROM receipt WHERE key LIKE '%/single-1'", "half_there"),
        ("UPDATE receipt SET position = 1 WHERE key LIKE '%/single-1'", "half_there"),
        ("UPDATE receipt SET key = 'unknown' WHERE key LIKE '%/single-3'", "half_there"),
    ],
)
def test_damage_is_found(database_url: str, requests: Sequence[Request], damage: str, kind: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")  # switches the log's own guard off
        connection.execute(damage.encode())
    assert kind in kinds(inspect(database_url, requests))


def test_an_event_that_no_answer_accounts_for_is_found(database_url: str, requests: list[Request]) -> None:
    assert kinds(inspect(database_url, requests[:-1])) == {"doubled"}


def test_an_unanswered_command_may_be_stored_or_not_and_a_wrong_answer_is_found(
    database_url: str, requests: list[Request]
) -> None:
    requests[-1].commands[-1].answer = None
    unanswered = Request(SHOP, [Sent("never", "bulk", LIFE[-2])], keyed=False)
    assert inspect(database_url, [*requests, unanswered]) == set()
    requests[0].commands[0].answer = Answer(404, None)
    assert kinds(inspect(database_url, requests)) == {"wrong_answers"}
