"""The ``eventsourcing`` library's event store, repository and application can read an order of our log."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from eventsourcing.application import AggregateNotFoundError, Application, Repository
from eventsourcing.persistence import ApplicationRecorder, EventStore, Mapper, MapperDeserialisationError
from eventsourcing.persistence import NotSupportedError as NotSupported
from psycopg_pool import ConnectionPool

from domain.history import Metadata
from domain.order.events import GroupFormed, Line, OrderEvent, OrderPlaced, ReviewCompleted, StockoutRequested
from domain.order.fold import fold
from domain.order.state import Order
from infrastructure.database.pool import connection_pool
from infrastructure.log.log import Append, append, new_event, read_histories
from infrastructure.log.recorders import (
    EventOfStream,
    OrderMapper,
    RecorderPool,
    ShopApplicationRecorder,
    ShopOrderRecorder,
    project_order,
)

SHOP = "100000001"
ORDER_SN = "260302-123456789012345"
STREAM = f"order:{ORDER_SN}"
MONDAY = datetime(2026, 3, 2, 1, tzinfo=UTC)
HISTORY: list[OrderEvent] = [
    OrderPlaced((Line("52000301", "520003", "泰国金枕榴莲 1个", 1, 12900),), paid_fen=12900),
    GroupFormed(),
    StockoutRequested("oversold"),
    ReviewCompleted("rejected"),
]


@pytest.fixture
def expected(database_url: str) -> Order:
    """An order with a history, folded by our own code."""
    return continued(database_url, 0, HISTORY)


def continued(url: str, version: int, events: list[OrderEvent]) -> Order:
    async def work() -> Order:
        new = [
            new_event(event, MONDAY + timedelta(hours=version + n), Metadata(via="export", observed=n == 1))
            for n, event in enumerate(events)
        ]
        async with connection_pool(url, size=1) as pool, pool.connection() as connection:
            await append(connection, MONDAY, {SHOP: [Append(STREAM, version, new)]})
            histories = await read_histories(connection, [(SHOP, STREAM)])
        return fold(ORDER_SN, histories[SHOP, STREAM])

    return asyncio.run(work())


@pytest.fixture
def pool(database_url: str) -> Iterator[RecorderPool]:
    with ConnectionPool(database_url, min_size=1, max_size=4) as opened:
        yield opened


def events_of(pool: RecorderPool) -> EventStore[str]:
    return EventStore(OrderMapper(), ShopOrderRecorder(pool, SHOP))


def test_the_event_store_returns_an_orders_events_with_their_envelopes(pool: RecorderPool, expected: Order) -> None:
    events = [event for event in events_of(pool).get(STREAM) if isinstance(event, EventOfStream)]
    assert [event.recorded.event for event in events] == HISTORY
    assert [event.originator_version for event in events] == [1, 2, 3, 4]
    assert events[1].recorded.occurred_at == MONDAY + timedelta(hours=1)
    assert events[1].recorded.metadata == Metadata(via="export", observed=True)


def test_a_repository_folds_an_order_as_we_do(pool: RecorderPool, expected: Order) -> None:
    repository = Repository(events_of(pool))
    assert repository.get(STREAM, projector_func=project_order).order == expected
    in_review = repository.get(STREAM, version=3, projector_func=project_order)
    assert (in_review.id, in_review.version, in_review.order.status) == (STREAM, 3, "stockout_review")
    with pytest.raises(AggregateNotFoundError):
        repository.get("order:none", projector_func=project_order)


def test_a_caching_repository_continues_from_its_cached_order(
    database_url: str, pool: RecorderPool, expected: Order
) -> None:
    repository = Repository(events_of(pool), cache_maxsize=10)
    assert repository.get(STREAM, projector_func=project_order).order == expected
    later = continued(database_url, 4, [StockoutRequested("no_supply")])
    assert repository.get(STREAM, projector_func=project_order).order == later != expected


def test_an_application_can_read_a_shops_log(pool: RecorderPool, expected: Order) -> None:
    class Orders(Application[str]):
        def construct_recorder(self) -> ApplicationRecorder:
            return ShopOrderRecorder(pool, SHOP)

        def construct_mapper(self) -> Mapper[str]:
            return OrderMapper()

    with Orders() as orders:
        assert orders.repository.get(STREAM, projector_func=project_order).order == expected
        section = orders.notification_log.select(start=1, limit=10)
        assert [(n.id, n.topic) for n in section] == [(n, type(e).__name__) for n, e in enumerate(HISTORY, start=1)]
        with pytest.raises(NotSupported, match="commands and observations"):
            orders.save(next(iter(orders.events.get(STREAM))))
        assert orders.recorder.max_notification_id() == len(HISTORY)


def test_an_unreadable_event_is_the_librarys_own_error(
    database_url: str, pool: RecorderPool, expected: Order
) -> None:
    bare = EventStore(OrderMapper(), ShopApplicationRecorder(pool, SHOP))
    with pytest.raises(MapperDeserialisationError, match="ShopOrderRecorder"):
        list(bare.get(STREAM))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """SELECT append_events(%s, now(), '{order:x}', '{0}', '{1}', ARRAY[gen_random_uuid()], '{Unknown}',
                   '{1}', ARRAY[now()], ARRAY['{}'::bytea], ARRAY['{}'::bytea])""",
            (SHOP,),
        )
    with pytest.raises(MapperDeserialisationError, match="order:x version 1: Unknown"):
        list(events_of(pool).get("order:x"))
