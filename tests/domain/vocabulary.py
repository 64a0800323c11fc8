"""The words the domain's tests are written in.

``given(facts).when(command, at=...)`` judges a command; ``.then(...)``, ``.then_nothing()`` and
``.rejects(...)`` say what comes of it, and the first two hand the story on. ``.sees(snapshot)`` shows
the order what the platform shows; ``.at(moment)`` asks what the order looks like. Every test works on
the domain itself: no database, no clock, no stand-ins.

The stories play in the week of Monday, 2 March 2026, an ordinary one without holidays. The group
forms on Monday at nine in Beijing unless a test says otherwise, so the 48 hours end on Wednesday at
nine and three more days on Saturday at nine.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import msgspec
from msgspec.structs import replace

import domain.rules
from domain.calendar import BEIJING
from domain.history import Metadata, Recorded, Via
from domain.kernel import FURTHEST_DEADLINE, Command, GoodsType, Refusal, ViolationKind
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.table import decide
from domain.order.fold import fold
from domain.order.observations import observe
from domain.order.snapshot import Phase, Snapshot
from domain.order.state import Order
from domain.order.view import AllowedAction, DeadlineView, OrderView, ViolationView, view
from domain.rules.ruleset import ReviewRules, RuleBook, RuleSet

ORDER_SN = "260302-481803633911509"
MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)


def beijing(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    """A moment by the clock in Beijing, in UTC as the log keeps it."""
    return datetime(year, month, day, hour, minute, tzinfo=BEIJING).astimezone(UTC)


MONDAY_8 = beijing(2026, 3, 2, 8)
MONDAY_9 = beijing(2026, 3, 2, 9)
MONDAY_10 = beijing(2026, 3, 2, 10)
MONDAY_11 = beijing(2026, 3, 2, 11)
MONDAY_12 = beijing(2026, 3, 2, 12)
MONDAY_13 = beijing(2026, 3, 2, 13)
MONDAY_14 = beijing(2026, 3, 2, 14)
MONDAY_15 = beijing(2026, 3, 2, 15)
MONDAY_16 = beijing(2026, 3, 2, 16)
TUESDAY_9 = beijing(2026, 3, 3, 9)
WEDNESDAY_9 = beijing(2026, 3, 4, 9)
THURSDAY_9 = beijing(2026, 3, 5, 9)
FRIDAY_9 = beijing(2026, 3, 6, 9)
SATURDAY_9 = beijing(2026, 3, 7, 9)
SUNDAY_9 = beijing(2026, 3, 8, 9)
NEXT_MONDAY_9 = beijing(2026, 3, 9, 9)
NEXT_TUESDAY_9 = beijing(2026, 3, 10, 9)

FORMED = MONDAY_9
SHIP_BY = WEDNESDAY_9
DEEMED = SATURDAY_9


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def days(count: float) -> timedelta:
    return timedelta(days=count)


# ---- rules ------------------------------------------------------------------------------------------

RULES_2023 = (Path(domain.rules.__path__[0]) / "sets" / "pinduoduo-2023-01.toml").read_text(encoding="utf-8")
"""The rule set the stories are judged by, as it ships."""

BOOK = RuleBook.parse([RULES_2023])
RULES: RuleSet = BOOK.sets[0]


def book_where(**review: Any) -> RuleBook:
    """The shipped rules with other settings of a stockout review."""
    settings: ReviewRules = replace(RULES.review, **review)
    return RuleBook([replace(RULES, review=settings)])


# ---- facts ------------------------------------------------------------------------------------------


class Fact(NamedTuple):
    """An event with the moment it happened and how we know."""

    event: e.OrderEvent
    at: datetime
    metadata: Metadata = Metadata()

    def observed(self, via: Via = "export") -> "Fact":
        """The same event, but its moment is only the one by which it must have happened."""
        return self._replace(metadata=Metadata(via=via, observed=True))

    def reported_by(self, via: Via) -> "Fact":
        """The same event at its own time, learned from the platform."""
        return self._replace(metadata=Metadata(via=via))


def line(sku_id: str = "SKU-1", quantity: int = 1, unit_price_fen: int = 4_300) -> e.Line:
    return e.Line(sku_id, "GOODS-1", "棉袜 Cotton socks", quantity, unit_price_fen)


TWO_SKUS = (line("SKU-1", 2), line("SKU-2", 1))


def placed(
    *,
    at: datetime = MONDAY_8,
    paid_fen: int | None = 4_300,
    goods_type: GoodsType = "ordinary",
    lines: tuple[e.Line, ...] = (line(),),
) -> Fact:
    """Ordered, and unless ``paid_fen`` is ``None`` paid in the same breath."""
    return Fact(e.OrderPlaced(lines, goods_type, paid_fen), at)


def paid(paid_fen: int = 4_300, *, at: datetime = MONDAY_8) -> Fact:
    return Fact(e.OrderPaid(paid_fen), at)


def group_formed(*, at: datetime = FORMED, ship_by: datetime | None = None) -> Fact:
    return Fact(e.GroupFormed(ship_by), at)


def group_failed(*, at: datetime = MONDAY_9) -> Fact:
    return Fact(e.GroupFailed(), at)


def ship_by_changed(ship_by: datetime, *, at: datetime, reason: e.ShipByReason = "platform") -> Fact:
    return Fact(e.ShipByChanged(ship_by, reason), at)


def tracking_uploaded(
    number: str = "SF1",
    *,
    at: datetime = MONDAY_12,
    carrier: str = "SF",
    lines: tuple[e.ParcelLine, ...] = (),
    kind: e.ParcelKind = "order",
) -> Fact:
    return Fact(e.TrackingUploaded(carrier, number, lines, kind=kind), at)


def tracking_replaced(replaced: str, number: str, *, at: datetime, carrier: str = "SF") -> Fact:
    return Fact(e.TrackingReplaced(carrier, number, replaced, "label was torn"), at)


def picked_up(number: str = "SF1", *, at: datetime) -> Fact:
    return Fact(e.ParcelPickedUp(number), at)


def delivered(number: str = "SF1", *, at: datetime) -> Fact:
    return Fact(e.ParcelDelivered(number), at)


def receipt_confirmed(*, at: datetime) -> Fact:
    return Fact(e.ReceiptConfirmed(), at)


def stockout_requested(*, at: datetime = MONDAY_12, reason: e.StockoutReason = "no_supply") -> Fact:
    return Fact(e.StockoutRequested(reason), at)


def review_completed(outcome: e.ReviewOutcome, *, at: datetime) -> Fact:
    return Fact(e.ReviewCompleted(outcome), at)


def refunded(
    by: e.RefundInitiator = "buyer",
    reason: str = "changed_mind",
    *,
    at: datetime,
    amount_fen: int | None = None,
) -> Fact:
    return Fact(e.OrderRefunded(by, reason, amount_fen), at)


def cancelled(reason: str = "changed_mind", *, at: datetime) -> Fact:
    return Fact(e.OrderCancelled(reason), at)


def hold_placed(hold: e.HoldKind = "manual", *, at: datetime, reason: str = "address looks wrong") -> Fact:
    return Fact(e.HoldPlaced(hold, reason), at)


def hold_released(hold: e.HoldKind = "manual", *, at: datetime) -> Fact:
    return Fact(e.HoldReleased(hold, "cleared up"), at)


def buyer_contacted(*, at: datetime) -> Fact:
    return Fact(e.BuyerContacted("chat", "We are sorry: the socks are out of stock."), at)


def complaint_filed(finding: e.ComplaintFinding = "empty_parcel", *, at: datetime) -> Fact:
    return Fact(e.ParcelComplaintFiled(finding), at)


def complaint_decided(outcome: e.ComplaintOutcome, *, at: datetime) -> Fact:
    return Fact(e.ParcelComplaintDecided(outcome), at)


def appealed(kind: str, *, at: datetime) -> Fact:
    return Fact(e.ViolationAppealed(violation_id(kind)), at)


def appeal_decided(kind: str, outcome: e.AppealOutcome, *, at: datetime) -> Fact:
    return Fact(e.AppealDecided(violation_id(kind), outcome), at)


def handed_to_supplier(
    supplier_id: str = "S-17", *, at: datetime = MONDAY_10, expected: datetime | None = TUESDAY_9
) -> Fact:
    return Fact(e.HandedToSupplier(supplier_id, expected), at)


def supplier_out_of_stock(supplier_id: str = "S-17", *, at: datetime) -> Fact:
    return Fact(e.SupplierOutOfStock(supplier_id, "sold out"), at)


def taken_back_from_supplier(supplier_id: str = "S-17", *, at: datetime) -> Fact:
    return Fact(e.TakenBackFromSupplier(supplier_id, "too slow"), at)


def charged(kind: ViolationKind, amount_fen: int, *, at: datetime, line_id: str = "bill-1") -> Fact:
    return Fact(e.PenaltyCharged(kind, amount_fen, line_id), at)


def given_back(amount_fen: int, *, at: datetime, line_id: str = "bill-2") -> Fact:
    return Fact(e.PenaltyReturned(amount_fen, line_id), at)


def violation_id(kind: str) -> str:
    return f"{ORDER_SN}:{kind}"


def awaiting_shipment() -> tuple[Fact, Fact]:
    """An ordinary order: placed and paid on Monday at eight, its group formed at nine."""
    return placed(), group_formed()


def shown(
    phase: Phase,
    *,
    seen_at: datetime = TUESDAY_9,
    via: Literal["export", "poll", "push"] = "export",
    paid_fen: int | None = 4_300,
    paid_at: datetime | None = MONDAY_8,
    group_formed_at: datetime | None = FORMED,
    lines: tuple[e.Line, ...] = (line(),),
    **more: Any,
) -> Snapshot:
    """What the platform shows of the order: paid and its group formed unless a test says otherwise."""
    return Snapshot(
        order_sn=ORDER_SN,
        seen_at=seen_at,
        via=via,
        phase=phase,
        lines=lines,
        paid_fen=paid_fen,
        paid_at=paid_at,
        group_formed_at=group_formed_at,
        **{"under_review": False, "refund_pending": False} | more,
    )


# ---- given, when, then ------------------------------------------------------------------------------


def given(*facts: Fact | Iterable[Fact], under: RuleBook = BOOK) -> "Story":
    """What has happened, in the order it was learned. A ``Fact`` may stand alone or in a tuple of them."""
    story = Story((), under)
    for fact in facts:
        story = story.and_(*((fact,) if isinstance(fact, Fact) else fact))
    return story


def given_nothing(*, under: RuleBook = BOOK) -> "Story":
    return Story((), under)


class Story:
    """An order's history so far and the rules it is judged by."""

    def __init__(self, history: tuple[Recorded[e.OrderEvent], ...], book: RuleBook) -> None:
        self.history = history
        self.book = book

    @property
    def order(self) -> Order:
        return fold(ORDER_SN, self.history)

    @property
    def rules(self) -> RuleSet:
        return self.book.governing(self.order)

    def and_(self, *facts: Fact, learned_at: datetime | None = None) -> "Story":
        """The story with more facts; the log learned them at ``learned_at``, by default when they happened."""
        history = list(self.history)
        for fact in facts:
            version = len(history) + 1
            learned = max([learned_at or fact.at, *(recorded.recorded_at for recorded in history[-1:])])
            history.append(Recorded(fact.event, version, version, fact.at, learned, fact.metadata))
        return Story(tuple(history), self.book)

    def when(self, command: Command, *, at: datetime, recorded_at: datetime | None = None) -> "Outcome":
        """Give a command. With ``recorded_at`` it is given then, and says that it occurred ``at``."""
        now = recorded_at or at
        command = command if recorded_at is None else replace(command, occurred_at=at)
        decision, occurred_at = decide(self.history, self.order, command, self.book, now)
        return Outcome(self, decision, occurred_at, now)

    def sees(self, snapshot: Snapshot) -> "Sighting":
        """Show the order what the platform shows."""
        return Sighting(self, snapshot)

    def at(self, moment: datetime) -> "OrderAt":
        """The order as it looks at a moment, by all that is known."""
        return OrderAt(view(self.order, self.book, moment))

    def as_of(self, moment: datetime) -> "OrderAt":
        """The order as it looked at a moment, by what had happened until then."""
        return Story(tuple(past for past in self.history if past.occurred_at <= moment), self.book).at(moment)


