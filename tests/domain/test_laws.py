"""What must hold for every order, whatever is asked of it and whatever the platform shows.

Commands come at random, also told late; times lie on a grid of hours so that they often meet.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise, product
from typing import Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.history import Metadata, Recorded
from domain.kernel import Command, Refusal
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions.table import ACTIONS, decide
from domain.order.diff import diff
from domain.order.fold import evolve, fold
from domain.order.observations import observe
from domain.order.order_at import OrderAt, order_at
from domain.order.snapshot import Snapshot
from domain.order.state import Order
from domain.order.view import view
from domain.order.violations import ladder, violations
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint, visible
from tests.domain.vocabulary import (
    BOOK,
    MICROSECOND,
    MONDAY_8,
    ORDER_SN,
    TWO_SKUS,
    beijing,
    book_where,
    hours,
    line,
    violation_id,
)

FOREVER = beijing(9998, 1, 1)


def examples(usual: int) -> int:
    """The usual number of examples; fewer under a profile that gives a test fewer than 100."""
    return usual * settings().max_examples // 100


law = settings(
    deadline=None,
    max_examples=examples(200),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# ---- random lives -----------------------------------------------------------------------------------


class Step(NamedTuple):
    """A command, given ``later`` after the one before; told of a moment ``back`` before now, if at all."""

    command: Command
    later: timedelta
    back: timedelta | None


class Look(NamedTuple):
    """A look at the platform, ``later`` after the step before; ``back`` makes it a stale one."""

    snapshot: Snapshot
    later: timedelta
    back: timedelta


ORDERED = c.OrderedLine("SKU-1", "GOODS-1", "棉袜 Cotton socks", 1, 4_300)
PLACE = c.Place(lines=(ORDERED,), paid_fen=4_300)
PLACE_TWO = c.Place(
    lines=(replace(ORDERED, quantity=2), replace(ORDERED, sku_id="SKU-2")), paid_fen=4_300, goods_type="direct_mail"
)

SHIPPING: tuple[Command, ...] = (
    c.UploadTracking(carrier="SF", tracking_number="SF1"),
    c.UploadTracking(carrier="SF", tracking_number="SF1", lines=(c.PackedLine("SKU-1", 1),)),
    c.UploadTracking(carrier="ZTO", tracking_number="SF2", lines=(c.PackedLine("SKU-2", 1),)),
    c.ReplaceTracking(carrier="SF", tracking_number="SF2", reason="torn"),
    c.ReplaceTracking(carrier="SF", tracking_number="SF3", reason="torn", replaces="SF1"),
)
LOCKING: tuple[Command, ...] = (
    c.RequestStockout(reason="no_supply"),
    c.CompleteReview(outcome="rejected"),
    c.PlaceHold(hold="manual", reason="address"),
    c.ReleaseHold(hold="manual", reason="cleared"),
    c.PlaceHold(hold="risk_control", reason="bot"),
    c.ReleaseHold(hold="risk_control", reason="cleared"),
)
ENDING: tuple[Command, ...] = (
    c.CompleteReview(outcome="approved"),
    c.Refund(initiated_by="buyer", reason="changed_mind"),
    c.Refund(initiated_by="buyer", reason="changed_mind", amount_fen=2_150),
    c.Refund(initiated_by="merchant", reason="out_of_stock"),
    c.Refund(initiated_by="merchant", reason="out_of_stock", amount_fen=2_150),
    c.Cancel(reason="changed_mind"),
    c.Cancel(reason="out_of_stock"),
)
OTHERS: tuple[Command, ...] = (
    PLACE,
    c.Place(lines=(ORDERED,)),
    c.Pay(paid_fen=4_300),
    c.FormGroup(),
    c.FailGroup(),
    c.RecordPickup(),
    c.RecordPickup(tracking_number="SF1"),
    c.RecordDelivery(),
    c.ConfirmReceipt(),
    c.ContactBuyer(channel="chat", message="We are on it."),
    c.FileComplaint(finding="empty_parcel"),
    c.DecideComplaint(outcome="upheld"),
    c.AppealViolation(violation_id=violation_id("late_shipment")),
    c.AppealViolation(violation_id=violation_id("stockout")),
    c.DecideAppeal(violation_id=violation_id("late_shipment"), outcome="overturned"),
    c.RecordCharge(kind="late_shipment", amount_fen=300, line_id="bill-1"),
    c.RecordReturn(amount_fen=300, line_id="bill-2"),
)
SUPPLYING: tuple[Command, ...] = (
    c.HandToSupplier(supplier_id="S-17", expected_tracking_at=MONDAY_8 + hours(30)),
    c.HandToSupplier(supplier_id="S-18"),
    c.RecordSupplierTracking(carrier="SF", tracking_number="SF1"),
    c.RecordSupplierTracking(carrier="SF", tracking_number="SF4", lines=(c.PackedLine("SKU-1", 1),)),
    c.RecordSupplierStockout(reason="sold out"),
    c.TakeBackFromSupplier(reason="too slow"),
)
MOVING: tuple[Command, ...] = (
    c.ChangeShipBy(ship_by=MONDAY_8 + hours(30), reason="platform"),
    c.ChangeShipBy(ship_by=MONDAY_8 + hours(100), reason="festival"),
    c.ChangeShipBy(ship_by=MONDAY_8 + hours(200), reason="buyer_agreed"),
    c.FormGroup(ship_by=MONDAY_8 + hours(24)),
)

LATER = tuple(hours(h) for h in (0, 1, 1, 2, 2, 6, 12, 24, 48, 96))
LATE = tuple(hours(h) for h in (0, 1, 2, 3, 4, 6, 12, 24, 49, 96, 200))
AT_ONCE = (None,)
AT_ONCE_OR_LATE = (*AT_ONCE * len(LATE), *LATE)


@cache
def any_step(
    commands: Sequence[Command],
    later: Sequence[timedelta] = LATER,
    back: Sequence[timedelta | None] = AT_ONCE_OR_LATE,
) -> st.SearchStrategy[Step]:
    """Any of the commands at any of the times. It is one draw: three took most of these tests' time."""
    return st.sampled_from([Step(*parts) for parts in product(commands, later, back)])


