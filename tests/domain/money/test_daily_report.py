"""What a day of a shop counts, which days a report covers, and who bears a penalty."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta

import pytest

from domain.money.attribution import Count, bearers, counting_day, shares, sum_penalties
from domain.money.daily_report import ReportedDay, count_days, report
from domain.money.period import BadPeriod, DayRange
from domain.order.events import Line
from domain.order.judged import Judged
from tests.domain.vocabulary import (
    DEEMED,
    MICROSECOND,
    MONDAY_12,
    MONDAY_13,
    NEXT_MONDAY_9,
    ORDER_SN,
    SHIP_BY,
    THURSDAY_9,
    TWO_SKUS,
    Story,
    appeal_decided,
    appealed,
    awaiting_shipment,
    beijing,
    complaint_decided,
    complaint_filed,
    given,
    group_formed,
    line,
    picked_up,
    placed,
    tracking_uploaded,
)

MONDAY, WEDNESDAY, SATURDAY = date(2026, 3, 2), date(2026, 3, 4), date(2026, 3, 7)
WEEK = DayRange(MONDAY, date(2026, 3, 8))

LATE = given(awaiting_shipment())
"""Formed on Monday, late on Wednesday, a stockout on Saturday."""
IN_TIME = given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12), picked_up(at=MONDAY_13))


def judged(*stories: Story) -> list[Judged]:
    return [Judged.by(story.book, story.order) for story in stories]


def reported(*stories: Story, period: DayRange = WEEK, at: datetime = NEXT_MONDAY_9) -> dict[date, ReportedDay]:
    return {day.day: day for day in report(count_days(judged(*stories), period, at)).items}


# ---- days -------------------------------------------------------------------------------------------


def test_orders_count_on_the_day_their_group_formed_and_violations_on_the_day_they_arose() -> None:
    days = reported(LATE, LATE, IN_TIME)
    monday = days[MONDAY]
    assert (monday.orders_formed, monday.shipped_on_time, monday.late) == (3, 1, 2)
    assert monday.on_time_rate == pytest.approx(1 / 3)
    assert (monday.stockouts, monday.penalties_fen, monday.unknown_penalties) == (0, 0, 0)
    assert (days[WEDNESDAY].orders_formed, days[WEDNESDAY].penalties_fen) == (0, 600)
    assert (days[SATURDAY].stockouts, days[SATURDAY].penalties_fen) == (2, 1_000)
    assert list(days) == WEEK.days


def test_a_day_without_a_decided_order_has_no_rate() -> None:
    days = reported(LATE, given(placed()), at=SHIP_BY)
    assert (days[MONDAY].orders_formed, days[MONDAY].late, days[MONDAY].on_time_rate) == (1, 0, None)
    assert reported(LATE, at=SHIP_BY + MICROSECOND)[MONDAY].on_time_rate == 0


def test_a_violation_counts_from_the_moment_it_stands_and_not_once_it_is_overturned() -> None:
    assert reported(LATE, at=SHIP_BY)[WEDNESDAY].penalties_fen == 0
    assert reported(LATE, at=SHIP_BY + MICROSECOND)[WEDNESDAY].penalties_fen == 300
    overturned = LATE.and_(
        appealed("late_shipment", at=THURSDAY_9), appeal_decided("late_shipment", "overturned", at=THURSDAY_9)
    )
    assert reported(overturned)[WEDNESDAY].penalties_fen == 0
    assert reported(overturned)[SATURDAY].penalties_fen == 500


def test_each_kind_of_violation_is_counted_by_itself() -> None:
    false = given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12))
    fraud = IN_TIME.and_(complaint_filed(at=THURSDAY_9), complaint_decided("upheld", at=THURSDAY_9))
    days = reported(false, false, fraud)
    tuesday, thursday, saturday = (days[date(2026, 3, day)] for day in (3, 5, 7))
    assert (tuesday.false_shipments, tuesday.fraudulent_shipments, tuesday.penalties_fen) == (2, 0, 2_000)
    assert (thursday.false_shipments, thursday.fraudulent_shipments, thursday.penalties_fen) == (0, 1, 4_300)
    assert (saturday.stockouts, saturday.false_shipments) == (2, 0)


def test_what_depends_on_an_unknown_payment_is_counted_apart() -> None:
    unpaid = given(placed(paid_fen=None), group_formed())
    whole = report(count_days(judged(unpaid, unpaid, LATE), WEEK, NEXT_MONDAY_9))
    saturday = next(day for day in whole.items if day.day == SATURDAY)
    assert (saturday.stockouts, saturday.penalties_fen, saturday.unknown_penalties) == (3, 500, 2)
    assert whole.unknown_penalties == 2


def test_what_lies_outside_of_the_period_is_not_counted() -> None:
    days = reported(LATE, period=DayRange(WEDNESDAY, WEDNESDAY))
    assert list(days) == [WEDNESDAY]
    assert (days[WEDNESDAY].orders_formed, days[WEDNESDAY].penalties_fen) == (0, 300)


def test_the_counts_of_parts_of_a_shop_add_up() -> None:
    (whole, one, other) = (
        count_days(judged(*stories), WEEK, NEXT_MONDAY_9) for stories in ((LATE, IN_TIME), (LATE,), (IN_TIME,))
    )
    for day in WEEK.days:
        one[day].add(other[day])
    assert one == whole


# ---- periods ----------------------------------------------------------------------------------------


def test_a_period_is_of_whole_days_in_beijing() -> None:
    assert (WEEK.since, WEEK.until) == (beijing(2026, 3, 2), beijing(2026, 3, 9))
    assert WEEK.days == [MONDAY + timedelta(days=n) for n in range(7)]
    assert DayRange(MONDAY, MONDAY).days == [MONDAY]


def test_by_default_it_is_the_seven_days_up_to_today() -> None:
    late_on_sunday = beijing(2026, 3, 8, 23, 59)
    assert DayRange.of(None, None, late_on_sunday) == WEEK
    assert DayRange.of(None, SATURDAY, late_on_sunday) == DayRange(date(2026, 3, 1), SATURDAY)
    assert DayRange.of(SATURDAY, None, late_on_sunday) == DayRange(SATURDAY, date(2026, 3, 8))


def test_it_has_one_to_92_days() -> None:
    now = beijing(2026, 3, 8)
    assert DayRange.of(SATURDAY, SATURDAY, now).days == [SATURDAY]
    with pytest.raises(BadPeriod, match="after"):
        DayRange.of(SATURDAY, SATURDAY - timedelta(days=1), now)
    assert len(DayRange.of(SATURDAY - timedelta(days=91), SATURDAY, now).days) == 92
    with pytest.raises(BadPeriod, match="at most 92 days; up to 2026-03-07 it can begin on 2025-12-06"):
        DayRange.of(SATURDAY - timedelta(days=92), SATURDAY, now)


# ---- who bears it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "fen", "expected"),
    [
        ((line(),), 300, {"SKU-1": 300}),
        ((line("SKU-1", 2, 100), line("SKU-2", 1, 100)), 300, {"SKU-1": 200, "SKU-2": 100}),
        ((line("SKU-1", 1, 100), line("SKU-2", 2, 100)), 100, {"SKU-1": 33, "SKU-2": 67}),
        ((line("SKU-1", 1, 100), line("SKU-2", 1, 200), line("SKU-1", 1, 100)), 100, {"SKU-1": 50, "SKU-2": 50}),
        ((line("SKU-1", 1, 0), line("SKU-2", 3, 0)), 400, {"SKU-1": 100, "SKU-2": 300}),
        ((line("SKU-1", 1, 0), line("SKU-2", 3, 100)), 400, {"SKU-1": 0, "SKU-2": 400}),
        ((line("SKU-1", 1, 1), line("SKU-2", 1, 1)), 1, {"SKU-1": 0, "SKU-2": 1}),
        ((line("SKU-1"), line("SKU-2"), line("SKU-3")), 100, {"SKU-1": 33, "SKU-2": 33, "SKU-3": 34}),
        ((), 300, {"unknown": 300}),
        ((line("SKU-1"), line("SKU-2")), None, {"SKU-1": None, "SKU-2": None}),
    ],
)
def test_each_sku_bears_its_part_by_value(
    lines: Iterable[Line], fen: int | None, expected: dict[str, int | None]
) -> None:
    assert shares(tuple(lines), fen) == expected


def test_a_penalty_is_borne_by_the_order_its_skus_or_the_day_it_arose() -> None:
    story = given(placed(lines=TWO_SKUS), group_formed())
    (whole,) = judged(story)
    late = whole.violations[0]
    assert bearers(whole.order, late, "order") == {ORDER_SN: 300}
    assert bearers(whole.order, late, "sku") == {"SKU-1": 200, "SKU-2": 100}
    assert bearers(whole.order, late, "day") == {"2026-03-04": 300}


def test_a_violation_counts_on_the_beijing_day_it_arose_once_it_stands() -> None:
    (late, stockout) = judged(LATE)[0].violations
    assert counting_day(late, SHIP_BY) is None
    assert counting_day(late, SHIP_BY + MICROSECOND) == WEDNESDAY
    assert counting_day(stockout, DEEMED + MICROSECOND) == SATURDAY


def test_penalties_are_summed_up_over_the_orders_of_a_period() -> None:
    unpaid = given(placed(paid_fen=None), group_formed())
    sums = sum_penalties(judged(LATE, LATE, unpaid), "day", WEEK, NEXT_MONDAY_9)
    assert sums == {"2026-03-04": Count(3, 900, 0), "2026-03-07": Count(3, 1_000, 1)}
    for first, last, days in (
        (WEDNESDAY, SATURDAY, ["2026-03-04", "2026-03-07"]),
        (WEDNESDAY + timedelta(days=1), SATURDAY, ["2026-03-07"]),
        (WEDNESDAY, SATURDAY - timedelta(days=1), ["2026-03-04"]),
    ):
        assert list(sum_penalties(judged(LATE), "day", DayRange(first, last), NEXT_MONDAY_9)) == days
    assert sum_penalties(judged(LATE), "day", WEEK, SHIP_BY) == {}


def test_counts_add_up() -> None:
    count = Count(1, 300, 0)
    count.add(Count(2, 500, 1))
    assert count == Count(3, 800, 1)
    assert Count() == Count(0, 0, 0)