class Outcome:
    """What came of a command."""

    def __init__(
        self, story: Story, decision: tuple[e.OrderEvent, ...] | Refusal, at: datetime, now: datetime
    ) -> None:
        self.story = story
        self.decision = decision
        self.occurred_at = at
        self.now = now

    def then(self, *events: e.OrderEvent, occurred_at: datetime | None = None) -> Story:
        """Exactly these events, at ``occurred_at`` if it is said; the story goes on after them."""
        assert self.decision == events
        if occurred_at is not None:
            assert self.occurred_at == occurred_at
        return self.story.and_(*(Fact(event, self.occurred_at) for event in events), learned_at=self.now)

    def then_nothing(self) -> Story:
        """It was so already."""
        assert self.decision == ()
        return self.story

    def rejects(
        self,
        code: str,
        *,
        hold: str | None = None,
        pointer: str | None = None,
        because: str | None = None,
    ) -> Story:
        """Refused with ``code``; ``hold`` is in force, ``pointer`` names the field, ``because`` is said."""
        assert isinstance(self.decision, Refusal), f"not refused: {self.decision}"
        assert self.decision.code == code, self.decision
        assert self.decision.detail
        if hold is not None:
            assert hold.replace("_", " ") in self.decision.detail
        assert self.decision.pointer == pointer
        if because is not None:
            assert because in self.decision.detail
        return self.story