beginnings = st.sampled_from(
    [
        (Step(PLACE, hours(0), None), Step(c.FormGroup(), hours(1), None)),
        (Step(PLACE_TWO, hours(0), None), Step(c.FormGroup(), hours(1), None)),
        (Step(PLACE, hours(0), None),),
        (Step(c.Place(lines=(ORDERED,)), hours(0), None),),
        (),
    ]
)


@st.composite
def lives(
    draw: st.DrawFn,
    commands: Sequence[Command] = (*SHIPPING, *LOCKING, *ENDING, *OTHERS, *SUPPLYING, *MOVING),
    told_late: bool = True,
    max_size: int = 14,
) -> list[Step]:
    """A beginning and then anything at all."""
    step = any_step(commands, back=AT_ONCE_OR_LATE if told_late else AT_ONCE)
    steps = draw(st.lists(step, max_size=max_size))
    return [*draw(beginnings), *steps]


seen_moments = st.sampled_from([None, None, None, *(MONDAY_8 + hours(h) for h in (0, 1, 3, 20, 60, 130))])
snapshots = st.builds(
    Snapshot,
    order_sn=st.just(ORDER_SN),
    seen_at=st.just(MONDAY_8),
    via=st.sampled_from(["export", "poll", "push"]),
    phase=st.sampled_from(
        [
            "pending_payment",
            "pending_group",
            "awaiting_shipment",
            "awaiting_shipment",
            "stockout_applied",
            "stockout_applied",
            "shipped",
            "shipped",
            "received",
            "received",
            "cancelled",
        ]
    ),
    lines=st.sampled_from([(line(),), (replace(line(), sku_code="A-1"),), TWO_SKUS]),
    paid_fen=st.sampled_from([None, 4_300, 4_300, 4_200]),
    paid_at=seen_moments,
    group_formed_at=seen_moments,
    ship_by=seen_moments,
    shipped_at=seen_moments,
    carrier=st.sampled_from([None, "SF"]),
    tracking_number=st.sampled_from([None, None, "SF1", "SF2", "SF9"]),
    received_at=seen_moments,
    refunded=st.sampled_from([False, False, False, True]),
    refund_pending=st.booleans(),
    under_review=st.booleans(),
)
"""Anything the platform might show, sensible or not."""

