"""Which event changed which field of an order between two moments."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from domain.calendar import END_OF_TIME
from domain.history import Recorded, visible
from domain.order.state import fold
from domain.order.view import view
from domain.order.warnings import Around
from domain.rules.ruleset import RuleBook
from domain.sku.state import Sku

By = Literal["as_of", "known_at"]
"""Which of an event's two times decides whether it may be seen."""

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


def diff(
    order_sn: str,
    history: Sequence[Recorded],
    book: RuleBook,
    since: int | datetime,
    until: int | datetime,
    by: By = "as_of",
    skus: Callable[[datetime], Mapping[str, Sku]] = lambda at: {},
    *,
    as_of: datetime | None = None,
    known_at: datetime | None = None,
) -> OrderDiff:
    """The changes between two versions, or between two times: ``by`` what had happened, or what the log knew.

    The other of an event's two times may be held at both moments: ``known_at`` shows what happened between two
    times by what was known then, ``as_of`` what was learned between two times or versions of how things stood then.

    Every event is judged at the first moment, so what an event changed and what time changed stay apart. ``skus``
    gives the SKUs that the order was applied for as they stood at a moment; what became of them counts as time.
    """
    history = visible(history, as_of=as_of, known_at=known_at)
    if isinstance(since, datetime) and isinstance(until, datetime):
        first, last = _seen(history, by, since), _seen(history, by, until)
        begun, ended = skus(since), skus(until)
        begin, end = (as_of, as_of) if as_of else (since, until)
    else:
        first = [recorded for recorded in history if recorded.version <= int(str(since))]
        last = [recorded for recorded in history if recorded.version <= int(str(until))]
        begin = end = as_of or max([recorded.occurred_at for recorded in last or history], default=END_OF_TIME)
        begun = ended = skus(begin)
    known = {recorded.version for recorded in first}
    seen = list(first)
    before = _fields(order_sn, seen, book, begin, begun)
    changes: list[Change] = []
    for recorded in last:
        if recorded.version in known:
            continue
        seen = sorted([*seen, recorded], key=lambda event: event.version)
        after = _fields(order_sn, seen, book, begin, begun)
        changes += _changes(before, after, recorded)
        before = after
    changes += _changes(before, _fields(order_sn, last, book, end, ended), None)
    return OrderDiff(order_sn, since, until, by, as_of, known_at, tuple(changes))


def _seen(history: Sequence[Recorded], by: By, at: datetime) -> list[Recorded]:
    return visible(history, as_of=at) if by == "as_of" else visible(history, known_at=at)


def _fields(
    order_sn: str, history: Sequence[Recorded], book: RuleBook, at: datetime, skus: Mapping[str, Sku]
) -> dict[str, Any]:
    if not history:
        return {}
    shown = msgspec.to_builtins(view(fold(order_sn, history), book, at, Around(skus)))
    return {name: value for name, value in shown.items() if name not in _NOT_COMPARED}


def _changes(before: dict[str, Any], after: dict[str, Any], cause: Recorded | None) -> list[Change]:
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
