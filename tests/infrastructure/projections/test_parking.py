"""Orders that can't be applied: the others go on, failed ones are retried, and then people decide."""

import dataclasses
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from domain.history import Metadata
from domain.order import commands as c
from domain.order import events as e
from domain.order.judged import Judged
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool, WriteConnection
from infrastructure.log.log import ORDER, Append, NewEvent, append, new_event, read_head
from infrastructure.log.streams import SKU
from infrastructure.projections import builds, parking, rebuild
from infrastructure.projections.builds import CannotDo
from infrastructure.projections.slices import Poison
from infrastructure.projections.verification import verify
from infrastructure.projections.view import Row
from infrastructure.projections.views import BY_NAME, ORDERS, VIEWS
from infrastructure.projections.worker import Worker
from infrastructure.queries.projections import Parked, list_parked
from infrastructure.runtime import clock
from tests.infrastructure.projections.built import (
    BOOK,
    NO_ROWS,
    active,
    build_of,
    equal_to_the_log,
    fold_here,
    rebuilt,
    rows,
    rows_of,
)
from tests.infrastructure.queries.both_ways import every_item_both_ways
from tests.orders import (
    MONDAY_9,
    SHOP,
    done,
    on_database,
    order_command,
    order_sn,
    placed_and_formed,
    something_for_every_view,
)

FAILING = order_sn(1)
"""The order that can't be applied. Its second event has position 5 if three orders were placed first."""

UPLOAD = c.UploadTracking(carrier="SF", tracking_number="1")
VERSION = 2 + [column.name for column in ORDERS.columns].index("version")

RowFunction = Callable[[Judged], Iterable[Row]]


class Clock:
    """A clock that only the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = clock.now()
        monkeypatch.setattr(clock, "now", lambda: self.now)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def broken_from(version: int, instead: RowFunction | None = None) -> RowFunction:
    """The orders view, but from this version on the failing order raises an error or has ``instead`` its rows."""

    def rows(judged: Judged) -> Iterable[Row]:
        if judged.order.order_sn == FAILING and judged.order.version >= version:
            if instead:
                return instead(judged)
            raise ZeroDivisionError("an unexpected error")
        return ORDERS.rows(judged)

    return rows


def with_column(name: str, value: Any) -> RowFunction:
    """The rows of the orders view with another value in one column."""
    n = [column.name for column in ORDERS.columns].index(name)
    return lambda judged: [(*row[:n], value, *row[n + 1 :]) for row in ORDERS.rows(judged)]


def break_the_view(monkeypatch: pytest.MonkeyPatch, version: int, instead: RowFunction | None = None) -> None:
    monkeypatch.setitem(BY_NAME, "orders", dataclasses.replace(ORDERS, rows=broken_from(version, instead)))


def repair_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_NAME, "orders", ORDERS)


async def append_unknown_event(connection: WriteConnection, shop: str, number: str, version: int) -> int:
    """Append an event of a type that this program does not know. Returns its position."""
    event = NewEvent(uuid4(), "UnknownType", 1, MONDAY_9, b'{"type":"UnknownType"}', b"{}")
    appends = {shop: [Append(ORDER + number, version, [event])]}
    ((outcome,),) = (await append(connection, MONDAY_9, appends)).values()
    assert outcome.accepted
    return outcome.position


async def parked_orders(connection: WriteConnection) -> list[Parked]:
    return (await list_parked(connection, 100)).items


async def versions(connection: WriteConnection, shop: str = SHOP) -> dict[str, int]:
    """Each order's version in the orders view."""
    return {row[1]: row[VERSION] for row in (await rows(connection, shop))["orders"]}


async def is_at_the_head(connection: WriteConnection, shop: str = SHOP) -> bool:
    return await builds.reached(connection, shop, "orders") == await read_head(connection, shop)


# ---- other orders go on -----------------------------------------------------------------------------


