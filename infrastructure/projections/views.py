"""The views of the log: each a table and a pure function from a folded order to its rows.

A view's rows never depend on the moment of asking, only on the order and its rules; so a live update
and a rebuild, which both call ``rows``, can't disagree. To add a view, declare it here and give it a
table in a migration, with ``shop_id`` and ``order_sn`` as its first two columns.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import msgspec

from domain.order.events import Line
from domain.order.state import Order, Status
from domain.order.view import ShipmentLock, shipment_lock
from domain.rules.deadlines import Clocks, clocks, deadlines, ship_by
from domain.rules.ruleset import RuleBook, RuleSet
from domain.rules.violations import ladder

Row = tuple[Any, ...]

_encode = msgspec.json.Encoder().encode

FAR_FUTURE = datetime(9999, 12, 31, tzinfo=UTC)
"""Stands for "no such time" in columns that are sorted by; it sorts last."""


class Judged(NamedTuple):
    """A folded order with the rules that govern it and the clocks they set."""

    order: Order
    rules: RuleSet
    clocks: Clocks

    @classmethod
    def by(cls, book: RuleBook, order: Order) -> Self:
        rules = book.governing(order)
        return cls(order, rules, clocks(order, rules))


class View(NamedTuple):
    """A projection: what its rows are, and where and as what they are stored.

    ``columns`` follow ``shop_id`` and ``order_sn``, each with its PostgreSQL type. ``rows`` gives, for
    one order, their values.
    """

    name: str
    table: str
    columns: tuple[tuple[str, str], ...]
    rows: Callable[[Judged], Iterable[Row]]


class OrderSummary(msgspec.Struct, frozen=True):
    """What a list shows of an order."""

    order_sn: str
    status: Status
    version: int
    position: int
    lines: tuple[Line, ...]
    paid_fen: int | None
    placed_at: datetime | None
    group_formed_at: datetime | None
    ship_by: datetime | None
    tracking_numbers: tuple[str, ...]
    shipment_lock: ShipmentLock
    anomalies: int


def order_rows(judged: Judged) -> Iterable[Row]:
    order, rules = judged.order, judged.rules
    due = ship_by(order, rules)
    upload = judged.clocks.upload
    is_open = order.group_formed_at is not None and upload.met_at is None and order.ending is None
    summary = OrderSummary(
        order_sn=order.order_sn,
        status=order.status,
        version=order.version,
        position=order.position,
        lines=order.lines,
        paid_fen=order.paid_fen,
        placed_at=order.placed_at,
        group_formed_at=order.group_formed_at,
        ship_by=due,
        tracking_numbers=tuple(parcel.tracking_number for parcel in order.current_parcels),
        shipment_lock=shipment_lock(order, rules),
        anomalies=len(order.anomalies),
    )
    yield (
        order.version,
        order.position,
        order.status,
        bool(order.holds),
        sorted({line.sku_id for line in order.lines}),
        upload.due_at if is_open else None,
        due or FAR_FUTURE,
        order.placed_at or FAR_FUTURE,
        _encode(summary),
    )


def deadline_rows(judged: Judged) -> Iterable[Row]:
    for number, deadline in enumerate(deadlines(*judged), start=1):
        yield (
            number,
            deadline.kind,
            deadline.due_at or FAR_FUTURE,
            deadline.met_at,
            deadline.settled,
            deadline.tracking_number,
        )


def violation_rows(judged: Judged) -> Iterable[Row]:
    for violation in ladder(*judged):
        yield (
            violation.violation_id,
            violation.kind,
            violation.cause,
            violation.arose_at,
            violation.stands_from,
            violation.penalty_fen,
            violation.rule,
            _encode(violation.appeal) if violation.appeal else None,
            not violation.counts,
        )


ORDERS = View(
    name="orders",
    table="order_list",
    columns=(
        ("version", "integer"),
        ("position", "bigint"),
        ("status", "text"),
        ("locked", "boolean"),
        ("sku_ids", "text[]"),
        ("open_ship_by", "timestamptz"),
        ("ship_by_key", "timestamptz"),
        ("placed_at", "timestamptz"),
        ("summary", "bytea"),
    ),
    rows=order_rows,
)

DEADLINES = View(
    name="deadlines",
    table="deadline_list",
    columns=(
        ("number", "smallint"),
        ("kind", "text"),
        ("due_key", "timestamptz"),
        ("met_at", "timestamptz"),
        ("settled", "text"),
        ("tracking_number", "text"),
    ),
    rows=deadline_rows,
)

VIOLATIONS = View(
    name="violations",
    table="violation_list",
    columns=(
        ("violation_id", "text"),
        ("kind", "text"),
        ("cause", "text"),
        ("arose_at", "timestamptz"),
        ("stands_from", "timestamptz"),
        ("penalty_fen", "bigint"),
        ("rule", "text"),
        ("appeal", "bytea"),
        ("overturned", "boolean"),
    ),
    rows=violation_rows,
)

VIEWS = (ORDERS, DEADLINES, VIOLATIONS)
"""Every live view; they move together, so that one list never contradicts another."""
