"""The ``eventsourcing`` library's event store, repository and application open an order of our log."""

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
    OrderMapper,
    OrderRecorded,
    RecorderPool,
    ShopApplicationRecorder,
    ShopOrderRecorder,
    project_order,
)

SHOP = "100000001"
ORDER_SN = "260302-123456789012345"
STREAM = f"order:{ORDER_SN}"
MONDAY = datetime(2026, 3, 2, 1, tzinfo=UTC)
LIFE: list[OrderEvent] = [
    OrderPlaced((Line("52000301", "520003", "泰国金枕榴莲 1个", 1, 12900),), paid_fen=12900),
    GroupFormed(),
    StockoutRequested("oversold"),
    ReviewCompleted("rejected"),
]


@pytest.fixture
def lived(database_url: str) -> Order:
    """An order with a life behind it, as our own log folds it."""
    return continued(database_url, 0, LIFE)


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


def test_the_event_store_hands_out_an_orders_events_with_their_envelopes(pool: RecorderPool, lived: Order) -> None:
    found = [event for event in events_of(pool).get(STREAM) if isinstance(event, OrderRecorded)]
    assert [event.recorded.event for event in found] == LIFE
    assert [event.originator_version for event in found] == [1, 2, 3, 4]
    assert found[1].recorded.occurred_at == MONDAY + timedelta(hours=1)
    assert found[1].recorded.metadata == Metadata(via="export", observed=True)


def test_a_repository_folds_an_order_as_we_do(pool: RecorderPool, lived: Order) -> None:
    repository = Repository(events_of(pool))
    assert repository.get(STREAM, projector_func=project_order).order == lived
    in_review = repository.get(STREAM, version=3, projector_func=project_order)
    assert (in_review.id, in_review.version, in_review.order.status) == (STREAM, 3, "stockout_review")
    with pytest.raises(AggregateNotFoundError):
        repository.get("order:none", projector_func=project_order)


def test_a_repository_that_caches_goes_on_from_where_it_was(
    database_url: str, pool: RecorderPool, lived: Order
) -> None:
    repository = Repository(events_of(pool), cache_maxsize=10)
    assert repository.get(STREAM, projector_func=project_order).order == lived
    later = continued(database_url, 4, [StockoutRequested("no_supply")])
    assert repository.get(STREAM, projector_func=project_order).order == later != lived


def test_an_application_opens_a_shops_log(pool: RecorderPool, lived: Order) -> None:
    class Orders(Application[str]):
        def construct_recorder(self) -> ApplicationRecorder:
            return ShopOrderRecorder(pool, SHOP)

        def construct_mapper(self) -> Mapper[str]:
            return OrderMapper()

    with Orders() as orders:
        assert orders.repository.get(STREAM, projector_func=project_order).order == lived
        section = orders.notification_log.select(start=1, limit=10)
        assert [(n.id, n.topic) for n in section] == [(n, type(e).__name__) for n, e in enumerate(LIFE, start=1)]
        with pytest.raises(NotSupported, match="commands and observations"):
            orders.save(next(iter(orders.events.get(STREAM))))
        assert orders.recorder.max_notification_id() == len(LIFE)


def test_what_can_not_be_read_is_the_librarys_own_error(
    database_url: str, pool: RecorderPool, lived: Order
) -> None:
    bare = EventStore(OrderMapper(), ShopApplicationRecorder(pool, SHOP))
    with pytest.raises(MapperDeserialisationError, match="ShopOrderRecorder"):
        list(bare.get(STREAM))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            """SELECT append_events(%s, now(), '{order:x}', '{0}', '{1}', ARRAY[gen_random_uuid()], '{Unheard}',
                   '{1}', ARRAY[now()], ARRAY['{}'::bytea], ARRAY['{}'::bytea])""",
            (SHOP,),
        )
    with pytest.raises(MapperDeserialisationError, match="order:x version 1: Unheard"):
        list(events_of(pool).get("order:x"))