class Sighting:
    """What a snapshot adds to a story."""

    def __init__(self, story: Story, snapshot: Snapshot) -> None:
        self.story = story
        self.snapshot = snapshot
        self.observations = observe(story.order, snapshot, story.book)

    def learns(self, *facts: Fact | e.OrderEvent) -> Story:
        """Exactly these: an event has only the snapshot's time, a ``Fact`` the time that the platform names."""
        expected = [
            (fact.event, fact.at, False) if isinstance(fact, Fact) else (fact, self.snapshot.seen_at, True)
            for fact in facts
        ]
        assert [(o.event, o.occurred_at, o.observed) for o in self.observations] == expected
        return self.story_after

    def learns_nothing(self) -> Story:
        assert self.observations == ()
        return self.story

    def learns_kinds(self, *kinds: type[e.Event]) -> Story:
        """Events of exactly these types, in this order."""
        assert [type(o.event) for o in self.observations] == list(kinds)
        return self.story_after

    @property
    def story_after(self) -> Story:
        """The story with what the snapshot shows; seeing the same again must add nothing."""
        story = self.story
        for observation in self.observations:
            metadata = Metadata(via=self.snapshot.via, observed=observation.observed, within=observation.within)
            story = story.and_(
                Fact(observation.event, observation.occurred_at, metadata), learned_at=self.snapshot.seen_at
            )
        again = observe(story.order, self.snapshot, story.book)
        assert again == (), f"the same snapshot again adds {again}"
        return story


