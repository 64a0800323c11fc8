"""China's working days (工作日), with make-up days (调休).

The State Council publishes a year's plan in the preceding November. A year that is not announced
yet is answered from the weekday rule and marked uncertain. Source: working-days.
"""

from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cache, lru_cache, partial

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


def iso_seconds(moment: datetime) -> str:
    """A moment as refusals write it: ISO 8601 to the second, in its own time zone."""
    return moment.isoformat(timespec="seconds")


def beijing_minute(moment: datetime) -> str:
    """A moment as warnings write it: Beijing's date and clock, to the minute."""
    return moment.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M")


END_OF_TIME = datetime.max.replace(tzinfo=UTC)

INSTANT = timedelta(microseconds=1)
"""The smallest difference between two times."""


def later(moment: datetime, by: timedelta) -> datetime:
    """``moment + by``, or the end of time where that lies beyond it: even nonsense must stay readable."""
    try:
        return moment + by
    except OverflowError:
        return END_OF_TIME


def at_latest(moment: datetime, within: int) -> datetime:
    """The latest moment that a time can mean which its source gives to so many seconds."""
    return later(moment, seconds(within)) if within else moment


def can_be_same(one: datetime, one_within: int, other: datetime, other_within: int) -> bool:
    """Whether two times can be the same moment, each as precise as its source gives it.

    Parts of a second do not count, because the platform's times have whole seconds. Source: platform-times.
    """
    one, other = one.replace(microsecond=0), other.replace(microsecond=0)
    return one <= at_latest(other, other_within) and other <= at_latest(one, one_within)


@cache
def seconds(count: int) -> timedelta:
    return timedelta(seconds=count)


@cache
def hours(count: int) -> timedelta:
    """So many hours; remembered, because to make a ``timedelta`` takes longer than to add it."""
    return timedelta(hours=count)


@cache
def days(count: int) -> timedelta:
    return timedelta(days=count)


def beijing_day(moment: datetime) -> date:
    """The calendar day of a moment in Beijing."""
    return moment.astimezone(BEIJING).date()


def beijing_midnight(day: date) -> datetime:
    """When a calendar day begins in Beijing."""
    return datetime.combine(day, time(), BEIJING)


def end_of_day(moment: datetime, count: int) -> datetime:
    """The last instant of the ``count``-th Beijing date after ``moment``'s, or the end of time."""
    local = moment.astimezone(BEIJING)
    try:
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0) + days(count + 1)
        return (midnight - timedelta(microseconds=1)).astimezone(moment.tzinfo)
    except OverflowError:
        return END_OF_TIME


def is_working_day(day: date, make_up_days: bool = True) -> tuple[bool, bool]:
    """Whether ``day`` is a working day in China, and whether that is certain.

    Without ``make_up_days`` a weekend is never worked, as by people who keep the holidays alone.
    """
    weekday = day.weekday() < 5
    try:
        return chinese_calendar.is_workday(day) and (weekday or make_up_days), True
    except NotImplementedError:
        return weekday, False


@lru_cache(maxsize=4096)
def nth_working_day(day: date, count: int, make_up_days: bool = True) -> tuple[date, bool]:
    """The ``count``-th working day after ``day``, and whether that is certain.

    Remembered, because the calendar takes its time and many orders ask for the same days.
    """
    certain = True
    while count > 0:
        day += timedelta(days=1)
        works, known = is_working_day(day, make_up_days)
        certain = certain and known
        count -= works
    return day, certain


def working_days_after(
    moment: datetime,
    count: int,
    *,
    counts_today: bool = False,
    day_ends_at: int | None = None,
    make_up_days: bool = True,
) -> tuple[datetime, bool]:
    """The same Beijing clock time on the ``count``-th working day after ``moment``'s day; whether that is certain.

    With ``counts_today`` the day of ``moment`` is the first, if it is a working day. From the hour ``day_ends_at``
    on it is the day after's. No working day after is the moment itself.
    """
    if count == 0:
        return moment, True
    local = moment.astimezone(BEIJING)
    today = local.date()
    since = today + days(1) if day_ends_at is not None and local.hour >= day_ends_at else today
    day, certain = nth_working_day(since - days(1) if counts_today else since, count, make_up_days)
    return (local + (day - today)).astimezone(moment.tzinfo), certain


def expected_decision(
    filed_at: datetime,
    earliest_days: int,
    latest_days: int,
    *,
    counts_filing_day: bool = False,
    filing_day_ends_at: int | None = None,
    make_up_days: bool = True,
) -> ExpectedDecision:
    """The window in which a stockout application filed at ``filed_at`` should be decided.

    No source says whether the day of filing counts, at which hour it ends, and whether the platform's reviewers
    work on make-up days; the rule set says it. Source: review-day-count.
    """
    after = partial(
        working_days_after,
        filed_at,
        counts_today=counts_filing_day,
        day_ends_at=filing_day_ends_at,
        make_up_days=make_up_days,
    )
    (earliest, _), (latest, certain) = after(earliest_days), after(latest_days)
    return ExpectedDecision(earliest=earliest, latest=latest, certain=certain)
