"""Daily reports: what they count, when they change, and that they count nothing else."""

import uuid
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.calendar import BEIJING
from domain.history import Metadata, Recorded
from domain.kernel import Command
from domain.money.daily_report import DailyReport, ReportedDay
from domain.money.period import MOST_DAYS, BadPeriod, DayRange
from domain.order import commands as c
from domain.order import events as e
from domain.order.events import OrderEvent
from domain.order.filters import ViolationFilter
from domain.order.fold import fold
from domain.order.state import Order
from domain.order.view import view
from infrastructure.commands.committer import CommandPath
from infrastructure.database.pool import Pool
from infrastructure.log.log import ORDER, read_histories
from infrastructure.projections import builds
from infrastructure.projections.rows import RowMaker, copy_rows
from infrastructure.projections.view import Row, View
from infrastructure.projections.views import VIEWS
from infrastructure.projections.worker import Worker
from infrastructure.queries.lists import ListedViolation, list_violations
from infrastructure.queries.reports import daily_report
from infrastructure.runtime import clock
from tests.domain.vocabulary import MICROSECOND, beijing, hours
from tests.infrastructure.projections.built import BOOK
from tests.orders import LINE, SHOP, appeal, done, on_database, order_command, order_sn

MONDAY = date(2026, 3, 2)
WEEK = DayRange(MONDAY, MONDAY + timedelta(days=6))
NEXT_MONTH = beijing(2026, 4, 1)

NOTHING = ReportedDay(MONDAY, 0, 0, 0, None, 0, 0, 0, 0, 0)

PLACE = c.Place(lines=(LINE,), paid_fen=12900)
UPLOAD = c.UploadTracking(carrier="SF", tracking_number="SF1")


async def reported(pool: Pool, period: DayRange = WEEK, at: datetime = NEXT_MONTH, shop: str = SHOP) -> DailyReport:
    await Worker(pool, BOOK).catch_up(shop)
    async with pool.connection() as connection:
        return await daily_report(connection, shop, period, at)


async def formed(path: CommandPath, n: int, at: datetime, shop: str = SHOP) -> None:
    await done(path, order_command(order_sn(n), replace(PLACE, occurred_at=at), shop))
    await done(path, order_command(order_sn(n), c.FormGroup(occurred_at=at), shop))


# ---- against orders folded one by one ---------------------------------------------------------------


def commands_for(number: str) -> st.SearchStrategy[Command]:
    return st.sampled_from(
        [
            UPLOAD,
            UPLOAD,
            c.ReplaceTracking(carrier="SF", tracking_number="SF2", reason="torn"),
            c.RecordPickup(),
            c.ConfirmReceipt(),
            c.RequestStockout(reason="oversold"),
            c.CompleteReview(outcome="rejected"),
            c.CompleteReview(outcome="approved"),
            c.Refund(initiated_by="merchant", reason="out_of_stock"),
            c.Cancel(reason="changed_mind"),
            c.ChangeShipBy(ship_by=beijing(2026, 3, 7), reason="festival"),
            c.FileComplaint(finding="empty_parcel"),
            c.DecideComplaint(outcome="upheld"),
            *(
                command
                for kind in ("late_shipment", "stockout", "false_shipment", "fraudulent_shipment:1")
                for command in (
                    c.AppealViolation(violation_id=f"{number}:{kind}"),
                    c.DecideAppeal(violation_id=f"{number}:{kind}", outcome="overturned"),
                )
            ),
        ]
    )


