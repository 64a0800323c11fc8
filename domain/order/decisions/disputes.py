"""Disputes: the buyer complains of a parcel, the merchant appeals a violation, the platform decides both."""

from collections.abc import Sequence
from datetime import UTC, datetime

from domain.calendar import iso_seconds
from domain.kernel import EARLIEST, FURTHEST_DEADLINE, Refusal, too_early
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.action import Action, Decision, by_order
from domain.order.decisions.shipping import cannot_track
from domain.order.state import Order
from domain.order.violations import Violation, violations
from domain.rules.ruleset import RuleSet

# ---- file-complaint, decide-complaint ---------------------------------------------------------------


def cannot_complain(order: Order) -> Refusal | None:
    if order.open_complaint:
        return Refusal("complaint_already_open", "A complaint is waiting for its decision.")
    return cannot_track(order)


def file_complaint(command: c.FileComplaint, order: Order, rules: RuleSet, at: datetime) -> Decision:
    number = len(order.complaints) + 1
    return cannot_complain(order) or (e.ParcelComplaintFiled(command.finding, command.evidence, number),)


FILE_COMPLAINT = Action(
    c.FileComplaint,
    file_complaint,
    by_order(cannot_complain),
    summary="The buyer says that the parcel was empty or held something else.",
    example={"finding": "different_goods", "evidence": "photo 1"},
    refusals=("not_shipped", "complaint_already_open"),
    reports=True,
)


def cannot_decide_complaint(order: Order) -> Refusal | None:
    return None if order.open_complaint else _no_open_complaint()


def decide_complaint(command: c.DecideComplaint, order: Order, rules: RuleSet, at: datetime) -> Decision:
    complaint = order.open_complaint
    if complaint is None:
        return _no_open_complaint()
    if at < complaint.filed_at:
        return too_early("the complaint was filed", complaint.filed_at)
    return (e.ParcelComplaintDecided(command.outcome),)


DECIDE_COMPLAINT = Action(
    c.DecideComplaint,
    decide_complaint,
    by_order(cannot_decide_complaint),
    summary="The platform's decision: `upheld` or `dismissed`.",
    example={"outcome": "dismissed"},
    refusals=("no_open_complaint",),
    reports=True,
)


def _no_open_complaint() -> Refusal:
    return Refusal("no_open_complaint", "No complaint is open.")


# ---- appeal, decide-appeal --------------------------------------------------------------------------


def cannot_appeal(order: Order, standing: Sequence[Violation], at: datetime) -> Refusal | None:
    undisputed = [violation.appeal_by for violation in standing if violation.appeal is None]
    if not undisputed:
        return Refusal("unknown_violation", "No violation stands that was not appealed already.")
    return _too_late_to_appeal(max(undisputed)) if at > max(undisputed) else None


def appeal(command: c.AppealViolation, order: Order, rules: RuleSet, at: datetime) -> Decision:
    """Dispute a violation that stands; once only, and not too late. Source: appeal-once, appeal-window."""
    standing = violations(order, rules, at)
    disputed = next((each for each in standing if each.violation_id == command.violation_id), None)
    if disputed is None:
        return Refusal("unknown_violation", f"The order has no violation {command.violation_id}.")
    if disputed.appeal:
        return Refusal("already_appealed", "A violation can be appealed once.")
    own = command.appeal_by
    if own and not EARLIEST <= own <= at + FURTHEST_DEADLINE:
        return Refusal("invalid_request", "No appeal can be made for two years.", "/appeal_by")
    if at > (own or disputed.appeal_by):
        return _too_late_to_appeal(own or disputed.appeal_by)
    return (e.ViolationAppealed(command.violation_id, command.evidence, own.astimezone(UTC) if own else None),)


APPEAL = Action(
    c.AppealViolation,
    appeal,
    cannot_appeal,
    summary="申诉: dispute a violation, once.",
    example={
        "violation_id": "180831-481803633911509:late_shipment",
        "evidence": "carrier's pickup slip",
        "appeal_by": "2026-03-11T23:59:59+08:00",
    },
    refusals=("unknown_violation", "already_appealed", "appeal_too_late"),
)


def _too_late_to_appeal(appeal_by: datetime) -> Refusal:
    return Refusal("appeal_too_late", f"An appeal was taken until {iso_seconds(appeal_by.astimezone(UTC))}.")


def cannot_decide_appeal(order: Order) -> Refusal | None:
    if any(each.outcome is None for each in order.appeals):
        return None
    return Refusal("no_open_appeal", "No appeal is open.")


def decide_appeal(command: c.DecideAppeal, order: Order, rules: RuleSet, at: datetime) -> Decision:
    open_appeal = order.appeal(command.violation_id)
    if open_appeal is None or open_appeal.outcome is not None:
        return Refusal("no_open_appeal", f"No appeal against {command.violation_id} is open.")
    if at < open_appeal.appealed_at:
        return too_early("the appeal was made", open_appeal.appealed_at)
    return (e.AppealDecided(command.violation_id, command.outcome),)


DECIDE_APPEAL = Action(
    c.DecideAppeal,
    decide_appeal,
    by_order(cannot_decide_appeal),
    summary="The platform's decision: `upheld` or `overturned`.",
    example={"violation_id": "180831-481803633911509:late_shipment", "outcome": "overturned"},
    refusals=("no_open_appeal",),
    reports=True,
)
