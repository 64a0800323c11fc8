"""Orders that can't be applied: the rest goes on, they are tried again, and people decide."""

from collections.abc import Callable, Iterable
from datetime import timedelta
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
from infrastructure.projections.parking import Parked, list_parked
from infrastructure.projections.slices import Poison
from infrastructure.projections.verification import verify
from infrastructure.projections.view import Row
from infrastructure.projections.views import BY_NAME, ORDERS, VIEWS
from infrastructure.projections.worker import Worker
from infrastructure.runtime import clock
from tests.infrastructure.projections.built import (
    BOOK,
    NO_ROWS,
    active,
    build_of,
    equal_to_the_log,
    fold_here,
    held,
    rebuilt,
    rows,
)
from tests.orders import (
    MONDAY_9,
    SHOP,
    done,
    on_database,
    order_sn,
    placed_and_formed,
    something_for_every_view,
    tell,
)

SICK = order_sn(1)
"""The order that something is wrong with; its second event has position 5 where three were placed first."""

UPLOAD = c.UploadTracking(carrier="SF", tracking_number="1")
VERSION = 2 + [column.name for column in ORDERS.columns].index("version")

Rows = Callable[[Judged], Iterable[Row]]


class Clock:
    """Tells the time that the test says it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = clock.now()
        monkeypatch.setattr(clock, "now", lambda: self.at)

    def later(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def broken_from(version: int, broken: Rows | None = None) -> Rows:
    """A view function that can't do with the sick order from this version on, or makes something strange of it."""

    def rows(judged: Judged) -> Iterable[Row]:
        if judged.order.order_sn == SICK and judged.order.version >= version:
            if broken:
                return broken(judged)
            raise ZeroDivisionError("something nobody thought of")
        return ORDERS.rows(judged)

    return rows


def with_column(name: str, value: Any) -> Rows:
    """The rows of the orders view with another value in one column."""
    at = [column.name for column in ORDERS.columns].index(name)
    return lambda judged: [(*row[:at], value, *row[at + 1 :]) for row in ORDERS.rows(judged)]


def break_the_view(monkeypatch: pytest.MonkeyPatch, version: int, broken: Rows | None = None) -> None:
    monkeypatch.setitem(BY_NAME, "orders", ORDERS._replace(rows=broken_from(version, broken)))


def heal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_NAME, "orders", ORDERS)


async def append_unheard(connection: WriteConnection, shop: str, number: str, version: int) -> int:
    """An event of a type that no program here knows; its position."""
    event = NewEvent(uuid4(), "NeverHeardOf", 1, MONDAY_9, b'{"type":"NeverHeardOf"}', b"{}")
    ((answer,),) = (await append(connection, MONDAY_9, {shop: [Append(ORDER + number, version, [event])]})).values()
    assert answer.accepted
    return answer.position


async def parked_orders(connection: WriteConnection) -> list[Parked]:
    return await list_parked(connection, 100)


async def versions(connection: WriteConnection, shop: str = SHOP) -> dict[str, int]:
    """What the orders view says of each order's version."""
    return {row[1]: row[VERSION] for row in (await rows(connection, shop))["orders"]}


async def is_at_the_head(connection: WriteConnection, shop: str = SHOP) -> bool:
    return await builds.reached(connection, shop, "orders") == await read_head(connection, shop)


# ---- the rest goes on -------------------------------------------------------------------------------


