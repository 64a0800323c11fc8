"""China's working days (工作日), with make-up days (调休).

The State Council publishes a year's plan in the preceding November. A year that is not announced
yet is answered from the weekday rule and marked uncertain.
"""

from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache, lru_cache

import chinese_calendar
import msgspec

BEIJING = timezone(timedelta(hours=8))
"""China has one time zone and, since 1991, no daylight saving time."""


class ExpectedDecision(msgspec.Struct, frozen=True):
    """When the platform should have decided: an estimate, never a fact to decide anything from.

    ``certain`` is false where a working day on the way lies in a year not announced yet.
    """

    earliest: datetime
    latest: datetime
    certain: bool


END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def later(moment: datetime, by: timedelta) -> datetime:
    """``moment + by``, or the end of time where that lies beyond it: even nonsense must stay readable."""
    try:
        return moment + by
    except OverflowError:
        return END_OF_TIME


@cache
def hours(count: int) -> timedelta:
    """So many hours; remembered, because to make a ``timedelta`` takes longer than to add it."""
    return timedelta(hours=count)


@cache
def days(count: int) -> timedelta:
    return timedelta(days=count)


def is_working_day(day: date) -> tuple[bool, bool]:
    """Whether ``day`` is a working day in China, and whether that is certain."""
    try:
        return chinese_calendar.is_workday(day), True
    except NotImplementedError:
        return day.weekday() < 5, False


@lru_cache(maxsize=4096)
def nth_working_day(day: date, count: int) -> tuple[date, bool]:
    """The ``count``-th working day after ``day``, and whether that is certain.

    Remembered, because the calendar takes its time and many orders ask for the same days.
    """
    certain = True
    while count > 0:
        day += timedelta(days=1)
        works, known = is_working_day(day)
        certain = certain and known
        count -= works
    return day, certain


def working_days_after(moment: datetime, count: int) -> tuple[datetime, bool]:
    """The same Beijing clock time on the ``count``-th working day after ``moment``'s day.

    The day of ``moment`` itself does not count (DOMAIN.md §5: not known, so the later reading).
    """
    local = moment.astimezone(BEIJING)
    today = local.date()
    day, certain = nth_working_day(today, count)
    return (local + (day - today)).astimezone(moment.tzinfo), certain


def expected_decision(filed_at: datetime, earliest_days: int, latest_days: int) -> ExpectedDecision:
    """The window in which a stockout application filed at ``filed_at`` should be decided."""
    earliest, _ = working_days_after(filed_at, earliest_days)
    latest, certain = working_days_after(filed_at, latest_days)
    return ExpectedDecision(earliest=earliest, latest=latest, certain=certain)
