"""The days of a report: calendar days in Beijing."""

from datetime import date, datetime, timedelta
from typing import NamedTuple, Self

from domain.calendar import beijing_day, beijing_midnight

MOST_DAYS = 92
"""A quarter: the most that one report covers, so that its work is bounded."""

USUAL_DAYS = 7


class BadPeriod(ValueError):
    """No report covers these days; the message says why and which it could."""


class DayRange(NamedTuple):
    """Days in Beijing, both inclusive."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    @property
    def since(self) -> datetime:
        """When the first day begins."""
        return beijing_midnight(self.first)

    @property
    def until(self) -> datetime:
        """When the day after the last begins."""
        return beijing_midnight(self.last + timedelta(days=1))

    @classmethod
    def of(cls, first: date | None, last: date | None, now: datetime) -> Self:
        """A period; by default the seven days up to ``last``, and that is today. Raises ``BadPeriod``."""
        last = last or beijing_day(now)
        first = first or last - timedelta(days=USUAL_DAYS - 1)
        if first > last:
            raise BadPeriod(f"{first} is after {last}, the last day asked for")
        earliest = last - timedelta(days=MOST_DAYS - 1)
        if first < earliest:
            raise BadPeriod(f"a report covers at most {MOST_DAYS} days; up to {last} it can begin on {earliest}")
        return cls(first, last)
