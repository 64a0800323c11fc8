"""The deadlines of a shop as they are now, from the view and from the open stockout cases.

``domain.order.filters`` defines which deadlines a filter means. The SQL repeats it, so that an index can serve it.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from heapq import merge
from typing import Self

import msgspec
from psycopg import sql
from psycopg.rows import TupleRow

from domain.order.deadlines import Deadline, DeadlineKind, DeadlineState
from domain.order.filters import DeadlineFilter
from domain.order.view import DeadlineView, deadline_view
from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import ReadConnection
from infrastructure.projections.view import FAR_FUTURE, View
from infrastructure.projections.views import APPLICATIONS, DEADLINES, DELISTINGS, RESERVATIONS
from infrastructure.projections.views.deadlines import DEADLINE_KINDS, ENDS, LANES
from infrastructure.queries.lists import rows_behind
from infrastructure.queries.paging import Cursor, Page, is_behind, page_of
from infrastructure.queries.stockout_cases import contacts_at_risk


def views_read(filter: DeadlineFilter) -> tuple[View, ...]:
    """The views that the list is read from: those of stockout cases only where orders at risk are listed."""
    of_cases = (APPLICATIONS, RESERVATIONS) if _lists_orders_at_risk(filter) else ()
    return (DEADLINES, DELISTINGS, *of_cases)


def _lists_orders_at_risk(filter: DeadlineFilter) -> bool:
    return filter.kind == "contact_buyer"


DeadlineKey = tuple[datetime, str, int]
"""When it is due, the order, and which of its deadlines."""


class ListedDeadline(DeadlineView, frozen=True, kw_only=True, omit_defaults=True):
    """A deadline with the order it belongs to."""

    order_sn: str

    @classmethod
    def of(cls, deadline: DeadlineView, order_sn: str) -> Self:
        return cls(**msgspec.structs.asdict(deadline), order_sn=order_sn)


async def list_deadlines(
    connection: ReadConnection,
    shop_id: str,
    at: datetime,
    filter: DeadlineFilter,
    limit: int,
    cursor: Cursor[DeadlineKey] | None = None,
    *,
    book: RuleBook,
) -> Page[ListedDeadline, DeadlineKey]:
    """Deadlines of a shop by when they are due, with their state at ``at``; those of unknown time last.

    No view has the ``contact_buyer`` of an order that is only at risk, because it depends on other orders. Who asks
    for deadlines of this kind gets it too. It is taken from the stockout cases, which cost more than a page of all
    kinds may.
    """
    lanes = [
        (LANES[each, end], since or "-infinity", until or "infinity", delisted)
        for each in ([filter.kind] if filter.kind else DEADLINE_KINDS)
        for end, since, until, delisted in _ends_of(each, filter.state, at.isoformat())
    ]
    where = [
        sql.SQL("d.shop_id = %(shop_id)s AND d.lane = l.lane AND d.due_key >= l.since AND d.due_key < l.until"),
        sql.SQL("(l.delisted IS NULL OR l.delisted = ({} IS NOT NULL))").format(_DELISTED_AT),
    ]
    if filter.due_before is not None:
        where.append(sql.SQL("d.due_key < %(due_before)s"))
    numbers, since, until, delisted = zip(*lanes, strict=True)

    def listed(row: TupleRow) -> ListedDeadline:
        kind, due_key, met_at, settled, tracking_number, order_sn, sku_id, supplier_id, delisted_at = row[:9]
        if delisted_at is not None:
            met_at, settled = delisted_at, "met"
        due_at = None if due_key == FAR_FUTURE else due_key
        state = Deadline(kind, due_at, met_at, settled).state(at)
        about = (tracking_number, sku_id, supplier_id)
        return ListedDeadline(kind, due_at, met_at, state, *about, order_sn=order_sn)

    rows = await rows_behind(
        connection,
        sql.SQL(
            "d.kind, d.due_key, d.met_at, d.settled, d.tracking_number, d.order_sn, d.sku_id, d.supplier_id, {}"
        ).format(_DELISTED_AT),
        "deadline_list",
        "d",
        where,
        ("due_key", "order_sn", "number"),
        {
            "shop_id": shop_id,
            "due_before": filter.due_before,
            "lanes": list(numbers),
            "since": list(since),
            "until": list(until),
            "delisted": list(delisted),
        },
        limit,
        cursor,
        lanes=sql.SQL(
            """unnest(%(lanes)s::smallint[], %(since)s::timestamptz[], %(until)s::timestamptz[],
               %(delisted)s::boolean[]) AS l(lane, since, until, delisted)"""
        ),
    )
    of_view: list[_Keyed] = [((row[-3], row[-2], row[-1]), listed(row)) for row in rows]
    of_cases = await _at_risk(connection, shop_id, book, at, filter)
    at_risk: list[_Keyed] = [keyed for keyed in of_cases if is_behind(_key(keyed), cursor)]
    backwards = cursor is not None and cursor.backwards
    at_risk.sort(key=_key, reverse=backwards)
    both = merge(of_view, at_risk[: limit + 1], key=_key, reverse=backwards)
    page = page_of([*both], limit, cursor, _key)
    return page.of(
        [
            each if isinstance(each, ListedDeadline) else ListedDeadline.of(deadline_view(each, at), key[1])
            for key, each in page.items
        ]
    )


_Keyed = tuple[DeadlineKey, ListedDeadline | Deadline]


def _key(keyed: _Keyed) -> DeadlineKey:
    return keyed[0]


async def _at_risk(
    connection: ReadConnection, shop_id: str, book: RuleBook, at: datetime, filter: DeadlineFilter
) -> list[_Keyed]:
    """The ``contact_buyer`` of every order at risk, one for each of its SKUs that ran out."""
    if not _lists_orders_at_risk(filter):
        return []
    places: Counter[str] = Counter()
    found: list[_Keyed] = []
    for order_sn, deadline in await contacts_at_risk(connection, shop_id, book):
        places[order_sn] += 1
        if filter.matches(deadline, at):
            found.append(((deadline.due_at or FAR_FUTURE, order_sn, _AT_RISK + places[order_sn]), deadline))
    return found


_AT_RISK = 1 << 16
"""Added to the number of a deadline that is not in the view. A number there is smaller."""


# When the SKU of a delist_sku was first off the shelf after the application; ``domain.order.deadlines.delist_sku``
# over rows of two kinds.
_DELISTED_AT = sql.SQL("""CASE WHEN d.sku_id IS NOT NULL THEN (
    SELECT min(x.delisted_at) FROM delisting_list x
    WHERE x.sku_id = d.sku_id AND x.shop_id = d.shop_id AND (x.relisted_at IS NULL OR x.relisted_at > d.since)
) END""")

_End = tuple[DeadlineState | None, str | None, str | None, bool | None]
"""An end, between which due times a deadline has it, and whether the SKU must be delisted, where that matters."""


def _ends_of(kind: DeadlineKind, state: DeadlineState | None, at: str) -> Sequence[_End]:
    """The ends a deadline in this state may have, with the due times between which it then is in it."""
    if state is None:
        return [(end, None, None, None) for end in ENDS]
    if kind == "delist_sku" and state == "met":
        return [(None, None, None, True), ("unknown", None, None, True)]
    delisted = False if kind == "delist_sku" else None
    if state == "pending":
        return [("pending", None, None, delisted), (None, at, None, delisted)]
    if state == "missed":
        return [("missed", None, None, delisted), (None, None, at, delisted)]
    return [(state, None, None, delisted)]
