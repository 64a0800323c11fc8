"""``violations``: every violation that arose, and every one that will arise if nothing more happens."""

from collections.abc import Iterable

import msgspec

from domain.order.judged import Judged
from domain.order.violations import AppealView
from infrastructure.projections.view import Column, Index, Row, ViewOfOrders

_encode = msgspec.json.Encoder().encode
decode_appeal = msgspec.json.Decoder(AppealView).decode


def rows(judged: Judged) -> Iterable[Row]:
    return [
        (
            violation.violation_id,
            violation.kind,
            violation.cause,
            violation.arose_at,
            violation.stands_from,
            violation.penalty_fen,
            violation.rule,
            violation.appeal_by,
            violation.appeal_state,
            _encode(violation.appeal) if violation.appeal else None,
        )
        for violation in judged.violations
    ]


VIOLATIONS = ViewOfOrders(
    name="violations",
    version=4,
    table="violation_list",
    columns=(
        Column("violation_id", "text"),
        Column("kind", "text"),
        Column("cause", "text", optional=True),
        Column("arose_at", "timestamptz"),
        Column("stands_from", "timestamptz"),  # it can be claimed from then on; in the future while the clock runs
        Column("penalty_fen", "bigint", optional=True),
        Column("rule", "text"),
        Column("appeal_by", "timestamptz"),
        Column("appeal_state", "text"),
        Column("appeal", "json", optional=True),
    ),
    key=("order_sn", "shop_id", "violation_id"),
    indexes=(
        Index("by_time", "(shop_id, arose_at, violation_id)"),
        Index("by_kind", "(shop_id, kind, arose_at, violation_id)"),
        Index("by_appeal", "(shop_id, appeal_state, arose_at, violation_id) WHERE appeal_state <> 'none'"),
    ),
    rows=rows,
)