looks = st.builds(Look, snapshots, st.sampled_from(LATER), st.sampled_from([hours(h) for h in (0, 0, 0, 1, 5, 30)]))


steps_and_looks = st.lists(st.one_of(any_step((*SHIPPING, *LOCKING, *ENDING, *OTHERS, *MOVING)), looks), max_size=9)


@st.composite
def observed_lives(draw: st.DrawFn) -> list[Step | Look]:
    """Commands and looks at the platform, mixed."""
    return [*draw(beginnings), *draw(steps_and_looks)]


class Life(NamedTuple):
    """What came of the steps: the history, the order evolved step by step, and the last moment."""

    history: tuple[Recorded[e.OrderEvent], ...]
    order: Order
    now: datetime


def lived(steps: Sequence[Step | Look], book: RuleBook = BOOK) -> Life:
    history: list[Recorded[e.OrderEvent]] = []
    order = Order(ORDER_SN)
    now = MONDAY_8
    for step in steps:
        now += step.later
        found: list[tuple[e.OrderEvent, datetime, Metadata]] = []
        if isinstance(step, Look):
            snapshot = replace(step.snapshot, seen_at=now - step.back)
            found = [
                (seen.event, seen.occurred_at, Metadata(via=snapshot.via, observed=seen.observed))
                for seen in observe(order, snapshot, book)
            ]
        else:
            told = step.command if step.back is None else replace(step.command, occurred_at=now - step.back)
            decision, occurred_at = decide(history, order, told, book, now)
            if not isinstance(decision, Refusal):
                found = [(event, occurred_at, Metadata()) for event in decision]
        for event, occurred_at, metadata in found:
            version = len(history) + 1
            recorded = Recorded(event, version, version, occurred_at, now, metadata)
            history.append(recorded)
            order = evolve(order, recorded)
    return Life(tuple(history), order, now)


# ---- 1. replay --------------------------------------------------------------------------------------


@law
@given(observed_lives())
def test_any_history_replays_to_the_same_order(steps: list[Step | Look]) -> None:
    life = lived(steps)
    assert fold(ORDER_SN, life.history) == life.order
    assert life.order.version == len(life.history)


# ---- 2. the lock ------------------------------------------------------------------------------------

_SHIPS = e.TrackingUploaded | e.TrackingReplaced

REQUEST, REJECT, PLACE_HOLD, RELEASE_HOLD = LOCKING[:4]
UPLOAD, REPLACE = SHIPPING[0], SHIPPING[3]
formed = (Step(PLACE, hours(0), None), Step(c.FormGroup(), hours(1), None))
A_FEW_HOURS = (hours(1), hours(2))


def locks_and_a_shipment(lock: Command, unlock: Command) -> st.SearchStrategy[list[Step]]:
    """Locked and unlocked in turn, then shipped: each told at once or of a moment some hours ago."""
    told = (*AT_ONCE * 8, *(hours(h) for h in range(1, 9)))
    when = st.sampled_from(list(product(A_FEW_HOURS, told)))
    return st.builds(
        lambda turns, shipments: [
            *formed,
            *(Step((lock, unlock)[number % 2], *turn) for number, turn in enumerate(turns)),
            *shipments,
        ],
        st.lists(when, min_size=1, max_size=6),
        st.lists(any_step((UPLOAD, UPLOAD, REPLACE, lock, unlock), A_FEW_HOURS, told), min_size=1, max_size=4),
    )


shipping_lives = st.one_of(
    locks_and_a_shipment(REQUEST, REJECT),
    locks_and_a_shipment(PLACE_HOLD, RELEASE_HOLD),
    lives(commands=(*SHIPPING, *LOCKING, *LOCKING), max_size=14),
)


@settings(law, max_examples=examples(400))
@given(shipping_lives)
def test_nothing_is_ever_shipped_while_a_lock_is_in_force(steps: list[Step]) -> None:
    """In the order in which the log learned it."""
    order = Order(ORDER_SN)
    for recorded in lived(steps).history:
        if isinstance(recorded.event, _SHIPS):
            assert order.holds == (), f"{recorded.event} in spite of {order.holds}"
        order = evolve(order, recorded)


