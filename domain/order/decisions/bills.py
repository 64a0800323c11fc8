"""Lines of the platform's bills. A line is a fact, whatever the order looks like."""

from datetime import datetime

from domain.calendar import iso_seconds
from domain.kernel import Refusal
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.action import Action, Decision, always_possible
from domain.order.state import Charge, Order
from domain.rules.ruleset import RuleSet


def record_charge(command: c.RecordCharge, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """The bill takes money for a violation. The same line again changes nothing."""
    charge = Charge(command.line_id, command.kind, command.amount_fen, at)
    if isinstance(command, c.RecordBilledCharge) and _is_recorded(order, command, charge):
        return ()
    if recorded := order.charge(command.line_id):
        return () if _is_same(recorded, charge, command) else _line_differs(recorded)
    return (e.PenaltyCharged(command.kind, command.amount_fen, command.line_id),)


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
    charge = Charge(command.line_id, None, command.amount_fen, at)
    if isinstance(command, c.RecordBilledReturn) and _is_recorded(order, command, charge):
        return ()
    if recorded := order.charge(command.line_id):
        return () if _is_same(recorded, charge, command) else _line_differs(recorded)
    return (e.PenaltyReturned(command.amount_fen, command.line_id),)


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


def _is_recorded(order: Order, command: c.RecordBilledCharge | c.RecordBilledReturn, charge: Charge) -> bool:
    """Whether a line without an id of its own is in the log already: as many equal ones as the bill has so far.

    A copy of the bill that a spreadsheet saved has lost seconds, and perhaps the ids. Its lines are the same.
    """
    if command.number is None:
        return False
    return order.equal_charges(charge.kind, charge.amount_fen, charge.at, command.within) >= command.number


def _is_same(recorded: Charge, charge: Charge, command: c.RecordCharge | c.RecordReturn) -> bool:
    """Whether the line with this id says what is recorded. One of two copies of a bill may have lost seconds."""
    if not isinstance(command, c.RecordBilledCharge | c.RecordBilledReturn):
        return recorded == charge
    return recorded.is_equal(charge.kind, charge.amount_fen, charge.at, command.within)


def _line_differs(charge: Charge) -> Refusal:
    kind = (charge.kind or "return").replace("_", " ")
    known = f"{kind} of {charge.amount_fen} fen at {iso_seconds(charge.at)}"
    return Refusal("line_already_told", f"Line {charge.line_id} of a bill was told already, as {known}.")