def lives(n: int) -> st.SearchStrategy[tuple[int, list[Command]]]:
    """An order of one of two shops: paid or not, formed near some midnight in Beijing, then any commands."""
    number = order_sn(n)

    def life(
        shop: int, paid: bool, day: int, seconds: int, steps: list[tuple[Command, int]]
    ) -> tuple[int, list[Command]]:
        at = beijing(2026, 3, 2) + timedelta(days=day, seconds=seconds)
        place = replace(PLACE, paid_fen=12900 if paid else None, occurred_at=at)
        commands: list[Command] = [place, c.FormGroup(occurred_at=at)]
        for command, later in steps:
            at += hours(later)
            commands.append(replace(command, occurred_at=at))
        return shop, commands

    steps = st.tuples(commands_for(number), st.sampled_from([0, 1, 12, 23, 24, 25, 47, 48, 49, 73]))
    return st.builds(
        life,
        st.integers(0, 1),
        st.sampled_from([True, True, False]),
        st.integers(0, 7),
        st.sampled_from([-1, 0, 1, 32_400]),
        st.lists(steps, max_size=8),
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.tuples(*(lives(n) for n in range(6))), st.lists(st.integers(0, 24 * 20), min_size=1, max_size=4))
def test_a_report_equals_counting_the_orders_one_by_one(
    database_url: str, lives: tuple[tuple[int, list[Command]], ...], moments: list[int]
) -> None:
    run = uuid.uuid4().hex

    async def work(pool: Pool, path: CommandPath) -> None:
        for n, (shop_number, commands) in enumerate(lives):
            await path.submit([order_command(order_sn(n), command, f"{run}-{shop_number}") for command in commands])
        for shop in (f"{run}-0", f"{run}-1"):
            await Worker(pool, BOOK).catch_up(shop)
            async with pool.connection() as connection:
                pairs = [(shop, ORDER + order_sn(n)) for n in range(len(lives))]
                histories = await read_histories(connection, pairs)
                orders = [fold(stream.removeprefix(ORDER), history) for (_, stream), history in histories.items()]
                for at in [NEXT_MONTH, *(beijing(2026, 3, 2) + hours(moment) for moment in moments)]:
                    report = await daily_report(connection, shop, WEEK, at)
                    assert report == counted(orders, WEEK, at), f"at {at}"
                    penalties = [v.penalty_fen for v in await standing(pool, shop, WEEK, at)]
                    assert sum(day.penalties_fen for day in report.items) == sum(filter(None, penalties))
                    assert report.unknown_penalties == penalties.count(None)

    on_database(database_url, work)


def counted(orders: Sequence[Order], period: DayRange, at: datetime) -> DailyReport:
    """The report, from what every order looks like at this moment."""
    days = {}
    for n in range((period.last - period.first).days + 1):
        day = period.first + timedelta(days=n)
        formed = on_time = late = 0
        broken = []
        for order in orders:
            shown = view(order, BOOK, at)
            broken += [v for v in shown.violations if v.arose_at.astimezone(BEIJING).date() == day]
            if order.group_formed_at and order.group_formed_at.astimezone(BEIJING).date() == day:
                (upload,) = [deadline.state for deadline in shown.deadlines if deadline.kind == "tracking_upload"]
                formed += 1
                on_time += upload == "met"
                late += upload == "missed"
        counting = [v for v in broken if v.appeal is None or v.appeal.outcome != "overturned"]
        kinds = [violation.kind for violation in counting]
        penalties = [violation.penalty_fen for violation in counting]
        days[day] = ReportedDay(
            day,
            formed,
            on_time,
            late,
            on_time / (on_time + late) if on_time + late else None,
            kinds.count("stockout"),
            kinds.count("false_shipment"),
            kinds.count("fraudulent_shipment"),
            sum(filter(None, penalties)),
            penalties.count(None),
        )
    return DailyReport(tuple(days.values()), sum(day.unknown_penalties for day in days.values()))


async def standing(pool: Pool, shop: str, period: DayRange, at: datetime) -> list[ListedViolation]:
    """The violations that the list shows over the same days, without those overturned."""
    async with pool.connection() as connection:
        filter = ViolationFilter(
            since=datetime.combine(period.first, time(), BEIJING),
            until=datetime.combine(period.last + timedelta(days=1), time(), BEIJING),
        )
        page = await list_violations(connection, shop, at, filter, 500)
    assert page.next is None
    return [v for v in page.items if v.appeal is None or v.appeal.outcome != "overturned"]


# ---- days -------------------------------------------------------------------------------------------


