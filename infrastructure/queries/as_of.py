"""Lists of a shop as of a moment: by what had happened by then, by what the log knew then, or by both.

No view is asked: every order is folded from exactly the events that may be seen, and judged at that moment. What an
item of a list is, the views say (``rows``) and the domain.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

import msgspec

from domain.history import visible
from domain.kernel import ViolationKind
from domain.order.deadlines import DeadlineKind, DeadlineState, deadlines
from domain.order.fold import fold
from domain.order.state import Order
from domain.order.view import deadline_view, violation_view
from domain.order.violations import AppealState
from domain.rules.ruleset import RuleBook
from domain.sku.state import Sku
from infrastructure.database.pool import ReadConnection
from infrastructure.log.loading import read_orders
from infrastructure.log.log import positions_known_at, read_head
from infrastructure.log.replay import Task, replay, stretches
from infrastructure.log.streams import OF_ORDER
from infrastructure.projections.view import Judged
from infrastructure.projections.views import ORDERS
from infrastructure.queries.lists import WAITING, ListedDeadline, ListedViolation, OrderSummary, Page, summary_of
from infrastructure.queries.scanning import page_of

# From the log itself: a view may be behind, and an order may be told of long after what happened to it.
_NUMBERS = """
SELECT stream FROM event
WHERE shop_id = %(shop_id)s AND stream >= %(first)s AND stream < %(beyond)s AND version = 1
ORDER BY stream LIMIT %(limit)s
"""

T = TypeVar("T")


class Moment(NamedTuple):
    """What may be seen: what had happened by ``as_of``, what the log knew at ``known_at``, or what is both."""

    as_of: datetime | None = None
    known_at: datetime | None = None

    @property
    def judged_at(self) -> datetime:
        """Deadlines and violations are judged at ``as_of``, without it at ``known_at``."""
        at = self.as_of or self.known_at
        assert at is not None
        return at


class Seen(NamedTuple):
    """An order as it stood at a moment, judged, with the SKUs it was applied for as they stood then."""

    judged: Judged
    skus: Mapping[str, Sku]
    at: datetime

    @property
    def order(self) -> Order:
        return self.judged.order


async def orders_at(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    moment: Moment,
    limit: int,
    after: tuple[str, int] | None = None,
    *,
    status: str | None = None,
    locked: bool | None = None,
    sku_id: str | None = None,
    due_before: datetime | None = None,
    violation: ViolationKind | None = None,
) -> Page[OrderSummary]:
    """What ``lists.list_orders`` finds, at a moment; by order number."""
    columns = [column.name for column in ORDERS.columns]

    def found(seen: Seen) -> Sequence[OrderSummary]:
        (values,) = ORDERS.rows(seen.judged)
        row = dict(zip(columns, values, strict=True))
        stands_from = row[f"{violation}_from"] if violation else None
        meant = (
            status in (None, row["status"])
            and locked in (None, row["locked"])
            and (sku_id is None or sku_id in row["sku_ids"])
            and (due_before is None or (row["status"] in WAITING and row["ship_by_key"] < due_before))
            and (violation is None or (stands_from is not None and stands_from <= seen.at))
        )
        return [summary_of(seen.order.order_sn, row)] if meant else []

    return await _page(connection, shop_id, book, moment, limit, after, found)


async def deadlines_at(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    moment: Moment,
    limit: int,
    after: tuple[str, int] | None = None,
    *,
    kind: DeadlineKind | None = None,
    due_before: datetime | None = None,
    state: DeadlineState | None = None,
) -> Page[ListedDeadline]:
    """What ``lists.list_deadlines`` finds, at a moment; by order number, an order's in the order of its life."""

    def found(seen: Seen) -> Sequence[ListedDeadline]:
        order, rules, running, _ = seen.judged
        shown = [deadline_view(each, seen.at) for each in deadlines(order, rules, running, seen.skus)]
        return [
            ListedDeadline(**msgspec.structs.asdict(each), order_sn=order.order_sn)
            for each in shown
            if kind in (None, each.kind)
            and state in (None, each.state)
            and (due_before is None or (each.due_at is not None and each.due_at < due_before))
        ]

    return await _page(connection, shop_id, book, moment, limit, after, found)


async def violations_at(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    moment: Moment,
    limit: int,
    after: tuple[str, int] | None = None,
    *,
    kind: ViolationKind | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    appeal: AppealState | None = None,
) -> Page[ListedViolation]:
    """What ``lists.list_violations`` finds, at a moment; by order number, an order's as they arose."""

    def found(seen: Seen) -> Sequence[ListedViolation]:
        return [
            ListedViolation.of(violation_view(each), seen.order.order_sn)
            for each in seen.judged.violations
            if each.stands_from <= seen.at
            and each.arose_at <= seen.at
            and kind in (None, each.kind)
            and (since is None or each.arose_at >= since)
            and (until is None or each.arose_at < until)
            and appeal in (None, each.appeal_state)
        ]

    return await _page(connection, shop_id, book, moment, limit, after, found)


OnProgress = Callable[[int, int], None]
"""Told how many events are folded, and of how many."""


async def every_order_at(
    url: str, shop_id: str, moment: Moment, task: Task[T], on_progress: OnProgress = lambda done, total: None
) -> AsyncIterator[T]:
    """What a task makes of all orders of a shop as they could be seen, stretch by stretch, over all cores.

    Raises ``ReplayFailed``.
    """
    async with await ReadConnection.connect(url, autocommit=True) as connection:
        head = await read_head(connection, shop_id)
        if moment.known_at is not None:
            head = (await positions_known_at(connection, {shop_id: head}, moment.known_at))[shop_id]
        planned = await stretches(connection, shop_id, head)
    done, total = 0, sum(stretch.range.events for stretch in planned)
    async for replayed in replay(url, planned, task, as_of=moment.as_of):
        yield replayed.result
        done += replayed.events
        on_progress(done, total)


async def _page(
    connection: ReadConnection,
    shop_id: str,
    book: RuleBook,
    moment: Moment,
    limit: int,
    after: tuple[str, int] | None,
    found: Callable[[Seen], Sequence[T]],
) -> Page[T]:
    async def numbers_from(first: str, count: int) -> list[str]:
        prefix = OF_ORDER.prefix
        cursor = await connection.execute(
            _NUMBERS,
            {
                "shop_id": shop_id,
                "first": prefix + first,
                "beyond": prefix[:-1] + chr(ord(prefix[-1]) + 1),
                "limit": count,
            },
        )
        return [OF_ORDER.id_of(stream) for (stream,) in await cursor.fetchall()]

    async def items_of(numbers: Sequence[str]) -> dict[str, Sequence[T]]:
        as_of, known_at = moment
        items: dict[str, Sequence[T]] = {}
        for number, history in (await read_orders(connection, shop_id, numbers)).items():
            order = fold(number, visible(history.order, as_of=as_of, known_at=known_at))
            skus = history.skus_at(as_of=as_of, known_at=known_at)
            seen = Seen(Judged.by(book, order), skus, moment.judged_at)
            items[number] = found(seen) if order.version else ()
        return items

    return await page_of(limit, after, numbers_from, items_of)
