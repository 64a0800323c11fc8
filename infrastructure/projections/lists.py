"""Reading the views: bounded pages by key, never by offset.

Each page goes on behind the last row's sorting key. Whatever depends on the moment of asking is
compared here: a deadline's state, a violation's standing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeVar

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from domain.order.view import DeadlineView, ViolationView
from domain.rules.deadlines import Deadline, DeadlineKind, DeadlineState
from domain.rules.ruleset import ViolationKind
from domain.rules.violations import AppealView
from infrastructure.projections.views import FAR_FUTURE, OrderSummary

OrderSort = Literal["ship_by", "-placed_at"]
Key = tuple[Any, ...]

_summary = msgspec.json.Decoder(OrderSummary)
_appeal = msgspec.json.Decoder(AppealView)


class ListedDeadline(DeadlineView, frozen=True, kw_only=True, omit_defaults=True):
    """A deadline with the order it belongs to."""

    order_sn: str


class ListedViolation(ViolationView, frozen=True, kw_only=True, omit_defaults=True):
    """A violation with the order it belongs to."""

    order_sn: str

    @classmethod
    def of(cls, violation: ViolationView, order_sn: str) -> Self:
        return cls(**msgspec.structs.asdict(violation), order_sn=order_sn)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and the key behind which the next page begins; ``None`` when there is no more."""

    items: list[T]
    next_key: Key | None


async def list_orders(
    connection: AsyncConnection[TupleRow],
    shop_id: str,
    at: datetime,
    limit: int,
    after: Key | None = None,
    *,
    sort: OrderSort = "ship_by",
    status: str | None = None,
    locked: bool | None = None,
    sku_id: str | None = None,
    due_before: datetime | None = None,
    violation: ViolationKind | None = None,
) -> Page[OrderSummary]:
    """Orders of a shop, by ship-by (those without one last) or newest first.

    ``due_before`` finds orders that still wait for a tracking number and must have one before then;
    ``violation`` those on which such a violation stands at ``at`` and counts.
    """
    where = [sql.SQL("o.shop_id = %(shop_id)s")]
    if status is not None:
        where.append(sql.SQL("o.status = %(status)s"))
    if locked is not None:
        where.append(sql.SQL("o.locked") if locked else sql.SQL("NOT o.locked"))
    if sku_id is not None:
        where.append(sql.SQL("o.sku_ids @> ARRAY[%(sku_id)s::text]"))
    if due_before is not None:
        where.append(sql.SQL("o.open_ship_by < %(due_before)s"))
    if violation is not None:
        where.append(
            sql.SQL(
                """EXISTS (SELECT FROM violation_list v WHERE v.shop_id = o.shop_id AND v.order_sn = o.order_sn
                   AND v.kind = %(violation)s AND v.stands_from <= %(at)s AND NOT v.overturned)"""
            )
        )
    key = ("ship_by_key", "order_sn") if sort == "ship_by" else ("placed_at", "order_sn")
    descending = sort == "-placed_at"
    parameters = {
        "shop_id": shop_id,
        "status": status,
        "sku_id": sku_id,
        "due_before": due_before,
        "violation": violation,
        "at": at,
    }
    return await _page(
        connection,
        sql.SQL("o.summary"),
        sql.SQL("order_list o"),
        where,
        tuple(sql.Identifier("o", column) for column in key),
        parameters,
        limit,
        after,
        lambda row: _summary.decode(row[0]),
        descending=descending,
    )


