"""Working days in China: holidays, make-up days, and years that are not announced yet. Source: working-days."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from domain.calendar import BEIJING, ExpectedDecision, expected_decision, is_working_day, working_days_after
from tests.domain.vocabulary import (
    awaiting_shipment,
    beijing,
    book_where,
    days,
    given,
    group_formed,
    placed,
    stockout_requested,
)


def decided_between(filed_at: datetime) -> tuple[datetime, datetime, bool]:
    expected = expected_decision(filed_at, 2, 3)
    return expected.earliest, expected.latest, expected.certain


def test_filed_in_an_ordinary_week() -> None:
    assert decided_between(beijing(2026, 3, 2, 15)) == (beijing(2026, 3, 4, 15), beijing(2026, 3, 5, 15), True)


def test_filed_on_a_thursday_the_weekend_does_not_count() -> None:
    assert decided_between(beijing(2026, 3, 5, 15)) == (beijing(2026, 3, 9, 15), beijing(2026, 3, 10, 15), True)


def test_filed_on_a_saturday_monday_is_the_first_day() -> None:
    assert decided_between(beijing(2026, 3, 7, 15)) == (beijing(2026, 3, 10, 15), beijing(2026, 3, 11, 15), True)


def test_filed_on_friday_before_spring_festival_2026() -> None:
    """Saturday the 14th is a make-up working day, the 15th to the 23rd is holiday."""
    filed = beijing(2026, 2, 13, 10)
    assert working_days_after(filed, 1) == (beijing(2026, 2, 14, 10), True)
    assert decided_between(filed) == (beijing(2026, 2, 24, 10), beijing(2026, 2, 25, 10), True)


def test_filed_in_the_middle_of_spring_festival_2026() -> None:
    assert decided_between(beijing(2026, 2, 18, 10)) == (beijing(2026, 2, 25, 10), beijing(2026, 2, 26, 10), True)


def test_filed_on_the_day_before_national_day_2026() -> None:
    """The 1st to the 7th is holiday, Saturday the 10th a make-up working day."""
    assert decided_between(beijing(2026, 9, 30, 18)) == (beijing(2026, 10, 9, 18), beijing(2026, 10, 10, 18), True)


def test_filed_in_the_seeds_own_week_2021() -> None:
    """Sunday, 26 September 2021 was a make-up working day, but the day of filing itself does not count."""
    assert decided_between(beijing(2021, 9, 26, 9)) == (beijing(2021, 9, 28, 9), beijing(2021, 9, 29, 9), True)


def test_filed_on_the_day_before_national_day_2021() -> None:
    """The 1st to the 7th was holiday, Saturday the 9th a make-up working day."""
    assert decided_between(beijing(2021, 9, 30, 9)) == (beijing(2021, 10, 9, 9), beijing(2021, 10, 11, 9), True)


@pytest.mark.parametrize(
    "make_up_day",
    [
        *(date(2025, month, day) for month, day in ((1, 26), (2, 8), (4, 27), (9, 28), (10, 11))),
        *(date(2026, month, day) for month, day in ((1, 4), (2, 14), (2, 28), (5, 9), (9, 20), (10, 10))),
        *(date(2021, month, day) for month, day in ((2, 7), (2, 20), (4, 25), (5, 8), (9, 18), (9, 26), (10, 9))),
    ],
)
def test_a_make_up_day_works_though_it_is_a_weekend(make_up_day: date) -> None:
    assert make_up_day.weekday() >= 5
    assert is_working_day(make_up_day) == (True, True)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2026, 1, 1), date(2026, 1, 3)),
        (date(2026, 2, 15), date(2026, 2, 23)),
        (date(2026, 4, 4), date(2026, 4, 6)),
        (date(2026, 5, 1), date(2026, 5, 5)),
        (date(2026, 6, 19), date(2026, 6, 21)),
        (date(2026, 9, 25), date(2026, 9, 27)),
        (date(2026, 10, 1), date(2026, 10, 7)),
        (date(2021, 10, 1), date(2021, 10, 7)),
    ],
)
def test_a_holiday_does_not_work(first: date, last: date) -> None:
    for offset in range((last - first).days + 1):
        assert is_working_day(first + timedelta(days=offset)) == (False, True)


# ---- what is not known of the platform's counting, as settings ----------------------------------------


@pytest.mark.parametrize(
    ("filed", "counts_filing_day", "make_up_days", "earliest", "latest"),
    [
        # Friday before Spring Festival 2026; Saturday the 14th makes up for it
        (date(2026, 2, 13), False, True, date(2026, 2, 24), date(2026, 2, 25)),
        (date(2026, 2, 13), True, True, date(2026, 2, 14), date(2026, 2, 24)),
        (date(2026, 2, 13), False, False, date(2026, 2, 25), date(2026, 2, 26)),
        (date(2026, 2, 13), True, False, date(2026, 2, 24), date(2026, 2, 25)),
        # in the holiday: the day of filing is none to be counted
        (date(2026, 2, 18), False, True, date(2026, 2, 25), date(2026, 2, 26)),
        (date(2026, 2, 18), True, True, date(2026, 2, 25), date(2026, 2, 26)),
        # Saturday the 28th makes up for it as well
        (date(2026, 2, 27), False, True, date(2026, 3, 2), date(2026, 3, 3)),
        (date(2026, 2, 27), True, True, date(2026, 2, 28), date(2026, 3, 2)),
        (date(2026, 2, 27), False, False, date(2026, 3, 3), date(2026, 3, 4)),
        # before National Day 2026; Saturday the 10th makes up for it
        (date(2026, 9, 30), False, True, date(2026, 10, 9), date(2026, 10, 10)),
        (date(2026, 9, 30), True, True, date(2026, 10, 8), date(2026, 10, 9)),
        (date(2026, 9, 30), False, False, date(2026, 10, 9), date(2026, 10, 12)),
        (date(2026, 10, 10), True, True, date(2026, 10, 12), date(2026, 10, 13)),
        (date(2026, 10, 10), True, False, date(2026, 10, 13), date(2026, 10, 14)),
    ],
)
def test_the_window_by_what_counts(
    filed: date, counts_filing_day: bool, make_up_days: bool, earliest: date, latest: date
) -> None:
    def at_ten(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, 10, tzinfo=BEIJING)

    found = expected_decision(at_ten(filed), 2, 3, counts_filing_day=counts_filing_day, make_up_days=make_up_days)
    assert (found.earliest, found.latest, found.certain) == (at_ten(earliest), at_ten(latest), True)


def test_the_rule_set_says_what_counts() -> None:
    filed = beijing(2026, 2, 13, 10)
    facts = (placed(at=filed - days(1)), group_formed(at=filed - days(1)), stockout_requested(at=filed))
    for settings, latest in (
        ({"counts_filing_day": True}, beijing(2026, 2, 24, 10)),
        ({"follows_make_up_days": False}, beijing(2026, 2, 26, 10)),
    ):
        seen = given(*facts, under=book_where(**settings)).at(filed)
        assert seen.view.shipment_lock.holds[0].expected_decision.latest == latest  # type: ignore[union-attr]
        seen.has_deadline("review_decision", due_at=latest)


@pytest.mark.parametrize(
    ("filed", "counts_filing_day", "earliest", "latest"),
    [
        # in an ordinary week, a minute before the hour and at it
        (beijing(2026, 3, 2, 17, 59), False, (3, 4), (3, 5)),
        (beijing(2026, 3, 2, 18), False, (3, 5), (3, 6)),
        (beijing(2026, 3, 2, 18), True, (3, 4), (3, 5)),
        # Friday evening before Spring Festival: of Saturday the 14th, which makes up for it
        (beijing(2026, 2, 13, 20), False, (2, 25), (2, 26)),
        (beijing(2026, 2, 13, 20), True, (2, 24), (2, 25)),
        # the evening before National Day
        (beijing(2026, 9, 30, 23, 30), True, (10, 9), (10, 10)),
    ],
)
def test_what_is_filed_late_in_the_day_may_count_as_the_day_afters(
    filed: datetime, counts_filing_day: bool, earliest: tuple[int, int], latest: tuple[int, int]
) -> None:
    rules = book_where(counts_filing_day=counts_filing_day, filing_day_ends_at=18)
    expected = rules.sets[0].review.expected_decision(filed)
    for found, (month, day) in ((expected.earliest, earliest), (expected.latest, latest)):
        assert found == filed.replace(month=month, day=day), "the clock time stays"


def test_where_there_is_no_review_an_application_is_decided_at_once() -> None:
    filed = beijing(2026, 10, 3, 20)
    for settings in ({}, {"counts_filing_day": True}, {"filing_day_ends_at": 18}):
        at_once = book_where(earliest_working_days=0, latest_working_days=0, **settings).sets[0].review
        assert at_once.expected_decision(filed) == ExpectedDecision(filed, filed, certain=True)


def test_filed_at_the_end_of_2026_before_2027_is_announced() -> None:
    """New Year's Day is a Friday; that it will be a holiday nobody has announced."""
    assert decided_between(beijing(2026, 12, 28, 9)) == (beijing(2026, 12, 30, 9), beijing(2026, 12, 31, 9), True)
    assert decided_between(beijing(2026, 12, 30, 9)) == (beijing(2027, 1, 1, 9), beijing(2027, 1, 4, 9), False)
    assert decided_between(beijing(2026, 12, 31, 9)) == (beijing(2027, 1, 4, 9), beijing(2027, 1, 5, 9), False)
    assert expected_decision(beijing(2026, 12, 29, 9), 2, 3, counts_filing_day=True).certain is True


