"""Where the platform's bill for an order differs from what its rules say.

A bill names an order and a kind of violation, never the violation itself, so the two are compared kind by kind.
Money given back (申诉补回) names no kind at all: it is compared with what overturned violations had cost.
Source: appeal-return.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from domain.kernel import VIOLATION_KINDS, ViolationKind
from domain.order.state import Order
from domain.order.violations import Violation, violations
from domain.rules.ruleset import RuleSet

DifferenceKind = Literal[
    "charged_not_expected",
    "expected_not_charged",
    "cannot_tell",
    "amount_differs",
    "not_returned",
    "returned_not_expected",
]

Unattributed = Mapping[ViolationKind, datetime]
"""The latest charge of each kind that names no order: it may be for any order that broke that rule before."""


NOTHING_UNATTRIBUTED: Unattributed = {}


class Difference(msgspec.Struct, frozen=True):
    """Where the bill and the rules disagree about an order.

    ``kind`` is null where it is about money given back. ``expected_fen`` is what the rules say, ``billed_fen``
    what the bill does: charges, or for money given back what came back. ``difference_fen`` is how much the shop
    paid too much; negative, how much less than the rules say.
    """

    difference: DifferenceKind
    order_sn: str
    kind: ViolationKind | None
    expected_fen: int
    billed_fen: int
    difference_fen: int
    violation_ids: tuple[str, ...]
    line_ids: tuple[str, ...]


def differences(
    order: Order, rules: RuleSet, at: datetime, unattributed: Unattributed = NOTHING_UNATTRIBUTED
) -> tuple[Difference, ...]:
    """Every difference at a moment, by kind and what was given back last.

    Where charges of a kind name no order, nobody can tell whether a violation of that kind was charged.

    A violation whose price isn't known, for want of the payment, is expected at whatever was charged for it.
    One that was overturned may have been charged before; then as much is to come back.
    """
    standing = violations(order, rules, at)
    billed = [charge for charge in order.charges if charge.at <= at]
    by_kind = []
    to_return = 0
    for kind in VIOLATION_KINDS:
        of_kind = [violation for violation in standing if violation.kind == kind]
        lines = [charge for charge in billed if charge.kind == kind]
        charged = sum(charge.amount_fen for charge in lines)
        counting, overturned = _price(of_kind, counting=True), _price(of_kind, counting=False)
        if counting is None or overturned is None:
            if lines:
                continue
            counting, overturned = counting or 0, 0
        if charged != counting and charged == counting + overturned:
            to_return += overturned
            continue
        if charged == counting:
            continue
        by_kind.append(
            Difference(
                difference=_how(charged, of_kind, unattributed.get(kind)),
                order_sn=order.order_sn,
                kind=kind,
                expected_fen=counting,
                billed_fen=charged,
                difference_fen=charged - counting,
                violation_ids=tuple([violation.violation_id for violation in of_kind]),
                line_ids=tuple([charge.line_id for charge in lines]),
            )
        )
    return (*by_kind, *_returns(order, standing, to_return, at))


def _how(charged: int, of_kind: list[Violation], unattributed_at: datetime | None) -> DifferenceKind:
    if charged:
        return "amount_differs" if of_kind else "charged_not_expected"
    if unattributed_at is not None and any(violation.arose_at <= unattributed_at for violation in of_kind):
        return "cannot_tell"
    return "expected_not_charged"


def _price(of_kind: list[Violation], *, counting: bool) -> int | None:
    """What the violations that count, or those that were overturned, come to; ``None`` where it isn't known."""
    prices = [violation.penalty_fen for violation in of_kind if violation.counts is counting]
    return None if None in prices else sum(fen for fen in prices if fen is not None)


def _returns(order: Order, standing: tuple[Violation, ...], to_return: int, at: datetime) -> list[Difference]:
    lines = [charge for charge in order.charges if charge.kind is None and charge.at <= at]
    returned = sum(charge.amount_fen for charge in lines)
    if returned == to_return:
        return []
    overturned = [violation.violation_id for violation in standing if not violation.counts]
    return [
        Difference(
            difference="not_returned" if returned < to_return else "returned_not_expected",
            order_sn=order.order_sn,
            kind=None,
            expected_fen=to_return,
            billed_fen=returned,
            difference_fen=to_return - returned,
            violation_ids=tuple(overturned),
            line_ids=tuple([charge.line_id for charge in lines]),
        )
    ]