async def list_deadlines(
    connection: AsyncConnection[TupleRow],
    shop_id: str,
    at: datetime,
    limit: int,
    after: Key | None = None,
    *,
    kind: DeadlineKind | None = None,
    due_before: datetime | None = None,
    state: DeadlineState | None = None,
) -> Page[ListedDeadline]:
    """Deadlines of a shop by when they are due, with their state at ``at``; those of unknown time last."""
    where = [sql.SQL("d.shop_id = %(shop_id)s")]
    if kind is not None:
        where.append(sql.SQL("d.kind = %(kind)s"))
    if due_before is not None:
        where.append(sql.SQL("d.due_key < %(due_before)s"))
    if state == "pending":
        where.append(sql.SQL("(d.settled = 'pending' OR (d.settled IS NULL AND d.due_key >= %(at)s))"))
    elif state == "missed":
        where.append(sql.SQL("(d.settled = 'missed' OR (d.settled IS NULL AND d.due_key < %(at)s))"))
    elif state is not None:
        where.append(sql.SQL("d.settled = %(state)s"))

    def listed(row: Sequence[Any]) -> ListedDeadline:
        kind, due_key, met_at, settled, tracking_number, order_sn = row[:6]
        due_at = None if due_key == FAR_FUTURE else due_key
        deadline = Deadline(kind, due_at, met_at, settled, tracking_number)
        return ListedDeadline(kind, due_at, met_at, deadline.state(at), tracking_number, order_sn=order_sn)

    return await _page(
        connection,
        sql.SQL("d.kind, d.due_key, d.met_at, d.settled, d.tracking_number, d.order_sn"),
        sql.SQL("deadline_list d"),
        where,
        tuple(sql.Identifier("d", column) for column in ("due_key", "order_sn", "number")),
        {"shop_id": shop_id, "kind": kind, "due_before": due_before, "state": state, "at": at},
        limit,
        after,
        listed,
    )


async def list_violations(
    connection: AsyncConnection[TupleRow],
    shop_id: str,
    at: datetime,
    limit: int,
    after: Key | None = None,
    *,
    kind: ViolationKind | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Page[ListedViolation]:
    """Violations of a shop that stand at ``at``, by when they arose: from ``since`` on and before ``until``."""
    where = [sql.SQL("v.shop_id = %(shop_id)s AND v.stands_from <= %(at)s AND v.arose_at <= %(at)s")]
    if kind is not None:
        where.append(sql.SQL("v.kind = %(kind)s"))
    if since is not None:
        where.append(sql.SQL("v.arose_at >= %(since)s"))
    if until is not None:
        where.append(sql.SQL("v.arose_at < %(until)s"))

    def listed(row: Sequence[Any]) -> ListedViolation:
        violation_id, kind, cause, arose_at, penalty_fen, rule, appeal, order_sn = row[:8]
        return ListedViolation(
            violation_id,
            kind,
            cause,
            arose_at,
            penalty_fen,
            rule,
            _appeal.decode(appeal) if appeal else None,
            order_sn=order_sn,
        )

    return await _page(
        connection,
        sql.SQL("v.violation_id, v.kind, v.cause, v.arose_at, v.penalty_fen, v.rule, v.appeal, v.order_sn"),
        sql.SQL("violation_list v"),
        where,
        tuple(sql.Identifier("v", column) for column in ("arose_at", "violation_id")),
        {"shop_id": shop_id, "kind": kind, "since": since, "until": until, "at": at},
        limit,
        after,
        listed,
    )


async def _page(
    connection: AsyncConnection[TupleRow],
    columns: sql.Composable,
    table: sql.Composable,
    where: list[sql.SQL],
    key: tuple[sql.Identifier, ...],
    parameters: dict[str, Any],
    limit: int,
    after: Key | None,
    item: Callable[[Sequence[Any]], T],
    *,
    descending: bool = False,
) -> Page[T]:
    """One page of a table in the order of ``key``, which must be unique; one row more tells if there is a next."""
    conditions: list[sql.Composable] = [*where]
    if after is not None:
        names = [f"key_{n}" for n in range(len(key))]
        parameters |= dict(zip(names, after, strict=True))
        conditions.append(
            sql.SQL("({}) {} ({})").format(
                sql.SQL(", ").join(key),
                sql.SQL("<" if descending else ">"),
                sql.SQL(", ").join(sql.Placeholder(name) for name in names),
            )
        )
    direction = sql.SQL(" DESC") if descending else sql.SQL("")
    query = sql.SQL("SELECT {}, {} FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
        columns,
        sql.SQL(", ").join(key),
        table,
        sql.SQL(" AND ").join(conditions),
        sql.SQL(", ").join(column + direction for column in key),
        sql.Literal(limit + 1),
    )
    cursor = connection.cursor(binary=True)
    await cursor.execute(query, parameters)
    rows = await cursor.fetchall()
    shown = rows[:limit]
    next_key = tuple(shown[-1][-len(key) :]) if len(rows) > limit else None
    return Page([item(row) for row in shown], next_key)
