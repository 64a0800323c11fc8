"""An order as it stood at a viewpoint."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from domain.history import Recorded
from domain.order.events import OrderEvent
from domain.order.fold import fold
from domain.order.state import Order
from domain.order.warnings import NO_RELATED_FACTS, RelatedFacts
from domain.viewpoint import Viewpoint, visible


class OrderAt(NamedTuple):
    """An order folded from the events that counted; deadlines and violations are judged at ``judged_at``.

    Facts of other streams count from ``viewpoint``, which is a time even where the order was cut by its version.
    """

    order: Order
    history: Sequence[Recorded[OrderEvent]]
    judged_at: datetime
    viewpoint: Viewpoint
    related_facts: RelatedFacts = NO_RELATED_FACTS


def order_at(
    viewpoint: Viewpoint, order_sn: str, history: Sequence[Recorded[OrderEvent]], now: datetime
) -> OrderAt:
    """The order as it stood at a viewpoint.

    It is judged at ``as_of``, else at ``known_at``, else, for a version, when that version's latest event occurred
    (before the first one: when that did), else now, but never before its latest event.
    """
    as_of, known_at, at_version = viewpoint
    visible_history = visible(history, viewpoint)
    order = fold(order_sn, visible_history)
    latest = order.last_occurred_at or (history[0].occurred_at if history else now)
    at = as_of or known_at or (max(now, latest) if at_version is None else latest)
    if at_version is not None and visible_history:
        recorded_at = visible_history[-1].recorded_at
        as_of, known_at = min(as_of or at, at), min(known_at or recorded_at, recorded_at)
    return OrderAt(order, visible_history, at, Viewpoint(as_of, known_at))
