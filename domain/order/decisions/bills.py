"""Lines of the platform's bills. A line is a fact, whatever the order looks like."""

from datetime import datetime

from domain.calendar import iso_seconds
from domain.kernel import Refusal
from domain.order import commands as c
from domain.order import events as e
from domain.order.commands import CONTENT_ID
from domain.order.decisions.action import Action, Decision, always_possible
from domain.order.state import Charge, Order
from domain.rules.ruleset import RuleSet


def record_charge(command: c.RecordCharge, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """The bill takes money for a violation. The same line again changes nothing."""
    before = _told_before(command, order, Charge(command.line_id, command.kind, command.amount_fen, at))
    return (e.PenaltyCharged(command.kind, command.amount_fen, command.line_id),) if before is None else before


RECORD_CHARGE = Action(
    c.RecordCharge,
    record_charge,
    always_possible,
    summary="A line of the platform's bill that takes money for a violation.",
    example={
        "kind": "late_shipment",
        "amount_fen": 300,
        "line_id": "20260306-000017",
        "occurred_at": "2026-03-06T03:00:00+08:00",
    },
    refusals=("line_already_told",),
    reports=True,
)


def record_return(command: c.RecordReturn, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """The bill gives money back. The same line again changes nothing."""
    before = _told_before(command, order, Charge(command.line_id, None, command.amount_fen, at))
    return (e.PenaltyReturned(command.amount_fen, command.line_id),) if before is None else before


RECORD_RETURN = Action(
    c.RecordReturn,
    record_return,
    always_possible,
    summary="申诉补回: a line that gives money back.",
    example={
        "amount_fen": 300,
        "line_id": "20260320-000004",
        "occurred_at": "2026-03-20T03:00:00+08:00",
    },
    refusals=("line_already_told",),
    reports=True,
)


def _told_before(command: c.RecordCharge | c.RecordReturn, order: Order, charge: Charge) -> Decision | None:
    """The decision about a line that is in the log already; ``None`` about a new one."""
    recorded = order.charge(command.line_id)
    if isinstance(command, c.RecordBilledCharge | c.RecordBilledReturn):
        is_same = recorded is not None and recorded.is_equal(
            charge.kind, charge.amount_fen, charge.at, command.within
        )
        if is_same or (recorded is None and _is_told_by_content(command, order, charge)):
            return ()
    elif recorded == charge:
        return ()
    return _line_differs(recorded) if recorded else None


def _is_told_by_content(command: c.RecordBilledCharge | c.RecordBilledReturn, order: Order, charge: Charge) -> bool:
    """Whether a line is in the log under another id, because one of two copies of the bill has lost its ids.

    Each line of a copy that equals this one to the minute stands for one of the equal lines in the log. A line with
    an id of its own stands for the one with this id, or else for one that has no id of its own.
    """
    equal = order.equal_charges(charge.kind, charge.amount_fen, charge.at, command.within)
    if CONTENT_ID.fullmatch(command.line_id):
        return len(equal) >= command.number
    by_content = sum(CONTENT_ID.fullmatch(each.line_id) is not None for each in equal)
    own_ids = {each.line_id for each in equal if not CONTENT_ID.fullmatch(each.line_id)}
    damaged_before = command.number - 1 - len(command.earlier_ids)
    taken = max(damaged_before - len(own_ids.difference(command.earlier_ids)), 0)
    taken += sum(line_id not in own_ids for line_id in command.earlier_ids)
    return by_content > taken


def _line_differs(charge: Charge) -> Refusal:
    kind = (charge.kind or "return").replace("_", " ")
    known = f"{kind} of {charge.amount_fen} fen at {iso_seconds(charge.at)}"
    return Refusal("line_already_told", f"Line {charge.line_id} of a bill was told already, as {known}.")
