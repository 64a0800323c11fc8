"""The log is gapless and immutable, reports each conflict, and is hashed equally inside and outside PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.history import Metadata
from domain.order.events import GroupFormed
from infrastructure.database.pool import Pool, WriteConnection, connection_pool
from infrastructure.log import log as log_module
from infrastructure.log.canonical import canonical_bytes, leaf_hash
from infrastructure.log.codec import UnreadableEvent
from infrastructure.log.log import (
    Append,
    Appended,
    NewEvent,
    append,
    new_event,
    read_feed,
    read_head,
    read_histories,
    read_stream,
)

SHOP = "100000001"
NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)

T = TypeVar("T")
Connection = WriteConnection


def on(url: str, work: Callable[[Pool], Awaitable[T]]) -> T:
    async def run() -> T:
        async with connection_pool(url, size=12) as pool:
            return await work(pool)

    return asyncio.run(run())


def events(count: int) -> list[NewEvent]:
    return [new_event(GroupFormed(), NOW, Metadata()) for _ in range(count)]


async def appended(
    pool: Pool, shops: dict[str, list[Append]], at: datetime = NOW, *, together: bool = True
) -> dict[str, list[Appended]]:
    async with pool.connection() as connection, connection.transaction():
        return await append(connection, at, shops, together=together)


def test_each_stream_of_a_call_has_its_own_outcome(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        await appended(pool, {SHOP: [Append("order:a", 0, events(2))]})
        outcomes = (
            await appended(
                pool,
                {
                    SHOP: [
                        Append("order:b", 0, events(1)),
                        Append("order:a", 1, events(1)),
                        Append("order:c", 0, events(3)),
                        Append("order:d", 4, events(1)),
                    ]
                },
            )
        )[SHOP]
        assert [(o.accepted, o.version, o.position) for o in outcomes if o.accepted] == [(True, 1, 3), (True, 3, 6)]
        assert [(o.accepted, o.version) for o in outcomes if not o.accepted] == [(False, 2), (False, 0)]
        async with pool.connection() as connection:
            assert await read_head(connection, SHOP) == 6
            feed, _, _ = await read_feed(connection, SHOP, 0, 100)
        assert [(event.position, event.stream, event.version) for event in feed] == [
            (1, "order:a", 1),
            (2, "order:a", 2),
            (3, "order:b", 1),
            (4, "order:c", 1),
            (5, "order:c", 2),
            (6, "order:c", 3),
        ]

    on(database_url, work)


together = pytest.mark.parametrize("together", [True, False], ids=["one server", "distributed"])


@together
def test_several_shops_go_into_one_transaction_and_do_not_see_each_other(database_url: str, together: bool) -> None:
    async def work(pool: Pool) -> None:
        shops = {shop: [Append("order:a", 0, events(2))] for shop in ("b", "a", "c")}
        outcomes = await appended(pool, shops, together=together)
        assert {shop: [o.position for o in of_shop] for shop, of_shop in outcomes.items()} == {
            "a": [2],
            "b": [2],
            "c": [2],
        }
        async with pool.connection() as connection:
            assert len(await read_stream(connection, "a", "order:a")) == 2
            assert await read_stream(connection, "d", "order:a") == []

    on(database_url, work)


@together
def test_each_append_to_several_shops_has_its_own_outcome(database_url: str, together: bool) -> None:
    async def work(pool: Pool) -> None:
        later = NOW + timedelta(hours=1)
        await appended(pool, {"b": [Append("order:a", 0, events(3))]}, later)
        outcomes = await appended(
            pool,
            {
                "b": [Append("order:a", 2, events(1)), Append("order:z", 0, events(2)), Append("order:a2", 0, [])],
                "a": [Append("order:y", 0, events(1)), Append("order:a", 0, events(2))],
                "c": [Append("order:a", 7, events(1))],
            },
            together=together,
        )
        assert {
            shop: [(o.accepted, o.version, o.position if o.accepted else None, o.recorded_at) for o in of_shop]
            for shop, of_shop in outcomes.items()
        } == {
            "b": [(False, 3, None, later), (True, 2, 5, later), (True, 0, 3, later)],
            "a": [(True, 1, 1, NOW), (True, 2, 3, NOW)],
            "c": [(False, 0, None, NOW)],
        }
        async with pool.connection() as connection:
            for shop, head in (("a", 3), ("b", 5), ("c", 0)):
                assert await read_head(connection, shop) == head
                feed, _, _ = await read_feed(connection, shop, 0, 100)
                assert [event.position for event in feed] == list(range(1, head + 1))
                for event in feed:
                    canonical = canonical_bytes(
                        shop,
                        event.position,
                        event.stream,
                        event.version,
                        event.event_id,
                        event.type,
                        event.schema_version,
                        event.occurred_at,
                        event.recorded_at,
                        event.payload,
                        event.metadata,
                    )
                    assert event.leaf_hash == leaf_hash(canonical)

    on(database_url, work)


@together
def test_transactions_over_the_same_shops_never_deadlock_and_leave_no_gap(
    database_url: str, together: bool
) -> None:
    shops, calls = ["a", "B", "_c", "1"], 15

    async def work(pool: Pool) -> None:
        async def write(writer: int, order: list[str]) -> None:
            for call in range(calls):
                batch = {shop: [Append(f"order:{writer}-{call}", 0, events(2))] for shop in order}
                # Both ways at once must agree on the order of the locks, too.
                async with pool.connection() as connection:
                    outcomes = await append(connection, NOW, batch, together=together or writer == 0)
                assert all(outcome.accepted for of_shop in outcomes.values() for outcome in of_shop)

        racing = (write(n, shops if n % 2 else shops[::-1]) for n in range(6))
        await asyncio.wait_for(asyncio.gather(*racing), 60)
        async with pool.connection() as connection:
            for shop in shops:
                feed, _, _ = await read_feed(connection, shop, 0, 1000)
                assert [event.position for event in feed] == list(range(1, 6 * calls * 2 + 1))

    on(database_url, work)


def test_an_append_that_expects_a_new_stream_is_refused_if_the_stream_exists(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        async with pool.connection() as connection:
            await append(connection, NOW, {SHOP: [Append("order:a", 0, events(2))]})
            again = await append(connection, NOW, {SHOP: [Append("order:a", 0, events(1))]})
            assert [(o.accepted, o.version) for o in again[SHOP]] == [(False, 2)]
            assert await read_head(connection, SHOP) == 2

    on(database_url, work)


def test_a_transaction_that_fails_leaves_no_gap(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        async with pool.connection() as connection:
            async with connection.transaction(force_rollback=True):
                await append(connection, NOW, {SHOP: [Append("order:a", 0, events(5))]})
            assert await read_head(connection, SHOP) == 0
        outcomes = await appended(pool, {SHOP: [Append("order:b", 0, events(1))]})
        assert outcomes[SHOP][0].position == 1

    on(database_url, work)


def test_recorded_at_never_decreases_even_if_clocks_differ(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        await appended(pool, {SHOP: [Append("order:a", 0, events(1))]}, NOW)
        behind = await appended(pool, {SHOP: [Append("order:b", 0, events(1))]}, NOW - timedelta(hours=1))
        assert behind[SHOP][0].recorded_at == NOW
        ahead = await appended(pool, {SHOP: [Append("order:c", 0, events(1))]}, NOW + timedelta(seconds=1))
        assert ahead[SHOP][0].recorded_at == NOW + timedelta(seconds=1)

    on(database_url, work)


def test_many_writers_leave_no_gap_and_a_tailing_reader_reads_everything_once_and_in_order(
    database_url: str,
) -> None:
    writers, calls, each = 8, 25, 3

    async def work(pool: Pool) -> None:
        positions: list[int] = []

        async def write(writer: int) -> None:
            for call in range(calls):
                await appended(pool, {SHOP: [Append(f"order:{writer}-{call}", 0, events(each))]})

        async def tail() -> None:
            async with pool.connection() as connection:
                while len(positions) < writers * calls * each:
                    events, _, _ = await read_feed(connection, SHOP, positions[-1] if positions else 0, 50)
                    positions.extend(event.position for event in events)

        await asyncio.wait_for(asyncio.gather(tail(), *(write(n) for n in range(writers))), 60)
        assert positions == list(range(1, writers * calls * each + 1))

    on(database_url, work)


def test_writers_of_one_stream_conflict_and_only_one_wins(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        racing = [appended(pool, {SHOP: [Append("order:a", 0, events(1))]}) for _ in range(10)]
        outcomes = [by_shop[SHOP][0] for by_shop in await asyncio.gather(*racing)]
        assert sorted(outcome.accepted for outcome in outcomes) == [False] * 9 + [True]
        assert {outcome.version for outcome in outcomes} == {1}

    on(database_url, work)


@pytest.mark.parametrize(
    "statement", ["UPDATE event SET type = 'x'", "DELETE FROM event", "TRUNCATE event", "TRUNCATE event CASCADE"]
)
def test_recorded_events_can_not_be_changed_or_removed(database_url: str, statement: str) -> None:
    on(database_url, lambda pool: appended(pool, {SHOP: [Append("order:a", 0, events(1))]}))
    with psycopg.connect(database_url) as connection:
        with pytest.raises(psycopg.errors.RestrictViolation, match="only grows"):
            connection.execute(statement)
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)


_text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)
_moments = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stream=_text,
    kind=_text,
    version=st.integers(1, 30_000),
    at=_moments,
    recorded=_moments,
    payload=st.binary(),
    metadata=st.binary(),
)
def test_the_hash_is_the_same_inside_and_outside_postgresql(
    database_url: str,
    stream: str,
    kind: str,
    version: int,
    at: datetime,
    recorded: datetime,
    payload: bytes,
    metadata: bytes,
) -> None:
    async def work(pool: Pool) -> None:
        shop = f"shop-{uuid4()}"
        new = NewEvent(uuid4(), kind, version, at, payload, metadata)
        await appended(pool, {shop: [Append(stream, 0, [new])]}, recorded)
        async with pool.connection() as connection:
            (event,) = await read_stream(connection, shop, stream)
        fields = event[:-1]
        assert event.leaf_hash == leaf_hash(canonical_bytes(shop, *fields))
        assert (event.type, event.occurred_at, event.recorded_at) == (kind, at, recorded)
        assert (event.payload, event.metadata) == (payload, metadata)

    on(database_url, work)


def test_moving_a_byte_from_one_field_to_the_next_changes_the_canonical_bytes() -> None:
    def of(stream: str, kind: str) -> bytes:
        return canonical_bytes("s", 1, stream, 1, UUID(int=0), kind, 1, NOW, NOW, b"", b"")

    assert of("ab", "c") != of("a", "bc")


def test_the_feed_searches_a_limited_window_and_says_where_to_continue(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "FEED_WINDOW", 4)

    async def work(pool: Pool) -> None:
        rare = [event._replace(type="Rare") for event in events(1)]
        await appended(pool, {SHOP: [Append("order:a", 0, [*events(9), *rare])]})
        async with pool.connection() as connection:
            assert await read_feed(connection, SHOP, 0, 10, ["Rare"]) == ([], 4, True)
            assert await read_feed(connection, SHOP, 4, 10, ["Rare"]) == ([], 8, True)
            rare_events, searched, more = await read_feed(connection, SHOP, 8, 10, ["Rare"])
            assert ([event.position for event in rare_events], searched, more) == ([10], 10, False)
            page, searched, more = await read_feed(connection, SHOP, 0, 3)
            assert ([event.position for event in page], searched, more) == ([1, 2, 3], 3, True)
            assert await read_feed(connection, SHOP, 10, 3) == ([], 10, False)
            assert await read_feed(connection, "nobody", 0, 3) == ([], 0, False)

    on(database_url, work)


def test_histories_are_read_up_to_a_position_and_unreadable_events_are_named(database_url: str) -> None:
    async def work(pool: Pool) -> None:
        await appended(pool, {SHOP: [Append("order:a", 0, events(2)), Append("order:b", 0, events(2))]})
        pairs = [(SHOP, "order:a"), (SHOP, "order:b"), (SHOP, "order:none")]
        async with pool.connection() as connection:
            histories = await read_histories(connection, pairs, up_to={SHOP: 3})
            assert [len(histories[pair]) for pair in pairs] == [2, 1, 0]
            unknown = [event._replace(type="UnknownType", payload=b'{"type":"UnknownType"}') for event in events(1)]
            await appended(pool, {SHOP: [Append("order:c", 0, unknown)]})
            with pytest.raises(UnreadableEvent, match="UnknownType"):
                await read_histories(connection, [(SHOP, "order:c")])

    on(database_url, work)
