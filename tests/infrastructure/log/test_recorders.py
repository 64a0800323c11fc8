"""The ``eventsourcing`` library's own test suites pass unchanged on our recorders."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    ConnectionUnavailableError,
    DataError,
    IntegrityError,
    OperationalError,
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

from infrastructure.log import recorders
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
    """Gives a test case of the library a pool on the test's own database."""

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


def stored_event(originator_id: Any, version: int) -> StoredEvent:
    return StoredEvent(originator_id, version, "topic", b"state")


def test_a_call_is_all_or_nothing_over_its_originators(pool: RecorderPool) -> None:
    recorder = ShopApplicationRecorder(pool, SHOP)
    one, other = uuid4(), uuid4()
    recorder.insert_events([stored_event(one, 1)])
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored_event(other, 1), stored_event(one, 1)])
    assert recorder.select_events(other) == []
    assert recorder.max_notification_id() == 1


def test_positions_are_returned_in_the_order_of_the_given_events(pool: RecorderPool) -> None:
    recorder = ShopApplicationRecorder(pool, SHOP)
    positions = recorder.insert_events([stored_event("b", 1), stored_event("a", 1), stored_event("a", 2)])
    assert positions == [1, 2, 3]
    assert [n.originator_id for n in recorder.select_notifications(None, 10)] == ["b", "a", "a"]


def test_events_of_several_originators_are_stored_in_the_given_order(pool: RecorderPool) -> None:
    recorder = ShopApplicationRecorder(pool, SHOP)
    mixed = [stored_event(*each) for each in [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2)]]
    assert recorder.insert_events(mixed) == [1, 2, 3, 4, 5]
    notifications = recorder.select_notifications(None, 10)
    assert [(n.originator_id, n.originator_version) for n in notifications] == [
        (event.originator_id, event.originator_version) for event in mixed
    ]
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored_event("a", 4), stored_event("c", 1), stored_event("a", 6)])
    assert recorder.max_notification_id() == 5


def test_threads_that_insert_at_the_same_time_share_only_transactions(pool: RecorderPool) -> None:
    """Half of them race for one originator: one of each pair wins, and the others are not disturbed."""
    recorder = ShopApplicationRecorder(pool, SHOP)
    contested = uuid4()

    def insert(n: int) -> list[int | None]:
        positions: list[int | None] = []
        own = uuid4()
        for version in range(1, 21):
            positions += recorder.insert_events([stored_event(own, version)]) or ()
            try:
                positions += recorder.insert_events([stored_event(contested, version)]) or ()
            except IntegrityError:
                positions.append(None)
        return positions

    with ThreadPoolExecutor(8) as threads:
        by_thread = list(threads.map(insert, range(8)))
    assigned = [position for positions in by_thread for position in positions if position is not None]
    assert sorted(assigned) == list(range(1, 8 * 20 + 20 + 1))
    assert len(recorder.select_events(contested)) == 20
    assert all(positions[0::2] == sorted(filter(None, positions[0::2])) for positions in by_thread)


def test_versions_that_do_not_follow_each_other_are_refused(pool: RecorderPool) -> None:
    recorder = ShopAggregateRecorder(pool, SHOP)
    for versions in ([1, 3], [2, 1], [1, 1], [-1, 0], [-5], [2]):
        with pytest.raises(IntegrityError):
            recorder.insert_events([stored_event("a", version) for version in versions])
    assert recorder.select_events("a") == []


def test_events_and_tracking_are_inserted_together_or_not_at_all(pool: RecorderPool) -> None:
    recorder = ShopProcessRecorder(pool, SHOP)
    recorder.insert_events([stored_event("a", 1)], tracking=Tracking("upstream", 5))
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored_event("a", 2)], tracking=Tracking("upstream", 5))
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored_event("a", 1)], tracking=Tracking("upstream", 6))
    assert recorder.max_tracking_id("upstream") == 5
    assert len(recorder.select_events("a")) == 1