def test_a_day_ends_at_midnight_in_beijing(database_url: str) -> None:
    midnight = beijing(2026, 3, 3)

    async def work(pool: Pool, path: CommandPath) -> None:
        await formed(path, 1, midnight - MICROSECOND)
        await formed(path, 2, midnight)
        assert [day.orders_formed for day in (await reported(pool)).items[:3]] == [1, 1, 0]
        # Each is late, and later out of stock, at the same clock time as its group formed.
        days = [day.day for day in (await reported(pool)).items if day.penalties_fen]
        assert days == [date(2026, 3, 4), date(2026, 3, 5), date(2026, 3, 7), date(2026, 3, 8)]

    on_database(database_url, work)


def test_the_first_and_the_last_day_are_whole_and_no_other_is_counted(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        for n, at in enumerate(
            (
                beijing(2026, 3, 2) - MICROSECOND,
                beijing(2026, 3, 2),
                beijing(2026, 3, 5) - MICROSECOND,
                beijing(2026, 3, 5),
            )
        ):
            await formed(path, n, at)
        report = await reported(pool, DayRange(MONDAY, MONDAY + timedelta(days=2)))
        assert [day.day.day for day in report.items] == [2, 3, 4]
        assert [day.orders_formed for day in report.items] == [1, 0, 1]
        (alone,) = (await reported(pool, DayRange(MONDAY, MONDAY))).items
        assert alone == report.items[0]

    on_database(database_url, work)


def test_a_day_with_nothing_is_a_day_of_zeros_without_a_rate(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        report = await reported(pool)
        assert report.items == tuple(replace(NOTHING, day=MONDAY + timedelta(days=n)) for n in range(7))
        assert report.unknown_penalties == 0

    on_database(database_url, work)


def test_other_shops_orders_and_violations_are_never_counted(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await formed(path, 1, beijing(2026, 3, 2, 9), shop="another")
        assert all(replace(day, day=MONDAY) == NOTHING for day in (await reported(pool)).items)
        theirs = await reported(pool, shop="another")
        assert (theirs.items[0].orders_formed, theirs.items[0].late) == (1, 1)

    on_database(database_url, work)


# ---- what is late -----------------------------------------------------------------------------------


def test_an_order_is_on_time_or_late_only_once_that_is_decided(database_url: str) -> None:
    nine = beijing(2026, 3, 2, 9)
    due = nine + hours(48)

    async def work(pool: Pool, path: CommandPath) -> None:
        for n in range(4):
            await formed(path, n, nine)

        async def monday(at: datetime) -> tuple[int, int, int, float | None]:
            day = (await reported(pool, at=at)).items[0]
            return day.orders_formed, day.shipped_on_time, day.late, day.on_time_rate

        assert await monday(due) == (4, 0, 0, None)
        assert (await reported(pool, at=due)).items[2].penalties_fen == 0
        assert await monday(due + MICROSECOND) == (4, 0, 4, 0.0)
        assert (await reported(pool, at=due + MICROSECOND)).items[2].penalties_fen == 1200
        await done(path, order_command(order_sn(0), replace(UPLOAD, occurred_at=due)))
        await done(path, order_command(order_sn(1), replace(UPLOAD, occurred_at=due + MICROSECOND)))
        await done(path, order_command(order_sn(2), c.Cancel(reason="changed_mind", occurred_at=due)))
        assert await monday(due) == (4, 1, 1, 0.5)
        assert await monday(NEXT_MONTH) == (4, 1, 2, 1 / 3)

    on_database(database_url, work)


def test_a_late_order_counts_on_the_day_it_formed_and_its_penalty_on_the_day_it_fell_due(database_url: str) -> None:
    async def work(pool: Pool, path: CommandPath) -> None:
        await formed(path, 1, beijing(2026, 3, 2, 9))
        days = (await reported(pool, at=beijing(2026, 3, 5))).items
        assert [(day.late, day.penalties_fen) for day in days[:4]] == [(1, 0), (0, 0), (0, 300), (0, 0)]
        assert [day.stockouts for day in days] == [0] * 7
        days = (await reported(pool, at=beijing(2026, 3, 8))).items
        assert [(day.stockouts, day.penalties_fen) for day in days[4:6]] == [(0, 0), (1, 600)]

    on_database(database_url, work)


# ---- penalties --------------------------------------------------------------------------------------


def test_an_overturned_violation_no_longer_counts_but_the_shipment_stays_late(database_url: str) -> None:
    late = f"{order_sn(1)}:late_shipment"

    async def work(pool: Pool, path: CommandPath) -> None:
        await formed(path, 1, beijing(2026, 3, 2, 9))
        await done(path, order_command(order_sn(1), replace(UPLOAD, occurred_at=beijing(2026, 3, 5))))
        await done(path, order_command(order_sn(1), c.RecordPickup(occurred_at=beijing(2026, 3, 5, 1))))
        await done(path, order_command(order_sn(1), appeal(order_sn(1))))
        assert (await reported(pool)).items[2].penalties_fen == 300
        await done(path, order_command(order_sn(1), c.DecideAppeal(violation_id=late, outcome="overturned")))
        report = await reported(pool)
        assert sum(day.penalties_fen for day in report.items) == 0
        assert report.items[0].late == 1

    on_database(database_url, work)


def test_penalties_that_are_not_known_are_counted_not_guessed(database_url: str) -> None:
    """What a stockout costs depends on the payment, and an order may form before that is known."""

    async def work(pool: Pool, path: CommandPath) -> None:
        at = beijing(2026, 3, 2, 9)
        await done(path, order_command(order_sn(1), replace(PLACE, paid_fen=None, occurred_at=at)))
        await done(path, order_command(order_sn(1), c.FormGroup(occurred_at=at)))
        await formed(path, 2, at)
        report = await reported(pool)
        saturday = report.items[5]
        assert (saturday.stockouts, saturday.penalties_fen, saturday.unknown_penalties) == (2, 600, 1)
        assert report.unknown_penalties == 1

    on_database(database_url, work)


def test_an_order_whose_formation_an_export_shows_counts_on_the_day_of_the_export(database_url: str) -> None:
    """An export does not say when; without that time the clock of 48 hours can't be read either."""

    async def work(pool: Pool, path: CommandPath) -> None:
        seen_at = beijing(2026, 3, 4, 12)
        observed = Metadata(via="export", observed=True)
        history: list[Recorded[OrderEvent]] = [
            Recorded(e.OrderPlaced(lines=()), 1, 1, seen_at, seen_at, observed),
            Recorded(e.GroupFormed(), 2, 2, seen_at, seen_at, observed),
        ]
        rows: dict[View, list[Row]] = {view: [] for view in VIEWS}
        RowMaker(rows, BOOK).add(SHOP, fold(order_sn(1), history))
        async with pool.connection() as connection:
            for build in await builds.live(connection, BOOK):
                await copy_rows(connection, build, rows)
        wednesday = (await reported(pool)).items[2]
        assert wednesday == replace(NOTHING, day=wednesday.day, orders_formed=1)

    on_database(database_url, work)


# ---- periods ----------------------------------------------------------------------------------------


def test_a_period_is_the_last_seven_days_by_default() -> None:
    just_tuesday = beijing(2026, 3, 3)
    assert DayRange.of(None, None, just_tuesday) == (date(2026, 2, 25), date(2026, 3, 3))
    assert DayRange.of(None, None, just_tuesday - MICROSECOND) == (date(2026, 2, 24), date(2026, 3, 2))
    assert DayRange.of(None, MONDAY, clock.now()) == (date(2026, 2, 24), MONDAY)
    assert DayRange.of(MONDAY, None, just_tuesday) == (MONDAY, date(2026, 3, 3))
    assert DayRange.of(MONDAY, MONDAY, clock.now()) == (MONDAY, MONDAY)


def test_a_period_that_makes_no_sense_is_refused_and_the_longest_is_named() -> None:
    with pytest.raises(BadPeriod, match="2026-03-03 is after 2026-03-02"):
        DayRange.of(MONDAY + timedelta(days=1), MONDAY, clock.now())
    longest = MONDAY - timedelta(days=MOST_DAYS - 1)
    assert DayRange.of(longest, MONDAY, clock.now()) == (longest, MONDAY)
    with pytest.raises(BadPeriod, match=f"at most 92 days; up to 2026-03-02 it can begin on {longest}"):
        DayRange.of(longest - timedelta(days=1), MONDAY, clock.now())
