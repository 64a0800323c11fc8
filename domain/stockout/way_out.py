"""The ways out of an order that may not be shipped in time, and the price of each.

Each way adds its events to the order's; the rules then give its price. This file contains no rule, only what the
merchant can do and when. Sending something else to escape the fine is listed too: it is fraud, and costs more than
every honest way. Source: fraud-is-no-way-out.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from domain.calendar import INSTANT, ExpectedDecision, later
from domain.history import Recorded
from domain.kernel import Refusal
from domain.order import events as e
from domain.order.commands import RequestStockout
from domain.order.deadlines import clocks
from domain.order.decisions.closing import cannot_refund
from domain.order.decisions.shipping import cannot_ship
from domain.order.decisions.stockout import cannot_meet_conditions, cannot_request_stockout
from domain.order.fold import evolve
from domain.order.state import OUT_OF_STOCK, Order, Review
from domain.order.view import ViolationView, violation_view
from domain.order.violations import Violation, ladder
from domain.order.warnings import NO_RELATED_FACTS, OrderWarning, RelatedFacts, missed_conditions
from domain.rules.ruleset import RuleSet

Way = Literal[
    "ship_in_time", "ship_late", "apply_now", "apply_late", "await_review", "refund", "send_something_else"
]

_NUMBER = "(played)"


class Option(msgspec.Struct, frozen=True):
    """A way out, and what it costs.

    The price is that of acting at ``at``. ``until`` is the last time at which shipping or a refund costs the
    same; it is null if the price does not change, and if the platform decides when. ``violations`` are all
    violations that the order then has, with those that it has already. ``penalty_fen`` is their sum, null if one
    of them depends on a payment that is not known. It assumes that the platform approves an application at the
    late end of ``expected_decision``; ``earliest_decision_fen`` is the sum if it approves at the early end.
    ``because`` says why the way is not possible now. ``warnings`` are the platform's conditions that an
    application would miss. A way with ``never`` must never be taken; its price is shown all the same.
    """

    way: Way
    possible: bool
    at: datetime
    violations: tuple[ViolationView, ...]
    penalty_fen: int | None
    until: datetime | None = None
    because: str | None = None
    expected_decision: ExpectedDecision | None = None
    earliest_decision_fen: int | None = None
    never: bool = False
    warnings: tuple[OrderWarning, ...] = ()


class PricedWay(msgspec.Struct, frozen=True):
    """A way out as a list shows it."""

    way: Way
    possible: bool
    penalty_fen: int | None


class WayOut(msgspec.Struct, frozen=True):
    """What can be done about an order, the cheapest possible way first and what must never be done last.

    Without ``options`` nothing needs to be done, and ``because`` says why. ``standing_fen`` is what the order
    costs already, whatever is done.
    """

    order_sn: str
    at: datetime
    standing_fen: int | None
    options: tuple[Option, ...]
    because: str | None = None


def way_out(order: Order, rules: RuleSet, at: datetime, related_facts: RelatedFacts = NO_RELATED_FACTS) -> WayOut:
    """Every way out of an order at a moment; the related facts say which conditions an application would miss."""
    standing = _sum([v for v in ladder(order, rules) if v.stands_from <= at])
    if because := _needs_none(order):
        return WayOut(order.order_sn, at, standing, (), because)
    return WayOut(order.order_sn, at, standing, options(order, rules, at, related_facts))


def options(
    order: Order, rules: RuleSet, at: datetime, related_facts: RelatedFacts = NO_RELATED_FACTS
) -> tuple[Option, ...]:
    """The ways out of an order that is still to be shipped, none for another."""
    if _needs_none(order):
        return ()
    running = clocks(order, rules)
    due, deemed = running.upload.due_at, running.deemed.due_at
    in_time = due is None or at <= due
    ways = []
    if in_time:
        ways.append(_shipping(order, rules, "ship_in_time", at, due))
    if due is not None:
        late_at = max(at, later(due, INSTANT))
        until = deemed if deemed is not None and late_at <= deemed else None
        ways.append(_shipping(order, rules, "ship_late", late_at, until))
    if review := order.open_review:
        ways.append(_awaiting(order, review, rules, at))
    for way, filed_at in applications(order, rules, at).items():
        ways.append(_applying(order, rules, way, filed_at, related_facts))
    refunded = (e.OrderRefunded("merchant", OUT_OF_STOCK), at)
    ways.append(_option(order, rules, "refund", at, [refunded], cannot_refund(order), due if in_time else None))
    ways.sort(key=lambda option: (not option.possible, option.penalty_fen is None, option.penalty_fen or 0))
    ways.append(_fraud(order, rules, at))
    return tuple(ways)


def prices(
    order: Order, rules: RuleSet, at: datetime, related_facts: RelatedFacts = NO_RELATED_FACTS
) -> tuple[PricedWay, ...]:
    """What each way out costs, in the same order."""
    return tuple(
        [PricedWay(each.way, each.possible, each.penalty_fen) for each in options(order, rules, at, related_facts)]
    )


def applications(order: Order, rules: RuleSet, at: datetime) -> dict[Way, datetime]:
    """The ways out by a new application, and when each would be filed."""
    if _needs_none(order) or order.open_review:
        return {}
    filings: dict[Way, datetime] = {"apply_now": at}
    due = clocks(order, rules).upload.due_at
    if due is not None and at <= due:
        filings["apply_late"] = later(due, INSTANT)
    return filings


def _needs_none(order: Order) -> str | None:
    """Why there is nothing to get out of."""
    if order.group_formed_at is None and not order.is_closed:
        return "The group has not formed yet; no clock runs."
    if order.parcels:
        return "A tracking number is up."
    if order.is_closed or order.is_stocked_out:
        return f"The order is {order.status.replace('_', ' ')}; nothing is left to be decided."
    return None


def _shipping(order: Order, rules: RuleSet, way: Way, at: datetime, until: datetime | None) -> Option:
    """A tracking number goes up, and the carrier scans the parcel at once."""
    return _option(order, rules, way, at, _sent(at), cannot_ship(order), until)


def _applying(order: Order, rules: RuleSet, way: Way, at: datetime, related_facts: RelatedFacts) -> Option:
    applied = (e.StockoutRequested("oversold"), at)
    refusal = cannot_request_stockout(order)
    refusal = refusal or cannot_meet_conditions(RequestStockout(reason="oversold"), order, rules, at, related_facts)
    option = _decided(order, rules, way, at, [applied], rules.review.expected_decision(at), refusal)
    sku_ids = tuple(dict.fromkeys(line.sku_id for line in order.lines))
    missed = missed_conditions(order, sku_ids, at, rules, related_facts)
    return msgspec.structs.replace(option, warnings=tuple(missed))


def _awaiting(order: Order, review: Review, rules: RuleSet, at: datetime) -> Option:
    """The application is filed; the platform decides."""
    filed_at = review.requested_at if review.time_known else at
    return _decided(order, rules, "await_review", at, [], rules.review.expected_decision(filed_at), None)


def _decided(
    order: Order,
    rules: RuleSet,
    way: Way,
    at: datetime,
    before: Sequence[tuple[e.OrderEvent, datetime]],
    expected: ExpectedDecision,
    refusal: Refusal | None,
) -> Option:
    early, late = (
        _option(order, rules, way, at, [*before, (e.ReviewCompleted("approved"), max(at, decided_at))], refusal)
        for decided_at in (expected.earliest, expected.latest)
    )
    return msgspec.structs.replace(late, expected_decision=expected, earliest_decision_fen=early.penalty_fen)


def _fraud(order: Order, rules: RuleSet, at: datetime) -> Option:
    """Something else goes out, the buyer complains, the platform upholds it."""
    played = [
        *_sent(at),
        (e.ParcelComplaintFiled("different_goods"), at),
        (e.ParcelComplaintDecided("upheld"), at),
    ]
    because = "Sending an empty parcel or something else is fraud."
    return msgspec.structs.replace(
        _option(order, rules, "send_something_else", at, played, None), possible=False, because=because, never=True
    )


def _sent(at: datetime) -> list[tuple[e.OrderEvent, datetime]]:
    return [(e.TrackingUploaded(_NUMBER, _NUMBER), at), (e.ParcelPickedUp(_NUMBER), at)]


def _option(
    order: Order,
    rules: RuleSet,
    way: Way,
    at: datetime,
    played: Sequence[tuple[e.OrderEvent, datetime]],
    refusal: Refusal | None,
    until: datetime | None = None,
) -> Option:
    after = order
    for event, occurred_at in played:
        after = evolve(after, Recorded(event, after.version + 1, after.position, occurred_at, at))
    arising = ladder(after, rules)
    return Option(
        way=way,
        possible=refusal is None,
        at=at,
        violations=tuple([violation_view(violation) for violation in arising]),
        penalty_fen=_sum(arising),
        until=until,
        because=refusal.detail if refusal else None,
    )


def _sum(violations: Sequence[Violation]) -> int | None:
    """What violations cost together; ``None`` where one's price isn't known."""
    total = 0
    for violation in violations:
        if violation.counts:
            if violation.penalty_fen is None:
                return None
            total += violation.penalty_fen
    return total
