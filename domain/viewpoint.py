"""The moment that something is viewed from: which events count, and when deadlines and violations are judged."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from domain.history import E, Recorded


class Viewpoint(NamedTuple):
    """A moment, by what had happened, by what the log knew, or after so many events; without any of them, now.

    ``as_of`` cuts by when an event occurred, ``known_at`` by when the log recorded it, ``at_version`` by the
    order's or SKU's own count. All three may be combined; each only removes events.
    """

    as_of: datetime | None = None
    known_at: datetime | None = None
    at_version: int | None = None

    @property
    def is_now(self) -> bool:
        """Whether everything in the log counts."""
        return self.as_of is None and self.known_at is None and self.at_version is None

    def judged_at(self, now: datetime) -> datetime:
        """When deadlines and violations are judged: at ``as_of``, else at ``known_at``, else now."""
        return self.as_of or self.known_at or now


NOW = Viewpoint()


def visible(history: Iterable[Recorded[E]], viewpoint: Viewpoint) -> list[Recorded[E]]:
    """The part of a history that counts at a viewpoint."""
    as_of, known_at, at_version = viewpoint
    return [
        recorded
        for recorded in history
        if (as_of is None or recorded.occurred_at <= as_of)
        and (known_at is None or recorded.recorded_at <= known_at)
        and (at_version is None or recorded.version <= at_version)
    ]
