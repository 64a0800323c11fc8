"""Which event changed which field of an order between two moments."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from domain.history import Recorded
from domain.order.events import OrderEvent
from domain.order.fold import fold
from domain.order.order_at import OrderAt
from domain.order.view import view
from domain.order.warnings import RelatedFacts, plain_number
from domain.rules.ruleset import RuleBook

By = Literal["as_of", "known_at"]
"""Which of an event's two times decides whether it counts."""

_NOT_COMPARED = ("version", "position")


class Change(msgspec.Struct, frozen=True):
    """A field's value before and after. ``version`` names the event; null: only time passed."""

    field: str
    before: Any
    after: Any
    version: int | None
    event: str | None
    occurred_at: datetime | None
    recorded_at: datetime | None


class OrderDiff(msgspec.Struct, frozen=True):
    """The changes from one moment to a later one, event by event, then what the passing of time did.

    ``as_of`` and ``known_at`` say what was the same at both moments, where something was.
    """

    order_sn: str
    since: int | datetime = msgspec.field(name="from")
    until: int | datetime = msgspec.field(name="to")
    by: By
    as_of: datetime | None
    known_at: datetime | None
    changes: tuple[Change, ...]


def diff(order_sn: str, book: RuleBook, since: OrderAt, until: OrderAt) -> tuple[Change, ...]:
    """The changes that lead from an order as it stood at one viewpoint to how it stood at another.

    Every event is judged at the first moment, so what an event changed and what time changed stay apart. What
    became of other orders, and of the SKUs that the order was applied for, counts as time.
    """
    known = {recorded.version for recorded in since.history}
    history = list(since.history)
    before = _fields(order_sn, history, book, since.judged_at, since.related_facts)
    related_facts = _related_facts_of_events(since, until)
    changes: list[Change] = []
    for recorded in until.history:
        if recorded.version in known:
            continue
        history = sorted([*history, recorded], key=lambda event: event.version)
        after = _fields(order_sn, history, book, since.judged_at, related_facts)
        changes += _changes(before, after, recorded)
        before = after
    changes += _changes(before, _fields(order_sn, until.history, book, until.judged_at, until.related_facts), None)
    return tuple(changes)


def _related_facts_of_events(since: OrderAt, until: OrderAt) -> RelatedFacts:
    """The related facts as events are added: those at first, and those that only matter because of an event."""
    looked_up = {plain_number(parcel.tracking_number) for parcel in since.order.current_parcels}
    uses = [use for use in until.related_facts.uses if use.tracking_number not in looked_up]
    filed = since.related_facts.filed if since.order.open_review else until.related_facts.filed
    return RelatedFacts(since.related_facts.skus, [*since.related_facts.uses, *uses], filed)


def _fields(
    order_sn: str,
    history: Sequence[Recorded[OrderEvent]],
    book: RuleBook,
    at: datetime,
    related_facts: RelatedFacts,
) -> dict[str, Any]:
    if not history:
        return {}
    shown = msgspec.to_builtins(view(fold(order_sn, history), book, at, related_facts))
    return {name: value for name, value in shown.items() if name not in _NOT_COMPARED}


def _changes(before: dict[str, Any], after: dict[str, Any], cause: Recorded[OrderEvent] | None) -> list[Change]:
    return [
        Change(
            field=name,
            before=before.get(name),
            after=after.get(name),
            version=cause.version if cause else None,
            event=type(cause.event).__name__ if cause else None,
            occurred_at=cause.occurred_at if cause else None,
            recorded_at=cause.recorded_at if cause else None,
        )
        for name in (after or before)
        if before.get(name) != after.get(name)
    ]
