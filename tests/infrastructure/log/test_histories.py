"""A whole history is the same as one that is read event by event, or ``None``; it is never wrong."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.history import Metadata, Recorded
from domain.order import events as e
from domain.order.events import OrderEvent
from infrastructure.database.pool import WriteConnection
from infrastructure.log.codec import UnreadableEvent
from infrastructure.log.histories import read_range
from infrastructure.log.log import ORDER, Append, append, new_event, read_heads, read_histories
from infrastructure.log.streams import SKU
from tests.infrastructure.log.test_codec import EVENTS, SKU_EVENTS
from tests.orders import MONDAY_9

SHOP = "100000001"
STREAM = ORDER + "260302-1"

Pair = tuple[str, str]
Step = tuple[Pair, e.OrderEvent, Metadata]


def append_all(url: str, steps: Sequence[Step]) -> None:
    """Append events one after another, an hour apart. They need not make sense together."""

    async def run() -> None:
        async with await WriteConnection.connect(url, autocommit=True) as connection:
            versions: dict[Pair, int] = {}
            for n, (pair, event, metadata) in enumerate(steps):
                version = versions.get(pair, 0)
                at = MONDAY_9 + timedelta(hours=n, microseconds=n)
                batch = [Append(pair[1], version, [new_event(event, at, metadata)])]
                ((outcome,),) = (await append(connection, at, {pair[0]: batch})).values()
                assert outcome.accepted
                versions[pair] = version + 1

    asyncio.run(run())


def by_event(url: str, pairs: Sequence[Pair], up_to: dict[str, int]) -> dict[Pair, list[Recorded[OrderEvent]]]:
    """The histories that ``read_histories`` returns, without empty ones."""

    async def read() -> dict[Pair, list[Recorded[OrderEvent]]]:
        async with await WriteConnection.connect(url, autocommit=True) as connection:
            await connection.execute("SET TIME ZONE 'UTC'")
            return await read_histories(connection, pairs, up_to)

    return {pair: history for pair, history in asyncio.run(read()).items() if history}


def whole(
    url: str, up_to: dict[str, int], since: str | None = None, until: str | None = None
) -> dict[Pair, list[Recorded[OrderEvent]] | None]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        histories = [
            ((shop_id, stream), history) for shop_id, stream, history in read_range(connection, up_to, since, until)
        ]
    assert len({pair for pair, _ in histories}) == len(histories), "a stream was given twice"
    return dict(histories)


def heads(url: str) -> dict[str, int]:
    async def read() -> dict[str, int]:
        async with await WriteConnection.connect(url, autocommit=True) as connection:
            return await read_heads(connection)

    return asyncio.run(read())


_SHOPS = st.sampled_from(["1", "2", "店铺"])
_NUMBERS = st.sampled_from(["1", "10", "2", "260302-1", "A", "a", "_%", "订单", "\U0001f69a", "é"])
_STREAMS = st.one_of(
    _NUMBERS.map(lambda number: ORDER + number), st.sampled_from(["sku:1", "sku:a", "order", "orders:1"])
)
_METADATA = st.sampled_from(
    [Metadata(), Metadata("merchant"), Metadata("poll", "poll", True), Metadata(note='[{"备注"},]')]
)
_STEPS = st.lists(
    st.tuples(st.tuples(_SHOPS, _STREAMS), st.sampled_from([*EVENTS, *SKU_EVENTS]), _METADATA),
    min_size=1,
    max_size=25,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), steps=_STEPS, bounds=st.lists(_STREAMS, max_size=3, unique=True))
def test_whole_histories_equal_those_read_event_by_event(
    database_url: str, data: st.DataObject, steps: list[Step], bounds: list[str]
) -> None:
    empty(database_url)
    append_all(database_url, steps)
    up_to = {
        shop: data.draw(st.integers(0, head + 1), label=f"up to, of shop {shop}")
        for shop, head in heads(database_url).items()
    }
    known = [pair for pair, _, _ in steps if pair[1].startswith((ORDER, SKU))]
    expected = by_event(database_url, known, up_to)
    assert whole(database_url, up_to) == expected
    sorted_as_the_index = [None, *as_sorted(database_url, bounds), None]
    parts = [whole(database_url, up_to, since, until) for since, until in pairwise(sorted_as_the_index)]
    assert sum(len(part) for part in parts) == len(expected), "the ranges neither overlap nor leave anything out"
    assert {pair: history for part in parts for pair, history in part.items()} == expected


def empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")  # switches the log's own guard off
        connection.execute("DELETE FROM event")
        connection.execute("DELETE FROM shop_log")


def as_sorted(url: str, streams: Sequence[str]) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT s FROM unnest(%s::text[]) AS u(s) ORDER BY s", (list(streams),))
        return [stream for (stream,) in rows.fetchall()]


def damage(url: str, change: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE event DISABLE TRIGGER ALL")
        changed = connection.execute(change.encode())
        assert changed.rowcount == 1


DAMAGE = [
    "SET payload = 'nothing of JSON' WHERE version = 2",
    r"SET payload = '\xff' WHERE version = 2",
    "SET payload = '' WHERE version = 2",
    "SET payload = 'null' WHERE version = 2",
    """SET payload = '{"type":"UnknownType"}', type = 'UnknownType' WHERE version = 2""",
    """SET payload = '{"type":"OrderPaid"}' WHERE version = 2""",
    """SET payload = '{"type":"GroupFormed"},{"type":"GroupFormed"}' WHERE version = 2""",
    """SET payload = '{"type":"GroupFormed"}]' WHERE version = 2""",
    """SET payload = '{"type":"GroupFailed"}' WHERE version = 2""",
    "SET type = 'GroupFailed' WHERE version = 2",
    "SET type = 'GroupFormed,GroupFormed' WHERE version = 2",
    "SET type = 'Event' WHERE version = 2",
    "SET type = 'get_args' WHERE version = 2",
    "SET type = '' WHERE version = 2",
    "SET metadata = '' WHERE version = 2",
    "SET metadata = '{}]' WHERE version = 2",
    "SET metadata = '{},{}' WHERE version = 2",
    """SET metadata = '{"via":"nowhere"}' WHERE version = 2""",
    r"SET metadata = '\xfe' WHERE version = 2",
    "SET schema_version = 2 WHERE version = 2",
    "SET schema_version = 0 WHERE version = 2",
]


def test_a_damaged_history_must_be_read_event_by_event(database_url: str) -> None:
    shops = {f"shop {n}": change for n, change in enumerate(DAMAGE)} | {"healthy": ""}
    for shop, change in shops.items():
        append_all(
            database_url, [((shop, STREAM), event, Metadata()) for event in (EVENTS[0], e.GroupFormed(), EVENTS[9])]
        )
        if change:
            damage(database_url, f"UPDATE event {change} AND shop_id = '{shop}'")
    histories = whole(database_url, heads(database_url))
    assert [shops[shop] for (shop, _), history in histories.items() if history] == [""]
    assert len(histories) == len(shops)
    for shop in shops.keys() - {"healthy"}:
        with pytest.raises(UnreadableEvent):
            by_event(database_url, [(shop, STREAM)], heads(database_url))


@pytest.mark.parametrize(
    "change",
    ["SET version = 0 WHERE version = 1", "SET version = 4 WHERE version = 2", "SET version = 7 WHERE version = 3"],
)
def test_a_history_with_a_gap_must_be_read_event_by_event(database_url: str, change: str) -> None:
    append_all(
        database_url, [((SHOP, STREAM), event, Metadata()) for event in (EVENTS[0], e.GroupFormed(), EVENTS[9])]
    )
    damage(database_url, f"UPDATE event {change}")
    assert whole(database_url, heads(database_url)) == {(SHOP, STREAM): None}


def test_damage_beyond_the_requested_position_does_not_matter(database_url: str) -> None:
    append_all(
        database_url, [((SHOP, STREAM), EVENTS[0], Metadata()), ((SHOP, STREAM), e.GroupFormed(), Metadata())]
    )
    damage(database_url, "UPDATE event SET payload = '' WHERE version = 2")
    history = whole(database_url, {SHOP: 1})[SHOP, STREAM]
    assert history is not None
    assert [recorded.event for recorded in history] == [EVENTS[0]]


def test_an_unknown_shop_has_no_histories(database_url: str) -> None:
    append_all(database_url, [((SHOP, STREAM), EVENTS[0], Metadata())])
    assert whole(database_url, {"unknown": 10}) == {}
    assert whole(database_url, {}) == {}