def test_an_order_under_review_over_new_year_says_that_its_window_is_a_guess() -> None:
    filed = beijing(2026, 12, 31, 9)
    story = given(placed(at=filed - days(1)), group_formed(at=filed - days(1)), stockout_requested(at=filed))
    (hold,) = story.at(filed).json["shipment_lock"]["holds"]
    assert hold["expected_decision"]["certain"] is False


def test_a_year_not_announced_yet_is_answered_by_the_weekday_and_uncertain() -> None:
    assert is_working_day(date(2027, 3, 5)) == (True, False)
    assert is_working_day(date(2027, 3, 6)) == (False, False)
    assert decided_between(beijing(2027, 3, 1, 9)) == (beijing(2027, 3, 3, 9), beijing(2027, 3, 4, 9), False)


def test_a_window_that_reaches_into_an_unannounced_year_is_uncertain() -> None:
    assert expected_decision(beijing(2026, 12, 28, 9), 2, 3).certain is True
    assert expected_decision(beijing(2026, 12, 29, 9), 2, 3).certain is False


def test_a_year_before_the_calendar_begins_is_uncertain_too() -> None:
    assert is_working_day(date(2003, 3, 5)) == (True, False)


def test_the_day_is_counted_in_beijing_not_in_utc() -> None:
    """Half past midnight on Tuesday in Beijing is still Monday in UTC."""
    assert decided_between(beijing(2026, 3, 3, 0, 30)) == (
        beijing(2026, 3, 5, 0, 30),
        beijing(2026, 3, 6, 0, 30),
        True,
    )


