"""An order as it is seen from a moment: which of its events, and when it is judged."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from domain.history import Recorded, visible
from domain.order.events import OrderEvent
from domain.order.fold import fold
from domain.order.state import Order
from domain.order.warnings import NO_RELATED_FACTS, RelatedFacts


class Seen(NamedTuple):
    """What may be seen of an order; deadlines and violations are judged ``at`` a moment.

    Of the related facts, those that had happened by ``as_of`` and were known at ``known_at`` matter.
    """

    order: Order
    history: Sequence[Recorded[OrderEvent]]
    at: datetime
    as_of: datetime | None
    known_at: datetime | None
    related_facts: RelatedFacts = NO_RELATED_FACTS


def seen_from(
    order_sn: str,
    history: Sequence[Recorded[OrderEvent]],
    now: datetime,
    *,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
    at_version: int | None = None,
) -> Seen:
    """The order by what had happened, by what was known, or after so many events.

    It is judged at ``as_of``, else at ``known_at``, else, for a version, when that version's latest event occurred
    (before the first one: when that did), else now.
    """
    seen = visible(history, as_of=as_of, known_at=known_at, at_version=at_version)
    order = fold(order_sn, seen)
    latest = order.last_occurred_at or (history[0].occurred_at if history else now)
    at = as_of or known_at or (max(now, latest) if at_version is None else latest)
    if at_version is not None and seen:
        as_of, known_at = min(as_of or at, at), min(known_at or seen[-1].recorded_at, seen[-1].recorded_at)
    return Seen(order, seen, at, as_of, known_at)