@settings(law, max_examples=examples(600))
@given(shipping_lives)
def test_nothing_was_ever_shipped_between_an_application_and_its_decision(steps: list[Step]) -> None:
    """In the order in which it happened in the world, whatever was told when."""
    history = lived(steps).history
    for asked, decided in reviews_of(history):
        assert decided is None or asked.occurred_at <= decided.occurred_at, "decided before it was asked for"
        for shipped in history:
            if isinstance(shipped.event, _SHIPS) and shipped.occurred_at > asked.occurred_at:
                assert decided is not None, f"{shipped} in an open review"
                assert shipped.occurred_at >= decided.occurred_at, f"{shipped} in a review"


@settings(law, max_examples=examples(600))
@given(locks_and_a_shipment(PLACE_HOLD, RELEASE_HOLD))
def test_nothing_is_ever_shipped_between_a_hold_the_log_knew_and_its_release(steps: list[Step]) -> None:
    """A hold told only after the shipment could not stop it; one that was known must."""
    history = lived(steps).history
    for placed, released in pairs_of(history, e.HoldPlaced, e.HoldReleased):
        assert released is None or placed.occurred_at <= released.occurred_at, "released before it was placed"
        for shipped in history:
            if isinstance(shipped.event, _SHIPS) and shipped.version > placed.version:
                assert released is not None, f"{shipped} in spite of a hold"
                assert not placed.occurred_at < shipped.occurred_at < released.occurred_at, f"{shipped} in a hold"


@settings(law, max_examples=examples(300))
@given(locks_and_a_shipment(REQUEST, REJECT))
def test_reviews_never_overlap(steps: list[Step]) -> None:
    spans = sorted(
        (asked.occurred_at, decided.occurred_at if decided else FOREVER)
        for asked, decided in reviews_of(lived(steps).history)
    )
    for (_, end), (begin, _) in pairwise(spans):
        assert end <= begin


def reviews_of(
    history: Sequence[Recorded[e.OrderEvent]],
) -> list[tuple[Recorded[e.OrderEvent], Recorded[e.OrderEvent] | None]]:
    """Every application with its decision, as the log pairs them."""
    return pairs_of(history, e.StockoutRequested, e.ReviewCompleted)


def pairs_of(
    history: Sequence[Recorded[e.OrderEvent]], begins: type[e.Event], ends: type[e.Event]
) -> list[tuple[Recorded[e.OrderEvent], Recorded[e.OrderEvent] | None]]:
    pairs: list[tuple[Recorded[e.OrderEvent], Recorded[e.OrderEvent] | None]] = []
    for recorded in history:
        if isinstance(recorded.event, begins):
            pairs.append((recorded, None))
        elif isinstance(recorded.event, ends):
            pairs[-1] = (pairs[-1][0], recorded)
    return pairs


# ---- 3. observe twice -------------------------------------------------------------------------------


@settings(law, max_examples=examples(400))
@given(observed_lives(), snapshots, st.sampled_from(LATER), st.sampled_from([hours(h) for h in (0, 0, 1, 5, 30)]))
def test_seeing_the_same_twice_is_seeing_it_once(
    steps: list[Step | Look], snapshot: Snapshot, after: timedelta, stale: timedelta
) -> None:
    life = lived(steps)
    shown = replace(snapshot, seen_at=life.now + after - stale)
    once = lived_on(life, shown)
    assert observe(once.order, shown, BOOK) == ()


@law
@given(observed_lives(), snapshots)
def test_nothing_the_platform_shows_is_ever_lost(steps: list[Step | Look], snapshot: Snapshot) -> None:
    """What it shows is in the history afterwards, or an anomaly says what contradicts it."""
    life = lived(steps)
    shown = replace(snapshot, seen_at=life.now + hours(1))
    order = lived_on(life, shown).order
    if shown.phase in ("shipped", "received"):
        assert order.parcels
        contradicted = {anomaly.seen for anomaly in order.anomalies if anomaly.code == "tracking_number_differs"}
        number = shown.tracking_number
        assert number is None or order.parcel(number) or number in contradicted
    if shown.refunded:
        assert order.full_refund
    if shown.phase == "cancelled":
        assert order.is_closed
    if shown.paid_fen is not None and order.paid_fen != shown.paid_fen:
        assert ("paid_differs", f"{shown.paid_fen} fen") in {(a.code, a.seen) for a in order.anomalies}