@pytest.mark.parametrize("zone", [UTC, BEIJING, timezone(timedelta(hours=-7))])
def test_the_answer_is_the_same_moment_in_the_zone_of_the_question(zone: timezone) -> None:
    earliest, certain = working_days_after(beijing(2026, 3, 2, 15).astimezone(zone), 2)
    assert (earliest, certain) == (beijing(2026, 3, 4, 15), True)
    assert earliest.tzinfo is zone


def test_microseconds_survive() -> None:
    filed = beijing(2026, 3, 2, 15) + timedelta(microseconds=123_456)
    assert working_days_after(filed, 2)[0] == beijing(2026, 3, 4, 15) + timedelta(microseconds=123_456)


def test_an_order_shows_the_window_of_its_review() -> None:
    filed = beijing(2026, 2, 13, 10)
    story = given(placed(at=filed - days(1)), group_formed(at=filed - days(1)), stockout_requested(at=filed))
    (hold,) = story.at(filed).view.shipment_lock.holds
    assert hold.expected_decision == ExpectedDecision(beijing(2026, 2, 24, 10), beijing(2026, 2, 25, 10), True)


def test_the_window_is_an_estimate_and_decides_nothing() -> None:
    given(awaiting_shipment(), stockout_requested()).at(beijing(2026, 6, 1)).is_locked_by(
        "stockout_review"
    ).has_deadline("review_decision", state="missed")