class OrderAt:
    """The view of an order at a moment, and what a test expects of it."""

    def __init__(self, order: OrderView) -> None:
        self.view = order

    def shows(self, **fields: object) -> Self:
        """These fields of the order have these values."""
        actual = {name: getattr(self.view, name) for name in fields}
        assert actual == fields
        return self

    def is_locked_by(self, *holds: str) -> Self:
        assert [hold.hold for hold in self.view.shipment_lock.holds] == list(holds)
        assert self.view.shipment_lock.locked is bool(holds)
        return self

    def is_not_locked(self) -> Self:
        return self.is_locked_by()

    def has_violations(self, *kinds: str) -> Self:
        """Exactly these, in the order they arose; a stockout is written with its cause, ``stockout/deemed``."""
        assert [f"{v.kind}/{v.cause}" if v.cause else v.kind for v in self.view.violations] == list(kinds)
        return self

    def has_no_violations(self) -> Self:
        return self.has_violations()

    def violation(self, kind: str) -> ViolationView:
        return next(violation for violation in self.view.violations if violation.kind == kind)

    def has_violation(self, kind: str, **fields: object) -> Self:
        violation = self.violation(kind)
        assert {name: getattr(violation, name) for name in fields} == fields
        return self

    def deadline(self, kind: str, tracking_number: str | None = None) -> DeadlineView:
        matching = [
            deadline
            for deadline in self.view.deadlines
            if deadline.kind == kind and tracking_number in (None, deadline.tracking_number)
        ]
        assert matching, f"no deadline {kind} among {[deadline.kind for deadline in self.view.deadlines]}"
        assert len(matching) == 1, f"several {kind}"
        return matching[0]

    def has_deadline(self, kind: str, *, tracking_number: str | None = None, **fields: object) -> Self:
        deadline = self.deadline(kind, tracking_number)
        assert {name: getattr(deadline, name) for name in fields} == fields
        return self

    def has_no_deadline(self, kind: str) -> Self:
        assert kind not in {deadline.kind for deadline in self.view.deadlines}
        return self

    def has_anomalies(self, *codes: str) -> Self:
        assert [anomaly.code for anomaly in self.view.anomalies] == list(codes)
        return self

    def action(self, name: str) -> AllowedAction:
        return next(action for action in self.view.allowed_actions if action.action == name)

    def allows(self, *names: str) -> Self:
        for name in names:
            assert self.action(name).allowed, self.action(name)
        return self

    def forbids(self, name: str, *, because: str) -> Self:
        action = self.action(name)
        assert not action.allowed
        assert because in (action.because or "")
        return self

    @property
    def json(self) -> Mapping[str, Any]:
        """The order as a client gets it."""
        body: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(self.view))
        return body


