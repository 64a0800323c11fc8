"""The envelope of an event: two times, its place in the log, and its origin.

``occurred_at`` is when it happened in the world (the platform's clock) and decides lateness. Some sources give a
time without its seconds; then it is the earliest moment that the time can mean.
``recorded_at`` is when this log learned it and never decreases within a shop, so what was known at
a moment is a prefix of the log.
"""

from datetime import datetime
from typing import Generic, Literal, TypeVar

import msgspec

Via = Literal["command", "export", "poll", "push"]


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is known about an event's origin.

    ``via`` says which door it came through. ``observed`` is set when ``occurred_at`` is only the
    moment by which it must have happened, because the source does not carry the real one: no
    violation may be claimed from such a time. ``within`` is the precision of the source: the event
    happened at ``occurred_at`` or up to so many seconds later. It is 59 for a time to the minute.

    ``actor`` is who was let in, ``credential`` the id of the key that let him in. ``on_behalf_of`` is whom he says
    that he acts for; nobody checks it.
    """

    actor: str = "system"
    via: Via = "command"
    observed: bool = False
    note: str | None = None
    within: int = 0
    credential: str | None = None
    on_behalf_of: str | None = None


E = TypeVar("E", bound=msgspec.Struct, covariant=True)


class Recorded(msgspec.Struct, Generic[E], frozen=True, gc=False):
    """An event in its place: ``version`` counts within the order or SKU, ``position`` in the shop's log."""

    event: E
    version: int
    position: int
    occurred_at: datetime
    recorded_at: datetime
    metadata: Metadata = Metadata()