def test_an_unreadable_event_stops_only_its_order(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await placed_and_formed(path, 2, "healthy")
        async with pool.connection() as connection:
            position = await append_unknown_event(connection, SHOP, FAILING, 2)
            await done(path, order_command(order_sn(2), UPLOAD))
            await Worker(pool, BOOK).catch_up(SHOP)
            await Worker(pool, BOOK).catch_up("healthy")
            assert await is_at_the_head(connection)
            assert await is_at_the_head(connection, "healthy")
            assert await versions(connection) == {order_sn(0): 2, FAILING: 2, order_sn(2): 3}
            (parked,) = await parked_orders(connection)
            assert (parked.shop_id, parked.order_sn, parked.position) == (SHOP, FAILING, position)
            assert (parked.events, parked.state, parked.attempts) == (1, "retrying", 1)
            assert "UnknownType" in parked.error
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_a_sku_with_an_event_of_an_order_is_parked_like_an_order(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await something_for_every_view(path, 2)
        sku_id = "52000301"
        stray = new_event(e.GroupFailed(), MONDAY_9, Metadata())
        async with pool.connection() as connection:
            ((outcome,),) = (
                await append(connection, MONDAY_9, {SHOP: [Append(SKU + sku_id, 2, [stray])]})
            ).values()
            await Worker(pool, BOOK).catch_up(SHOP)
            (parked,) = await parked_orders(connection)
            assert (parked.sku_id, parked.order_sn, parked.position) == (sku_id, None, outcome.position)
            versions = {row[1]: row[2] for row in (await rows(connection))["skus"]}
            assert versions == {"52000300": 2, sku_id: 2}, "the view shows it as it was before"
            await equal_to_the_log(connection)
            assert await parking.discard(connection, SHOP, sku_id)
        build = await rebuilt(pool, database_url)
        assert build.state == "ready", build.error

    on_database(database_url, work)


def test_an_order_whose_first_event_is_unreadable_is_in_no_view(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            await append_unknown_event(connection, SHOP, FAILING, 0)
            await placed_and_formed(path, 1)
            await Worker(pool, BOOK).catch_up(SHOP)
            assert await is_at_the_head(connection)
            assert await versions(connection) == {order_sn(0): 2}
            assert [parked.order_sn for parked in await parked_orders(connection)] == [FAILING]
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_when_one_view_fails_every_view_shows_the_order_as_it_was_before(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            before = await rows_of_the_failing(connection)
            break_the_view(monkeypatch, 3)
            await done(path, order_command(FAILING, UPLOAD), order_command(order_sn(2), UPLOAD))
            await done(path, order_command(FAILING, c.RecordPickup()))
            await Worker(pool, BOOK).catch_up(SHOP)
            assert await is_at_the_head(connection)
            assert await rows_of_the_failing(connection) == before
            assert await versions(connection) == {order_sn(0): 2, FAILING: 2, order_sn(2): 3}
            (parked,) = await parked_orders(connection)
            assert (parked.position, parked.events) == (7, 2)
            assert "ZeroDivisionError: an unexpected error" in parked.error

    on_database(database_url, work)


async def rows_of_the_failing(connection: WriteConnection) -> dict[str, list[Any]]:
    by_view = await rows(connection)
    return {name: [row for row in of_view if row[1] == FAILING] for name, of_view in by_view.items()}


def test_later_events_of_a_parked_order_wait_and_those_of_others_do_not(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stopped_clock: Clock
) -> None:
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        for n, command in enumerate([UPLOAD, c.RecordPickup(), c.RecordDelivery()], start=1):
            await done(path, order_command(FAILING, command), order_command(order_sn(2), command))
            await worker.catch_up(SHOP)
            async with pool.connection() as connection:
                assert await versions(connection) == {order_sn(0): 2, FAILING: 1, order_sn(2): 2 + n}
                (parked,) = await parked_orders(connection)
                assert (parked.position, parked.events, parked.attempts) == (5, 1 + n, 1)

    on_database(database_url, work)


@pytest.mark.parametrize(
    "instead",
    [
        pytest.param(with_column("status", "with a \0 in it"), id="a NUL in a text"),
        pytest.param(with_column("lines", b"nothing of JSON"), id="no JSON"),
        pytest.param(with_column("placed_at", None), id="a null in a column without nulls"),
        pytest.param(lambda judged: [*ORDERS.rows(judged)] * 2, id="the same row twice"),
        pytest.param(with_column("status", "\ud800"), id="a text that is no Unicode"),
        pytest.param(with_column("position", "7"), id="a text for a number"),
    ],
)
def test_a_row_that_can_not_be_stored_parks_only_its_order(
    database_url: str, monkeypatch: pytest.MonkeyPatch, instead: RowFunction
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            break_the_view(monkeypatch, 3, instead)
            await done(path, order_command(FAILING, UPLOAD), order_command(order_sn(2), UPLOAD))
            await Worker(pool, BOOK).catch_up(SHOP)
            assert await is_at_the_head(connection)
            assert await versions(connection) == {order_sn(0): 2, FAILING: 2, order_sn(2): 3}
            (parked,) = await parked_orders(connection)
            assert (parked.order_sn, parked.position, parked.events) == (FAILING, 7, 1)
            assert parked.error

            repair_the_view(monkeypatch)
            await parking.retry(connection, SHOP, FAILING, clock.now())
            await Worker(pool, BOOK).catch_up_once()
            assert await parked_orders(connection) == []
            assert (await versions(connection))[FAILING] == 3
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_an_order_that_fails_in_the_middle_of_a_batch_shows_its_state_just_before(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not fall back to its state before the batch: its first version is fine, only its second fails."""
    break_the_view(monkeypatch, 2, with_column("status", "with a \0 in it"))

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await done(path, order_command(FAILING, UPLOAD))
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            (parked,) = await parked_orders(connection)
            assert (parked.position, parked.events) == (5, 2)
            assert await versions(connection) == {order_sn(0): 2, FAILING: 1, order_sn(2): 2}

    on_database(database_url, work)


# ---- retrying ---------------------------------------------------------------------------------------


def test_an_order_is_retried_after_growing_pauses_and_then_left_to_people(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stopped_clock: Clock
) -> None:
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        first = stopped_clock.now
        async with pool.connection() as connection:
            for attempt, wait in enumerate(parking.BACK_OFF, start=1):
                (parked,) = await parked_orders(connection)
                assert (parked.state, parked.attempts, parked.parked_at) == ("retrying", attempt, first)
                assert parked.retry_at == stopped_clock.now + timedelta(seconds=wait)
                stopped_clock.advance(wait - 0.001)
                assert not await worker.catch_up_once()
                stopped_clock.advance(0.001)
                assert await worker.catch_up_once()
            (parked,) = await parked_orders(connection)
            assert (parked.state, parked.attempts) == ("parked", len(parking.BACK_OFF) + 1)
            assert (parked.retry_at, parked.position, parked.parked_at) == (None, 5, first)
            stopped_clock.advance(10**6)
            repair_the_view(monkeypatch)
            assert not await worker.catch_up_once()
            assert (await versions(connection))[FAILING] == 1

    on_database(database_url, work)


def test_an_order_is_current_after_the_first_retry_without_the_error(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stopped_clock: Clock
) -> None:
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        await done(path, order_command(FAILING, UPLOAD))
        await worker.catch_up(SHOP)
        repair_the_view(monkeypatch)
        stopped_clock.advance(parking.BACK_OFF[0])
        assert await worker.catch_up_once()
        async with pool.connection() as connection:
            assert await parked_orders(connection) == []
            assert await versions(connection) == {order_sn(0): 2, FAILING: 3, order_sn(2): 2}
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_an_order_that_fails_at_a_later_event_begins_its_retries_anew(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stopped_clock: Clock
) -> None:
    """The view shows the events that can be applied now, and the order waits for the one that fails now."""
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        await done(path, order_command(FAILING, UPLOAD))
        await worker.catch_up(SHOP)
        for wait in parking.BACK_OFF[:2]:
            stopped_clock.advance(wait)
            await worker.catch_up_once()
        async with pool.connection() as connection:
            assert [parked.attempts for parked in await parked_orders(connection)] == [3]
            break_the_view(monkeypatch, 3)
            stopped_clock.advance(parking.BACK_OFF[2])
            await worker.catch_up_once()
            (parked,) = await parked_orders(connection)
            assert (parked.position, parked.events, parked.attempts) == (7, 1, 1)
            assert (await versions(connection))[FAILING] == 2

    on_database(database_url, work)


def test_a_requested_retry_brings_every_live_build_up_to_date(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stopped_clock: Clock
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        build = await rebuilt(pool, database_url)
        break_the_view(monkeypatch, 3)
        await done(path, order_command(FAILING, UPLOAD))
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        for wait in parking.BACK_OFF:
            stopped_clock.advance(wait)
            await worker.catch_up_once()
        async with pool.connection() as connection:
            repair_the_view(monkeypatch)
            assert await parking.retry(connection, SHOP, FAILING, stopped_clock.now)
            (parked,) = await parked_orders(connection)
            assert (parked.state, parked.attempts) == ("retrying", 0)
            assert await worker.catch_up_once()
            assert await parked_orders(connection) == []
            assert (await versions(connection))[FAILING] == 3
            assert await rows_of(connection, build) == await rows_of(connection, await active(connection))
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_a_requested_retry_that_fails_begins_the_pauses_anew(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stopped_clock: Clock
) -> None:
    monkeypatch.setattr(parking, "BACK_OFF", (1.0,))
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        stopped_clock.advance(1)
        await worker.catch_up_once()
        async with pool.connection() as connection:
            assert [parked.state for parked in await parked_orders(connection)] == ["parked"]
            await parking.retry(connection, SHOP, FAILING, stopped_clock.now)
            await worker.catch_up_once()
            (parked,) = await parked_orders(connection)
            assert (parked.state, parked.attempts) == ("retrying", 1)
            assert parked.retry_at == stopped_clock.now + timedelta(seconds=1)

    on_database(database_url, work)


# ---- discarding -------------------------------------------------------------------------------------


def test_a_discarded_event_and_all_later_ones_stay_out_until_a_retry(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stopped_clock: Clock
) -> None:
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        async with pool.connection() as connection:
            assert await parking.discard(connection, SHOP, FAILING)
            repair_the_view(monkeypatch)
            await done(path, order_command(FAILING, UPLOAD), order_command(order_sn(2), UPLOAD))
            await worker.catch_up(SHOP)
            stopped_clock.advance(10**6)
            assert not await worker.catch_up_once()
            assert await versions(connection) == {order_sn(0): 2, FAILING: 1, order_sn(2): 3}
            (parked,) = await parked_orders(connection)
            assert (parked.state, parked.position, parked.events) == ("discarded", 5, 2)
            await equal_to_the_log(connection)

            assert await parking.retry(connection, SHOP, FAILING, stopped_clock.now)
            assert await worker.catch_up_once()
            assert await parked_orders(connection) == []
            assert (await versions(connection))[FAILING] == 3
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_an_order_that_is_not_parked_is_neither_retried_nor_discarded(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 1)
        async with pool.connection() as connection:
            assert not await parking.retry(connection, SHOP, order_sn(0), clock.now())
            assert not await parking.discard(connection, SHOP, order_sn(0))
            assert await parked_orders(connection) == []

    on_database(database_url, work)


def test_parked_orders_are_listed_page_by_page(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            expected = [(shop, ORDER + order_sn(n)) for shop in ("a", "b") for n in range(3)]
            for shop, stream in expected:
                await append_unknown_event(connection, shop, stream.removeprefix(ORDER), 0)
            for shop in ("a", "b"):
                await Worker(pool, BOOK).catch_up(shop)
            listed = await every_item_both_ways(partial(list_parked, connection, 2), 2)
            assert [(parked.shop_id, parked.stream) for parked in listed] == expected

    on_database(database_url, work)


# ---- rebuilding over events that can't be applied ---------------------------------------------------


def test_a_rebuild_stops_at_an_unreadable_event_and_names_it(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            position = await append_unknown_event(connection, SHOP, FAILING, 2)
            build = await rebuild.request(connection, VIEWS, BOOK)
            progress = await rebuild.run(pool, database_url, BOOK, build.id, processes=1)
            assert progress.state == "failed"
            assert progress.finished_at
            assert not progress.live
            for name in (SHOP, FAILING, f"position {position}", "UnknownType"):
                assert name in (progress.error or "")
            with pytest.raises(CannotDo, match=f"is failed .*{FAILING}.*not ready"):
                await builds.activate(connection, build.id, BOOK)
            assert await rebuild.unfinished(connection, VIEWS, BOOK) is None

    on_database(database_url, work)


@pytest.mark.parametrize(
    "instead",
    [
        pytest.param(None, id="the view fails"),
        pytest.param(with_column("status", "with a \0 in it"), id="the database refuses"),
    ],
)
def test_a_rebuild_stops_at_an_order_that_a_view_fails_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch, instead: RowFunction | None
) -> None:
    break_the_view(monkeypatch, 2, instead)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            with pytest.raises(Poison, match=rf"Order {FAILING} of shop {SHOP} .* position 5 on"):
                await fold_here(database_url, build)
            assert await rows_of(connection, build) == NO_ROWS

    on_database(database_url, work)


def test_a_rebuild_with_a_duplicate_row_fails_and_names_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_the_view(monkeypatch, 2, lambda judged: [*ORDERS.rows(judged)] * 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        build = await rebuilt(pool, database_url)
        assert build.state == "failed"
        assert not build.live
        assert FAILING in (build.error or "")

    on_database(database_url, work)


def test_once_the_order_is_discarded_a_rebuild_succeeds_and_equals_the_live_view(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            await append_unknown_event(connection, SHOP, FAILING, 2)
            await append_unknown_event(connection, "another", FAILING, 0)
            for shop in (SHOP, "another"):
                await Worker(pool, BOOK).catch_up(shop)
                assert await parking.discard(connection, shop, FAILING)
            build = await rebuilt(pool, database_url)
            assert build.state == "ready", build.error
            assert await rows_of(connection, build) == await rows_of(connection, await active(connection))
            await builds.activate(connection, build.id, BOOK)
            assert (await versions(connection))[FAILING] == 2
            await equal_to_the_log(connection)

    on_database(database_url, work)


@pytest.mark.parametrize("kind", ["discarded", "parked"])
def test_a_rebuild_without_the_error_equals_the_log_and_stays_so(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stopped_clock: Clock, kind: str
) -> None:
    """A discarded event stays out. An order that was only parked is current again."""
    break_the_view(monkeypatch, 2)
    monkeypatch.setattr(parking, "BACK_OFF", ())

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        async with pool.connection() as connection:
            if kind == "discarded":
                await parking.discard(connection, SHOP, FAILING)
            repair_the_view(monkeypatch)
            build = await rebuilt(pool, database_url)
            assert build.state == "ready", build.error
            assert (await verify(connection, build, BOOK, sample=None)).differences == []
            await builds.activate(connection, build.id, BOOK)
            await done(path, order_command(FAILING, UPLOAD))
            await worker.catch_up(SHOP)
            assert (await versions(connection))[FAILING] == (1 if kind == "discarded" else 3)
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_a_build_of_the_past_ignores_that_an_order_is_parked_now(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stopped_clock: Clock
) -> None:
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await Worker(pool, BOOK).catch_up(SHOP)
        repair_the_view(monkeypatch)
        build = await rebuilt(pool, database_url, scope={"shop_id": SHOP, "to_position": 6})
        async with pool.connection() as connection:
            assert (await verify(connection, build, BOOK, sample=None)).differences == []
            assert [row[VERSION] for row in (await rows_of(connection, build))["orders"]] == [2, 2, 2]
            assert [parked.order_sn for parked in await parked_orders(connection)] == [FAILING]

    on_database(database_url, work)


def test_an_order_that_fails_during_a_rebuild_is_parked_in_the_new_build_too(
    database_url: str, monkeypatch: pytest.MonkeyPatch, stopped_clock: Clock
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            await fold_here(database_url, build)
            break_the_view(monkeypatch, 3)
            await done(path, order_command(FAILING, UPLOAD), order_command(order_sn(2), UPLOAD))
            progress = await rebuild.run(pool, database_url, BOOK, build.id)
            assert progress.state == "ready", progress.error
            await builds.activate(connection, build.id, BOOK)
            assert await versions(connection) == {order_sn(0): 2, FAILING: 2, order_sn(2): 3}
            assert [parked.order_sn for parked in await parked_orders(connection)] == [FAILING]
            repair_the_view(monkeypatch)
            stopped_clock.advance(parking.BACK_OFF[0])
            await Worker(pool, BOOK).catch_up_once()
            assert (await versions(connection))[FAILING] == 3
            await equal_to_the_log(connection)
            assert (await build_of(connection, build.id)).live

    on_database(database_url, work)