def test_shops_do_not_see_each_other(pool: RecorderPool) -> None:
    ShopApplicationRecorder(pool, SHOP).insert_events([stored_event("a", 1)])
    other = ShopApplicationRecorder(pool, "200000002")
    assert other.select_events("a") == []
    assert other.max_notification_id() is None
    assert other.insert_events([stored_event("a", 1)]) == [1]


def test_an_id_that_looks_like_the_stream_of_a_uuid_is_refused(pool: RecorderPool) -> None:
    recorder = ShopApplicationRecorder(pool, SHOP)
    one = uuid4()
    with pytest.raises(ValueError, match="give the UUID itself"):
        recorder.insert_events([stored_event(f"uuid:{one}", 1)])
    recorder.insert_events([stored_event(one, 1), stored_event(str(one), 1)])
    assert [n.originator_id for n in recorder.select_notifications(None, 10)] == [one, str(one)]


def test_errors_of_the_driver_become_those_of_the_library(database_url: str) -> None:
    with ConnectionPool(database_url, min_size=1, max_size=1, timeout=0.2) as pool:
        pool.wait(60)
        recorder = ShopApplicationRecorder(pool, SHOP)
        with pytest.raises(DataError):
            recorder.insert_events([stored_event("a\x00", 1)])
        with pytest.raises(DataError):
            recorder.insert_events([stored_event("a", 2**40)])
        with pool.connection(), pytest.raises(ConnectionUnavailableError):
            recorder.max_notification_id()
        assert recorder.insert_events([stored_event("a", 1)]) == [1]
    with pytest.raises(OperationalError):
        recorder.max_notification_id()


def test_a_subscription_skips_no_event_while_many_threads_write(pool: RecorderPool) -> None:
    recorder = ShopApplicationRecorder(pool, SHOP)
    writers, calls, each = 6, 20, 3

    def write(_: int) -> None:
        for _ in range(calls):
            one = uuid4()
            recorder.insert_events([StoredEvent(one, n, f"topic{n}", b"state") for n in range(1, each + 1)])

    every = writers * calls * each
    with (
        recorder.subscribe(gt=0) as everything,
        recorder.subscribe(gt=0, topics=["topic2"]) as some,
        ThreadPoolExecutor(writers + 2) as threads,
    ):
        all_ids = threads.submit(lambda: [n.id for n in islice(everything, every)])
        topics = threads.submit(lambda: [n.topic for n in islice(some, writers * calls)])
        list(threads.map(write, range(writers)))
        assert all_ids.result(timeout=60) == list(range(1, every + 1))
        assert topics.result(timeout=60) == ["topic2"] * writers * calls


def test_a_subscription_reads_more_than_one_batch(pool: RecorderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "SUBSCRIPTION_BATCH", 4)
    recorder = ShopApplicationRecorder(pool, SHOP)
    recorder.insert_events([StoredEvent("a", n, f"topic{n % 3}", b"") for n in range(1, 31)])
    with recorder.subscribe(gt=10) as everything, recorder.subscribe(topics=["topic0"]) as some:
        assert [n.id for n in islice(everything, 20)] == list(range(11, 31))
        assert [n.id for n in islice(some, 10)] == list(range(3, 31, 3))


def test_a_waiting_subscription_can_be_stopped_from_another_thread(
    pool: RecorderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "SUBSCRIPTION_POLL_SECONDS", 60)
    recorder = ShopApplicationRecorder(pool, SHOP)
    recorder.insert_events([stored_event("a", 1)])
    with recorder.subscribe() as subscription, ThreadPoolExecutor(1) as threads:
        assert next(subscription).id == 1
        rest = threads.submit(list, subscription)
        subscription.stop()
        assert rest.result(timeout=30) == []


def test_psycopgs_loggers_stay_enabled() -> None:
    """Importing ``eventsourcing.postgres`` would disable psycopg's loggers."""
    program = "import sys, infrastructure.log.recorders; print('eventsourcing.postgres' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