def lived_on(life: Life, shown: Snapshot) -> Life:
    history, order = list(life.history), life.order
    for seen in observe(order, shown, BOOK):
        version = len(history) + 1
        metadata = Metadata(via=shown.via, observed=seen.observed)
        history.append(Recorded(seen.event, version, version, seen.occurred_at, shown.seen_at, metadata))
        order = evolve(order, history[-1])
    return Life(tuple(history), order, shown.seen_at)


# ---- 4. violations and views ------------------------------------------------------------------------

moments = st.one_of(
    st.builds(lambda h, us: MONDAY_8 + hours(h) + us * MICROSECOND, st.integers(0, 400), st.integers(-1, 1)),
    st.sampled_from([beijing(1970, 1, 1), beijing(2026, 12, 31), FOREVER]),
)


@law
@given(observed_lives(), moments, moments)
def test_a_violation_that_stands_stands_at_every_later_moment(
    steps: list[Step | Look], one: datetime, other: datetime
) -> None:
    life = lived(steps)
    rules = BOOK.governing(life.order)
    earlier, later_on = sorted((one, other))
    before, after = violations(life.order, rules, earlier), violations(life.order, rules, later_on)
    assert all(violation in after for violation in before)
    assert len({v.violation_id for v in after}) == len(after)


@settings(law, max_examples=examples(300))
@given(observed_lives(), moments)
def test_every_order_can_be_shown_at_every_moment(steps: list[Step | Look], at: datetime) -> None:
    order = lived(steps).order
    shown = view(order, BOOK, at)
    assert len(shown.allowed_actions) == len(ACTIONS)
    assert shown.shipment_lock.locked is bool(shown.shipment_lock.holds)
    assert msgspec.json.decode(msgspec.json.encode(shown))["order_sn"] == ORDER_SN
    if order.last_occurred_at is None or at < order.last_occurred_at:
        return
    missed = {deadline.kind for deadline in shown.deadlines if deadline.state == "missed"}
    standing = {violation.kind for violation in shown.violations}
    assert ("tracking_upload" in missed) is ("late_shipment" in standing)
    assert ("carrier_pickup" in missed) is ("false_shipment" in standing)


@law
@given(lives(), moments)
def test_what_is_forbidden_is_refused_or_so_already(steps: list[Step], at: datetime) -> None:
    life = lived(steps)
    if life.order.version == 0:
        return
    now = max(at, life.now)
    forbidden = {found.action for found in view(life.order, BOOK, now).allowed_actions if not found.allowed}
    for action, command in (
        ("upload-tracking", SHIPPING[0]),
        ("upload-tracking", SHIPPING[2]),
        ("replace-tracking", SHIPPING[3]),
        ("request-stockout", LOCKING[0]),
        ("complete-review", LOCKING[1]),
        ("place-hold", LOCKING[2]),
        ("release-hold", LOCKING[3]),
        ("hand-to-supplier", SUPPLYING[1]),
        ("record-supplier-tracking", SUPPLYING[3]),
        ("record-supplier-stockout", SUPPLYING[4]),
        ("take-back-from-supplier", SUPPLYING[5]),
        ("refund", ENDING[1]),
        ("cancel", ENDING[5]),
    ):
        decision, _ = decide(life.history, life.order, command, BOOK, now)
        if action in forbidden:
            assert isinstance(decision, Refusal) or decision == ()


# ---- 5. events --------------------------------------------------------------------------------------

texts = st.text(max_size=20)
instants = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
events = st.one_of([st.from_type(kind) for kind in e.Event.__subclasses__()])


@law
@given(st.lists(events, max_size=20), st.data())
def test_any_event_may_follow_any_other(happened: list[Any], data: st.DataObject) -> None:
    order = Order(ORDER_SN)
    for version, event in enumerate(happened, start=1):
        metadata = Metadata(via=data.draw(st.sampled_from(["command", "export", "poll", "push"])))
        order = evolve(order, Recorded(event, version, version, data.draw(instants), MONDAY_8, metadata))
    assert order.version == len(happened)


@settings(law, max_examples=examples(300))
@given(events)
def test_an_event_travels_as_json_and_back(event: Any) -> None:
    stored = msgspec.json.encode(event)
    assert msgspec.json.decode(stored, type=e.OrderEvent) == event
    assert msgspec.json.decode(stored)["type"] == type(event).__name__


