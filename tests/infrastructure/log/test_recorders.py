"""The ``eventsourcing`` library's own suites, unchanged, on our recorders."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    IntegrityError,
    ProcessRecorder,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)
from psycopg_pool import ConnectionPool

from infrastructure.log.recorders import (
    RecorderPool,
    ShopAggregateRecorder,
    ShopApplicationRecorder,
    ShopProcessRecorder,
    ShopTrackingRecorder,
)

SHOP = "100000001"


@pytest.fixture
def pool(database_url: str) -> Iterator[RecorderPool]:
    with ConnectionPool(database_url, min_size=1, max_size=16) as opened:
        yield opened


class OnAShop:
    """Gives a test case of the library the pool of the test's own database."""

    pool: RecorderPool

    @pytest.fixture(autouse=True)
    def _on_a_database_of_its_own(self, pool: RecorderPool) -> None:
        self.pool = pool


class TestAggregateRecorder(OnAShop, AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return ShopAggregateRecorder(self.pool, SHOP)


class TestApplicationRecorder(OnAShop, ApplicationRecorderTestCase[ShopApplicationRecorder]):
    def create_recorder(self) -> ShopApplicationRecorder:
        return ShopApplicationRecorder(self.pool, SHOP)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestTrackingRecorder(OnAShop, TrackingRecorderTestCase):
    def create_recorder(self) -> TrackingRecorder:
        return ShopTrackingRecorder(self.pool, SHOP)


class TestProcessRecorder(OnAShop, ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return ShopProcessRecorder(self.pool, SHOP)


class TestNonInterleaving(OnAShop, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> ShopApplicationRecorder:
        return ShopApplicationRecorder(self.pool, SHOP)


def stored(originator_id: Any, version: int) -> StoredEvent:
    return StoredEvent(originator_id, version, "topic", b"state")


def test_a_call_is_all_or_nothing_over_its_originators(pool: RecorderPool) -> None:
    recorder = ShopApplicationRecorder(pool, SHOP)
    one, other = uuid4(), uuid4()
    recorder.insert_events([stored(one, 1)])
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(other, 1), stored(one, 1)])
    assert recorder.select_events(other) == []
    assert recorder.max_notification_id() == 1


def test_positions_come_in_the_order_of_the_events_given(pool: RecorderPool) -> None:
    recorder = ShopApplicationRecorder(pool, SHOP)
    positions = recorder.insert_events([stored("b", 1), stored("a", 1), stored("a", 2)])
    assert positions == [1, 2, 3]
    assert [n.originator_id for n in recorder.select_notifications(None, 10)] == ["b", "a", "a"]


def test_versions_that_do_not_follow_each_other_are_refused(pool: RecorderPool) -> None:
    with pytest.raises(IntegrityError):
        ShopAggregateRecorder(pool, SHOP).insert_events([stored("a", 1), stored("a", 3)])


def test_events_and_tracking_go_in_together_or_not_at_all(pool: RecorderPool) -> None:
    recorder = ShopProcessRecorder(pool, SHOP)
    recorder.insert_events([stored("a", 1)], tracking=Tracking("upstream", 5))
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored("a", 2)], tracking=Tracking("upstream", 5))
    assert recorder.max_tracking_id("upstream") == 5
    assert len(recorder.select_events("a")) == 1


def test_shops_do_not_see_each_other(pool: RecorderPool) -> None:
    ShopApplicationRecorder(pool, SHOP).insert_events([stored("a", 1)])
    other = ShopApplicationRecorder(pool, "200000002")
    assert other.select_events("a") == []
    assert other.max_notification_id() is None
    assert other.insert_events([stored("a", 1)]) == [1]
