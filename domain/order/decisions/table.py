"""All actions of an order, and ``decide``: the laws that hold for every command."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from domain.calendar import iso_seconds
from domain.history import Recorded
from domain.kernel import Command, Refusal, RefusalCode, occurrence
from domain.order import commands
from domain.order.commands import Place
from domain.order.decisions import (
    bills,
    closing,
    disputes,
    holds,
    mistakes,
    placing,
    shipping,
    stockout,
    suppliers,
)
from domain.order.decisions.action import Action, Decision
from domain.order.events import HoldReleased, OrderEvent, OrderPlaced, ReviewCompleted
from domain.order.fold import fold
from domain.order.state import Order
from domain.order.warnings import NO_RELATED_FACTS, RelatedFacts
from domain.rules.ruleset import RuleBook

LONGEST_HISTORY = 5_000
"""How many events an order may have; a real one has some dozens."""

ACTIONS: Mapping[str, Action[Any]] = {
    "place": placing.PLACE,
    "pay": placing.PAY,
    "form-group": placing.FORM_GROUP,
    "fail-group": placing.FAIL_GROUP,
    "change-ship-by": placing.CHANGE_SHIP_BY,
    "upload-tracking": shipping.UPLOAD_TRACKING,
    "replace-tracking": shipping.REPLACE_TRACKING,
    "record-pickup": shipping.RECORD_PICKUP,
    "record-delivery": shipping.RECORD_DELIVERY,
    "confirm-receipt": shipping.CONFIRM_RECEIPT,
    "request-stockout": stockout.REQUEST_STOCKOUT,
    "complete-review": stockout.COMPLETE_REVIEW,
    "refund": closing.REFUND,
    "cancel": closing.CANCEL,
    "place-hold": holds.PLACE_HOLD,
    "release-hold": holds.RELEASE_HOLD,
    "contact-buyer": stockout.CONTACT_BUYER,
    "file-complaint": disputes.FILE_COMPLAINT,
    "decide-complaint": disputes.DECIDE_COMPLAINT,
    "appeal": disputes.APPEAL,
    "decide-appeal": disputes.DECIDE_APPEAL,
    "hand-to-supplier": suppliers.HAND_TO_SUPPLIER,
    "record-supplier-tracking": suppliers.RECORD_SUPPLIER_TRACKING,
    "record-supplier-stockout": suppliers.RECORD_SUPPLIER_STOCKOUT,
    "take-back-from-supplier": suppliers.TAKE_BACK_FROM_SUPPLIER,
    "record-charge": bills.RECORD_CHARGE,
    "record-return": bills.RECORD_RETURN,
    "withdraw-fact": mistakes.WITHDRAW_FACT,
}
"""By the name in the contract. ``Any`` stands for the action's own command: no two of them have the same."""

COMMON_REFUSALS: tuple[RefusalCode, ...] = ("invalid_request", "unknown_order", "history_full")
"""The codes that every action can be refused with; ``place`` alone needs no known order."""

_BY_COMMAND: Mapping[type[Command], Action[Any]] = {action.command: action for action in ACTIONS.values()} | {
    commands.RecordBilledCharge: bills.RECORD_CHARGE,
    commands.RecordBilledReturn: bills.RECORD_RETURN,
}

_OF_UNKNOWN_ORDERS = (Place, commands.RecordBilledCharge, commands.RecordBilledReturn)
"""What may come before an order is placed: the platform bills orders that the log does not have yet."""


def decide(
    history: Sequence[Recorded[OrderEvent]],
    order: Order,
    command: Command,
    book: RuleBook,
    now: datetime,
    related_facts: RelatedFacts = NO_RELATED_FACTS,
) -> tuple[Decision, datetime]:
    """Judge a command against an order; the decision, and when the command occurred.

    ``order`` is the fold of ``history``. A command that occurred before the order's latest event is judged twice:
    by what is known now, and by what had happened then. So nobody passes a lock by choosing a time, neither one
    that is in force now nor one that was in force then. What was so already at that time changes nothing. A report
    of what others did (``Action.reports``) is judged once, by what is known now.
    ``related_facts`` are facts of other orders and of SKUs. The conditions of a stockout application depend on
    them. An upload does not: its facts only cause warnings, when the order is shown.
    """
    if not order.is_placed and not isinstance(command, _OF_UNKNOWN_ORDERS):
        return Refusal("unknown_order", f"There is no order {order.order_sn} in this shop."), now
    if order.version >= LONGEST_HISTORY:
        return Refusal("history_full", f"The order has {order.version} events already."), now
    occurred_at = occurrence(command, order.last_occurred_at, now)
    if isinstance(occurred_at, Refusal):
        return occurred_at, now
    action = _BY_COMMAND[type(command)]
    rules = book.governing(order)
    decision = action.decide(command, order, rules, occurred_at)
    if action.conditions and not isinstance(decision, Refusal):
        decision = action.conditions(command, order, rules, occurred_at, related_facts) or decision
    is_backdated = order.last_occurred_at is not None and occurred_at < order.last_occurred_at
    if not is_backdated or isinstance(decision, Refusal) or not decision:
        return decision, occurred_at
    if action.reports:
        return _not_before_placed(history, occurred_at) or decision, occurred_at
    back_then = _decide_back_then(action, history, order.order_sn, command, book, occurred_at)
    if isinstance(back_then, Refusal):
        return back_then, now
    return (decision if back_then else ()), occurred_at


def _decide_back_then(
    action: Action[Any],
    history: Sequence[Recorded[OrderEvent]],
    order_sn: str,
    command: Command,
    book: RuleBook,
    occurred_at: datetime,
) -> Decision:
    """The decision on a backdated command by what had happened when it occurred."""
    order = fold(
        order_sn,
        (past for past in history if past.occurred_at <= occurred_at or _may_have_happened_earlier(past)),
    )
    if not order.is_placed:
        return _PLACED_LATER
    decision = action.decide(command, order, book.governing(order), occurred_at)
    if isinstance(decision, Refusal):
        detail = f"At {iso_seconds(occurred_at)}: {decision.detail}"
        return Refusal(decision.code, detail, decision.pointer)
    return decision


_PLACED_LATER = Refusal("invalid_request", "The order was placed later than that.", "/occurred_at")


def _not_before_placed(history: Sequence[Recorded[OrderEvent]], occurred_at: datetime) -> Refusal | None:
    """Nothing happens to an order that does not exist yet."""
    placed = next((past for past in history if isinstance(past.event, OrderPlaced)), None)
    if placed is None or placed.metadata.observed or occurred_at >= placed.occurred_at:
        return None
    return _PLACED_LATER


def _may_have_happened_earlier(past: Recorded[OrderEvent]) -> bool:
    """An event whose time is only an upper bound may have happened at any earlier time.

    The end of a lock is different: until the platform no longer showed the lock, it counts as in force.
    """
    return past.metadata.observed and not isinstance(past.event, ReviewCompleted | HoldReleased)