# ---- 6. as of ---------------------------------------------------------------------------------------


def standing(order: Order, book: RuleBook, at: datetime) -> list[tuple[object, ...]]:
    """The violations of a moment without their appeals, which may come later."""
    return [
        (v.violation_id, v.kind, v.cause, v.arose_at, v.penalty_fen)
        for v in ladder(order, book.governing(order))
        if v.stands_from <= at
    ]


timely_lives = st.builds(
    lambda steps: [*formed, *steps],
    st.lists(
        any_step(
            (*SHIPPING, *LOCKING[:2], *LOCKING[:2], *ENDING, c.RecordPickup(), c.RecordDelivery(), *OTHERS),
            tuple(hours(h) for h in (0, 1, 6, 12, 24, 47, 48, 49, 72, 96)),
            AT_ONCE,
        ),
        max_size=9,
    ),
)


@settings(law, max_examples=examples(400))
@given(
    timely_lives,
    st.sampled_from(
        [
            BOOK,
            BOOK,
            book_where(pauses_ship_by=True),
            book_where(pauses_ship_by=True, ship_by_after_rejection="starts_anew"),
            book_where(defers_deemed_stockout=False),
            book_where(pauses_ship_by=True, defers_deemed_stockout=False),
        ]
    ),
)
def test_where_nothing_is_told_late_the_past_looks_as_it_looked_then(steps: list[Step], book: RuleBook) -> None:
    """At every moment at which something happened or could have arisen, and just before and after.

    Without promises moved by the platform, which may take a late shipment back. What arrives unscanned takes back
    what was claimed because no scan, or no shipment at all, was known.
    """
    life = lived(steps, book)
    happened = {recorded.occurred_at for recorded in life.history}
    arose = {
        violation.stands_from
        for until in happened
        for order in (fold(ORDER_SN, visible(life.history, Viewpoint(as_of=until))),)
        for violation in ladder(order, book.governing(order))
    }
    arrived = life.order.received_at or any(parcel.delivered_at for parcel in life.order.parcels)
    for moment in sorted(happened | arose):
        for at in (moment - MICROSECOND, moment, moment + MICROSECOND):
            then = fold(ORDER_SN, visible(life.history, Viewpoint(as_of=at)))
            if then.paid_fen == life.order.paid_fen:
                claimed, remains = set(standing(then, book, at)), set(standing(life.order, book, at))
                if arrived:
                    assert {each[0] for each in remains} <= {each[0] for each in claimed}, f"at {at}"
                else:
                    assert remains == claimed, f"at {at}"


versions = st.integers(0, 14)
ends = st.one_of(
    st.tuples(*[st.fixed_dictionaries({"as_of": moments}, optional={"known_at": moments})] * 2),
    st.tuples(*[st.fixed_dictionaries({"known_at": moments}, optional={"as_of": moments})] * 2),
    st.tuples(*[st.fixed_dictionaries({"at_version": versions}, optional={"as_of": moments})] * 2),
)
"""Two moments that an order may be seen from."""


@settings(law, max_examples=examples(300))
@given(observed_lives(), ends)
def test_a_difference_leads_from_what_was_seen_at_one_moment_to_what_was_seen_at_the_other(
    steps: list[Step | Look], ends: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    history = lived(steps).history
    since, until = (order_at(Viewpoint(**end), ORDER_SN, history, MONDAY_8) for end in ends)

    def fields(seen: OrderAt) -> dict[str, Any]:
        shown = msgspec.to_builtins(view(seen.order, BOOK, seen.judged_at)) if seen.history else {}
        return {
            name: value
            for name, value in shown.items()
            if name not in ("version", "position") and value is not None
        }

    shown = fields(since)
    for change in diff(ORDER_SN, BOOK, since, until):
        assert shown.pop(change.field, None) == change.before
        if change.after is not None:
            shown[change.field] = change.after
    assert shown == fields(until)


@law
@given(lives())
def test_what_was_known_is_a_prefix_of_the_log(steps: list[Step]) -> None:
    history = lived(steps).history
    for cut in range(len(history) + 1):
        known_at = history[cut - 1].recorded_at if cut else MONDAY_8 - MICROSECOND
        known = visible(history, Viewpoint(known_at=known_at))
        assert known == list(history[: len(known)])
        assert len(known) >= cut