# ---- commands as people say them --------------------------------------------------------------------

UPLOAD_SF1 = c.UploadTracking(carrier="SF", tracking_number="SF1")
REJECT = c.CompleteReview(outcome="rejected")
APPROVE = c.CompleteReview(outcome="approved")
REQUEST_STOCKOUT = c.RequestStockout(reason="no_supply")
PLACE_HOLD = c.PlaceHold(hold="manual", reason="address looks wrong")
RELEASE_HOLD = c.ReleaseHold(hold="manual", reason="cleared up")

ORDERED = c.OrderedLine("SKU-1", "GOODS-1", "棉袜 Cotton socks", 1, 4_300)
PLACE = c.Place(lines=(ORDERED,), paid_fen=4_300)


def upload(number: str, **contents: int) -> c.UploadTracking:
    """Hand over a parcel; ``SKU_1=2`` says that two pieces of ``SKU-1`` are in it."""
    lines = tuple(c.PackedLine(sku.replace("_", "-"), quantity) for sku, quantity in contents.items())
    return c.UploadTracking(carrier="SF", tracking_number=number, lines=lines)


def parcel(**contents: int) -> tuple[e.ParcelLine, ...]:
    return tuple(e.ParcelLine(sku.replace("_", "-"), quantity) for sku, quantity in contents.items())


def replace_with(number: str, replaces: str | None = None) -> c.ReplaceTracking:
    return c.ReplaceTracking(carrier="ZTO", tracking_number=number, reason="label was torn", replaces=replaces)


A_COMMAND_FOR: dict[str, Command] = {
    "place": PLACE,
    "pay": c.Pay(paid_fen=4_300),
    "form-group": c.FormGroup(),
    "fail-group": c.FailGroup(),
    "change-ship-by": c.ChangeShipBy(ship_by=FRIDAY_9, reason="platform"),
    "upload-tracking": UPLOAD_SF1,
    "replace-tracking": replace_with("ZT9"),
    "record-pickup": c.RecordPickup(),
    "record-delivery": c.RecordDelivery(),
    "confirm-receipt": c.ConfirmReceipt(),
    "request-stockout": REQUEST_STOCKOUT,
    "complete-review": REJECT,
    "refund": c.Refund(initiated_by="buyer", reason="changed_mind"),
    "cancel": c.Cancel(reason="changed_mind"),
    "place-hold": PLACE_HOLD,
    "release-hold": RELEASE_HOLD,
    "contact-buyer": c.ContactBuyer(channel="chat", message="We are on it."),
    "hand-to-supplier": c.HandToSupplier(supplier_id="S-17", expected_tracking_at=TUESDAY_9),
    "record-supplier-tracking": c.RecordSupplierTracking(carrier="SF", tracking_number="SF1"),
    "record-supplier-stockout": c.RecordSupplierStockout(reason="sold out"),
    "take-back-from-supplier": c.TakeBackFromSupplier(reason="too slow"),
    "file-complaint": c.FileComplaint(finding="empty_parcel"),
    "decide-complaint": c.DecideComplaint(outcome="upheld"),
    "appeal": c.AppealViolation(violation_id=violation_id("late_shipment")),
    "decide-appeal": c.DecideAppeal(violation_id=violation_id("late_shipment"), outcome="upheld"),
    "record-charge": c.RecordCharge(kind="late_shipment", amount_fen=300, line_id="bill-1"),
    "record-return": c.RecordReturn(amount_fen=300, line_id="bill-2"),
    "withdraw-fact": c.WithdrawFact(version=3, reason="the export was another shop's"),
}
"""A command for every action, which some order would take."""

ABSURD = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-12))),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-12))),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=14))),
    datetime(1970, 1, 1, tzinfo=UTC),
    FORMED - MICROSECOND,
    FORMED,
    FORMED + FURTHEST_DEADLINE + MICROSECOND,
]
"""Moments that make no sense as a ship-by of a group that formed at ``FORMED``."""

# ---- orders that tests begin with -------------------------------------------------------------------

SHIPPED = (*awaiting_shipment(), tracking_uploaded("SF1", at=MONDAY_12))
IN_REVIEW = (*awaiting_shipment(), stockout_requested(at=MONDAY_12))
