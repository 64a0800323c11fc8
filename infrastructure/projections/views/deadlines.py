"""``deadlines``: every deadline of every order, with its due time and how it ended."""

from collections.abc import Iterable
from typing import get_args

from domain.order.deadlines import DeadlineKind, DeadlineState, deadlines
from domain.order.judged import Judged
from infrastructure.projections.view import FAR_FUTURE, Column, Index, Row, ViewOfOrders

DEADLINE_KINDS: tuple[DeadlineKind, ...] = get_args(DeadlineKind)
ENDS: tuple[DeadlineState | None, ...] = (None, *get_args(DeadlineState))

LANES = {(kind, end): n for n, (kind, end) in enumerate((kind, end) for kind in DEADLINE_KINDS for end in ENDS)}
"""A number for each kind and end. So one index by lane and due time serves every filter of the list."""


def rows(judged: Judged) -> Iterable[Row]:
    return [
        (
            number,
            deadline.kind,
            deadline.due_at or FAR_FUTURE,
            deadline.met_at,
            deadline.settled,
            deadline.tracking_number,
            LANES[deadline.kind, deadline.settled],
            deadline.sku_id,
            deadline.since,
            deadline.supplier_id,
        )
        for number, deadline in enumerate(deadlines(judged.order, judged.rules, judged.clocks), start=1)
    ]


DEADLINES = ViewOfOrders(
    name="deadlines",
    version=5,
    table="deadline_list",
    columns=(
        Column("number", "smallint"),
        Column("kind", "text"),
        Column("due_key", "timestamptz"),  # for sorting; the far future if unknown
        Column("met_at", "timestamptz", optional=True),
        Column("settled", "text", optional=True),  # the state once time can't change it; null: pending until due
        Column("tracking_number", "text", optional=True),
        Column("lane", "smallint"),
        # The SKU of a delist_sku. Such a deadline is never met here: delistings are in their own view.
        Column("sku_id", "text", optional=True),
        Column("since", "timestamptz", optional=True),
        Column("supplier_id", "text", optional=True),  # of a supplier_tracking
    ),
    key=("order_sn", "shop_id", "number"),
    indexes=(Index("by_lane", "(shop_id, lane, due_key, order_sn, number)"),),
    rows=rows,
)