def test_an_event_nobody_can_read_holds_up_its_order_only(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await placed_and_formed(path, 2, "healthy")
        async with pool.connection() as connection:
            position = await append_unheard(connection, SHOP, SICK, 2)
            await done(path, tell(order_sn(2), UPLOAD))
            await Worker(pool, BOOK).catch_up(SHOP)
            await Worker(pool, BOOK).catch_up("healthy")
            assert await is_at_the_head(connection)
            assert await is_at_the_head(connection, "healthy")
            assert await versions(connection) == {order_sn(0): 2, SICK: 2, order_sn(2): 3}
            (parked,) = await parked_orders(connection)
            assert (parked.shop_id, parked.order_sn, parked.position) == (SHOP, SICK, position)
            assert (parked.events, parked.state, parked.attempts) == (1, "retrying", 1)
            assert "NeverHeardOf" in parked.error
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_a_sku_with_an_event_that_is_no_skus_is_parked_like_an_order(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await something_for_every_view(path, 2)
        sku_id = "52000301"
        stray = new_event(e.GroupFailed(), MONDAY_9, Metadata())
        async with pool.connection() as connection:
            ((answer,),) = (await append(connection, MONDAY_9, {SHOP: [Append(SKU + sku_id, 2, [stray])]})).values()
            await Worker(pool, BOOK).catch_up(SHOP)
            (parked,) = await parked_orders(connection)
            assert (parked.sku_id, parked.order_sn, parked.position) == (sku_id, None, answer.position)
            found = {row[1]: row[2] for row in (await rows(connection))["skus"]}
            assert found == {"52000300": 2, sku_id: 2}, "it is shown as it was before"
            await equal_to_the_log(connection)
            assert await parking.discard(connection, SHOP, sku_id)
        build = await rebuilt(pool, database_url)
        assert build.state == "ready", build.error

    on_database(database_url, work)


def test_an_order_whose_first_event_is_poison_is_in_no_view(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        async with pool.connection() as connection:
            await append_unheard(connection, SHOP, SICK, 0)
            await placed_and_formed(path, 1)
            await Worker(pool, BOOK).catch_up(SHOP)
            assert await is_at_the_head(connection)
            assert await versions(connection) == {order_sn(0): 2}
            assert [parked.order_sn for parked in await parked_orders(connection)] == [SICK]
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_an_order_that_a_view_fails_on_shows_its_state_before_that_in_every_view(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            before = await of_the_sick(connection)
            break_the_view(monkeypatch, 3)
            await done(path, tell(SICK, UPLOAD), tell(order_sn(2), UPLOAD))
            await done(path, tell(SICK, c.RecordPickup()))
            await Worker(pool, BOOK).catch_up(SHOP)
            assert await is_at_the_head(connection)
            assert await of_the_sick(connection) == before
            assert await versions(connection) == {order_sn(0): 2, SICK: 2, order_sn(2): 3}
            (parked,) = await parked_orders(connection)
            assert (parked.position, parked.events) == (7, 2)
            assert "ZeroDivisionError: something nobody thought of" in parked.error

    on_database(database_url, work)


async def of_the_sick(connection: WriteConnection) -> dict[str, list[Any]]:
    return {name: [row for row in found if row[1] == SICK] for name, found in (await rows(connection)).items()}


def test_later_events_of_the_order_wait_and_those_of_others_do_not(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at: Clock
) -> None:
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        for n, command in enumerate([UPLOAD, c.RecordPickup(), c.RecordDelivery()], start=1):
            await done(path, tell(SICK, command), tell(order_sn(2), command))
            await worker.catch_up(SHOP)
            async with pool.connection() as connection:
                assert await versions(connection) == {order_sn(0): 2, SICK: 1, order_sn(2): 2 + n}
                (parked,) = await parked_orders(connection)
                assert (parked.position, parked.events, parked.attempts) == (5, 1 + n, 1)

    on_database(database_url, work)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(with_column("status", "with a \0 in it"), id="a NUL in a text"),
        pytest.param(with_column("lines", b"nothing of JSON"), id="no JSON"),
        pytest.param(with_column("placed_at", None), id="a null where there may be none"),
        pytest.param(lambda judged: [*ORDERS.rows(judged)] * 2, id="the same row twice"),
        pytest.param(with_column("status", "\ud800"), id="a text that is no Unicode"),
        pytest.param(with_column("position", "7"), id="a text for a number"),
    ],
)
def test_a_row_that_cannot_be_stored_parks_its_order_only(
    database_url: str, monkeypatch: pytest.MonkeyPatch, broken: Rows
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            break_the_view(monkeypatch, 3, broken)
            await done(path, tell(SICK, UPLOAD), tell(order_sn(2), UPLOAD))
            await Worker(pool, BOOK).catch_up(SHOP)
            assert await is_at_the_head(connection)
            assert await versions(connection) == {order_sn(0): 2, SICK: 2, order_sn(2): 3}
            (parked,) = await parked_orders(connection)
            assert (parked.order_sn, parked.position, parked.events) == (SICK, 7, 1)
            assert parked.error

            heal(monkeypatch)
            await parking.retry(connection, SHOP, SICK, clock.now())
            await Worker(pool, BOOK).catch_up_once()
            assert await parked_orders(connection) == []
            assert (await versions(connection))[SICK] == 3
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_an_order_refused_in_the_midst_of_a_batch_shows_its_state_before_that(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only as it was before the batch: its first version was in order, its second is not."""
    break_the_view(monkeypatch, 2, with_column("status", "with a \0 in it"))

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await done(path, tell(SICK, UPLOAD))
        await Worker(pool, BOOK).catch_up(SHOP)
        async with pool.connection() as connection:
            (parked,) = await parked_orders(connection)
            assert (parked.position, parked.events) == (5, 2)
            assert await versions(connection) == {order_sn(0): 2, SICK: 1, order_sn(2): 2}

    on_database(database_url, work)


# ---- trying again -----------------------------------------------------------------------------------


def test_an_order_is_tried_again_ever_later_and_then_left_to_people(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at: Clock
) -> None:
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        first = at.at
        async with pool.connection() as connection:
            for attempt, wait in enumerate(parking.BACK_OFF, start=1):
                (parked,) = await parked_orders(connection)
                assert (parked.state, parked.attempts, parked.parked_at) == ("retrying", attempt, first)
                assert parked.retry_at == at.at + timedelta(seconds=wait)
                at.later(wait - 0.001)
                assert not await worker.catch_up_once()
                at.later(0.001)
                assert await worker.catch_up_once()
            (parked,) = await parked_orders(connection)
            assert (parked.state, parked.attempts) == ("parked", len(parking.BACK_OFF) + 1)
            assert (parked.retry_at, parked.position, parked.parked_at) == (None, 5, first)
            at.later(10**6)
            heal(monkeypatch)
            assert not await worker.catch_up_once()
            assert (await versions(connection))[SICK] == 1

    on_database(database_url, work)


def test_an_order_whose_cause_is_gone_is_current_with_the_next_try(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at: Clock
) -> None:
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        await done(path, tell(SICK, UPLOAD))
        await worker.catch_up(SHOP)
        heal(monkeypatch)
        at.later(parking.BACK_OFF[0])
        assert await worker.catch_up_once()
        async with pool.connection() as connection:
            assert await parked_orders(connection) == []
            assert await versions(connection) == {order_sn(0): 2, SICK: 3, order_sn(2): 2}
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_an_order_that_gets_further_is_patient_anew(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at: Clock
) -> None:
    """It shows what can be applied by now, and what it waits for is what is wrong by now."""
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        await done(path, tell(SICK, UPLOAD))
        await worker.catch_up(SHOP)
        for wait in parking.BACK_OFF[:2]:
            at.later(wait)
            await worker.catch_up_once()
        async with pool.connection() as connection:
            assert [parked.attempts for parked in await parked_orders(connection)] == [3]
            break_the_view(monkeypatch, 3)
            at.later(parking.BACK_OFF[2])
            await worker.catch_up_once()
            (parked,) = await parked_orders(connection)
            assert (parked.position, parked.events, parked.attempts) == (7, 1, 1)
            assert (await versions(connection))[SICK] == 2

    on_database(database_url, work)


def test_a_retry_asked_for_brings_every_live_build_up_to_date(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at: Clock
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        build = await rebuilt(pool, database_url)
        break_the_view(monkeypatch, 3)
        await done(path, tell(SICK, UPLOAD))
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        for wait in parking.BACK_OFF:
            at.later(wait)
            await worker.catch_up_once()
        async with pool.connection() as connection:
            heal(monkeypatch)
            assert await parking.retry(connection, SHOP, SICK, at.at)
            (parked,) = await parked_orders(connection)
            assert (parked.state, parked.attempts) == ("retrying", 0)
            assert await worker.catch_up_once()
            assert await parked_orders(connection) == []
            assert (await versions(connection))[SICK] == 3
            assert await held(connection, build) == await held(connection, await active(connection))
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_a_retry_in_vain_begins_the_back_off_anew(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at: Clock
) -> None:
    monkeypatch.setattr(parking, "BACK_OFF", (1.0,))
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        at.later(1)
        await worker.catch_up_once()
        async with pool.connection() as connection:
            assert [parked.state for parked in await parked_orders(connection)] == ["parked"]
            await parking.retry(connection, SHOP, SICK, at.at)
            await worker.catch_up_once()
            (parked,) = await parked_orders(connection)
            assert (parked.state, parked.attempts) == ("retrying", 1)
            assert parked.retry_at == at.at + timedelta(seconds=1)

    on_database(database_url, work)


# ---- giving up --------------------------------------------------------------------------------------


def test_a_discarded_event_stays_out_with_all_that_follows_until_it_is_retried(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at: Clock
) -> None:
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        async with pool.connection() as connection:
            assert await parking.discard(connection, SHOP, SICK)
            heal(monkeypatch)
            await done(path, tell(SICK, UPLOAD), tell(order_sn(2), UPLOAD))
            await worker.catch_up(SHOP)
            at.later(10**6)
            assert not await worker.catch_up_once()
            assert await versions(connection) == {order_sn(0): 2, SICK: 1, order_sn(2): 3}
            (parked,) = await parked_orders(connection)
            assert (parked.state, parked.position, parked.events) == ("discarded", 5, 2)
            await equal_to_the_log(connection)

            assert await parking.retry(connection, SHOP, SICK, at.at)
            assert await worker.catch_up_once()
            assert await parked_orders(connection) == []
            assert (await versions(connection))[SICK] == 3
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
                await append_unheard(connection, shop, stream.removeprefix(ORDER), 0)
            for shop in ("a", "b"):
                await Worker(pool, BOOK).catch_up(shop)
            listed: list[tuple[str, str]] = []
            while page := await list_parked(connection, 2, listed[-1] if listed else ("", "")):
                assert len(page) <= 2
                listed += [(parked.shop_id, parked.stream) for parked in page]
            assert listed == expected

    on_database(database_url, work)


# ---- rebuilding over poison -------------------------------------------------------------------------


def test_a_rebuild_stops_at_poison_and_says_where(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            position = await append_unheard(connection, SHOP, SICK, 2)
            build = await rebuild.request(connection, VIEWS, BOOK)
            found = await rebuild.run(pool, database_url, BOOK, build.id, processes=1)
            assert found.state == "failed"
            assert found.finished_at
            assert not found.live
            for named in (SHOP, SICK, f"position {position}", "NeverHeardOf"):
                assert named in (found.error or "")
            with pytest.raises(CannotDo, match=f"is failed .*{SICK}.*not ready"):
                await builds.activate(connection, build.id, BOOK)
            assert await rebuild.unfinished(connection, VIEWS, BOOK) is None

    on_database(database_url, work)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(None, id="the view fails"),
        pytest.param(with_column("status", "with a \0 in it"), id="the database refuses"),
    ],
)
def test_a_rebuild_stops_at_an_order_that_a_view_cannot_do_with(
    database_url: str, monkeypatch: pytest.MonkeyPatch, broken: Rows | None
) -> None:
    break_the_view(monkeypatch, 2, broken)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            with pytest.raises(Poison, match=rf"Order {SICK} of shop {SHOP} .* position 5 on"):
                await fold_here(database_url, build)
            assert await held(connection, build) == NO_ROWS

    on_database(database_url, work)


def test_a_rebuild_in_which_a_row_is_twice_fails_and_says_which(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_the_view(monkeypatch, 2, lambda judged: [*ORDERS.rows(judged)] * 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        build = await rebuilt(pool, database_url)
        assert build.state == "failed"
        assert not build.live
        assert SICK in (build.error or "")

    on_database(database_url, work)


def test_with_the_order_discarded_a_rebuild_passes_and_equals_the_live_view(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            await append_unheard(connection, SHOP, SICK, 2)
            await append_unheard(connection, "another", SICK, 0)
            for shop in (SHOP, "another"):
                await Worker(pool, BOOK).catch_up(shop)
                assert await parking.discard(connection, shop, SICK)
            build = await rebuilt(pool, database_url)
            assert build.state == "ready", build.error
            assert await held(connection, build) == await held(connection, await active(connection))
            await builds.activate(connection, build.id, BOOK)
            assert (await versions(connection))[SICK] == 2
            await equal_to_the_log(connection)

    on_database(database_url, work)


@pytest.mark.parametrize("kind", ["discarded", "parked"])
def test_a_rebuild_after_the_cause_is_gone_equals_the_log_and_stays_so(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at: Clock, kind: str
) -> None:
    """What was discarded stays out; what was only parked need not wait any more."""
    break_the_view(monkeypatch, 2)
    monkeypatch.setattr(parking, "BACK_OFF", ())

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        worker = Worker(pool, BOOK)
        await worker.catch_up(SHOP)
        async with pool.connection() as connection:
            if kind == "discarded":
                await parking.discard(connection, SHOP, SICK)
            heal(monkeypatch)
            build = await rebuilt(pool, database_url)
            assert build.state == "ready", build.error
            assert (await verify(connection, build, BOOK, sample=None)).differences == []
            await builds.activate(connection, build.id, BOOK)
            await done(path, tell(SICK, UPLOAD))
            await worker.catch_up(SHOP)
            assert (await versions(connection))[SICK] == (1 if kind == "discarded" else 3)
            await equal_to_the_log(connection)

    on_database(database_url, work)


def test_a_build_of_the_past_does_not_wait_for_what_is_parked_now(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at: Clock
) -> None:
    break_the_view(monkeypatch, 2)

    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        await Worker(pool, BOOK).catch_up(SHOP)
        heal(monkeypatch)
        build = await rebuilt(pool, database_url, scope={"shop_id": SHOP, "to_position": 6})
        async with pool.connection() as connection:
            assert (await verify(connection, build, BOOK, sample=None)).differences == []
            assert [row[VERSION] for row in (await held(connection, build))["orders"]] == [2, 2, 2]
            assert [parked.order_sn for parked in await parked_orders(connection)] == [SICK]

    on_database(database_url, work)


def test_poison_that_came_during_a_rebuild_waits_in_the_new_build_too(
    database_url: str, monkeypatch: pytest.MonkeyPatch, at: Clock
) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await placed_and_formed(path, 3)
        async with pool.connection() as connection:
            build = await rebuild.request(connection, VIEWS, BOOK)
            await fold_here(database_url, build)
            break_the_view(monkeypatch, 3)
            await done(path, tell(SICK, UPLOAD), tell(order_sn(2), UPLOAD))
            found = await rebuild.run(pool, database_url, BOOK, build.id)
            assert found.state == "ready", found.error
            await builds.activate(connection, build.id, BOOK)
            assert await versions(connection) == {order_sn(0): 2, SICK: 2, order_sn(2): 3}
            assert [parked.order_sn for parked in await parked_orders(connection)] == [SICK]
            heal(monkeypatch)
            at.later(parking.BACK_OFF[0])
            await Worker(pool, BOOK).catch_up_once()
            assert (await versions(connection))[SICK] == 3
            await equal_to_the_log(connection)
            assert (await build_of(connection, build.id)).live

    on_database(database_url, work)
