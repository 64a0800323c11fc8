"""What must hold for every order, whatever is asked of it and whatever the platform shows.

Commands come at random, also told late; times lie on a grid of hours so that they often meet.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.history import Metadata, Recorded, visible
from domain.order import commands as c
from domain.order import events as e
from domain.order.decisions import Refusal, decide
from domain.order.observations import observe
from domain.order.snapshot import Snapshot
from domain.order.state import Order, evolve, fold
from domain.order.view import view
from domain.rules.ruleset import RuleBook
from domain.rules.violations import ladder, violations
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

law = settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

# ---- random lives -----------------------------------------------------------------------------------


class Step(NamedTuple):
    """A command, given ``later`` after the one before; told of a moment ``back`` before now, if at all."""

    command: c.Command
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

SHIPPING: tuple[c.Command, ...] = (
    c.UploadTracking(carrier="SF", tracking_number="SF1"),
    c.UploadTracking(carrier="SF", tracking_number="SF1", lines=(c.PackedLine("SKU-1", 1),)),
    c.UploadTracking(carrier="ZTO", tracking_number="SF2", lines=(c.PackedLine("SKU-2", 1),)),
    c.ReplaceTracking(carrier="SF", tracking_number="SF2", reason="torn"),
    c.ReplaceTracking(carrier="SF", tracking_number="SF3", reason="torn", replaces="SF1"),
)
LOCKING: tuple[c.Command, ...] = (
    c.RequestStockout(reason="no_supply"),
    c.CompleteReview(outcome="rejected"),
    c.PlaceHold(hold="manual", reason="address"),
    c.ReleaseHold(hold="manual", reason="cleared"),
    c.PlaceHold(hold="risk_control", reason="bot"),
    c.ReleaseHold(hold="risk_control", reason="cleared"),
)
ENDING: tuple[c.Command, ...] = (
    c.CompleteReview(outcome="approved"),
    c.Refund(initiated_by="buyer", reason="changed_mind"),
    c.Refund(initiated_by="buyer", reason="changed_mind", amount_fen=2_150),
    c.Refund(initiated_by="merchant", reason="out_of_stock"),
    c.Refund(initiated_by="merchant", reason="out_of_stock", amount_fen=2_150),
    c.Cancel(reason="changed_mind"),
    c.Cancel(reason="out_of_stock"),
)
OTHERS: tuple[c.Command, ...] = (
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
)
MOVING: tuple[c.Command, ...] = (
    c.ChangeShipBy(ship_by=MONDAY_8 + hours(30), reason="platform"),
    c.ChangeShipBy(ship_by=MONDAY_8 + hours(100), reason="festival"),
    c.ChangeShipBy(ship_by=MONDAY_8 + hours(200), reason="buyer_agreed"),
    c.FormGroup(ship_by=MONDAY_8 + hours(24)),
)

later = st.sampled_from([hours(h) for h in (0, 1, 1, 2, 2, 6, 12, 24, 48, 96)])
back = st.one_of(st.none(), st.sampled_from([hours(h) for h in (0, 1, 2, 3, 4, 6, 12, 24, 49, 96, 200)]))
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
    commands: Sequence[c.Command] = (*SHIPPING, *LOCKING, *ENDING, *OTHERS, *MOVING),
    told_late: bool = True,
    max_size: int = 14,
) -> list[Step]:
    """A beginning and then anything at all."""
    backs = back if told_late else st.none()
    steps = draw(st.lists(st.builds(Step, st.sampled_from(commands), later, backs), max_size=max_size))
    return [*draw(beginnings), *steps]


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Anything the platform might show, sensible or not."""
    moments = st.one_of(st.none(), st.sampled_from([MONDAY_8 + hours(h) for h in (0, 1, 3, 20, 60, 130)]))
    return Snapshot(
        order_sn=ORDER_SN,
        seen_at=MONDAY_8,
        via=draw(st.sampled_from(["export", "poll", "push"])),
        phase=draw(
            st.sampled_from(
                [
                    "pending_payment",
                    "pending_group",
                    "awaiting_shipment",
                    "stockout_applied",
                    "shipped",
                    "received",
                    "cancelled",
                ]
            )
        ),
        lines=draw(st.sampled_from([(line(),), TWO_SKUS])),
        paid_fen=draw(st.sampled_from([None, 4_300, 4_200])),
        paid_at=draw(moments),
        group_formed_at=draw(moments),
        ship_by=draw(moments),
        shipped_at=draw(moments),
        carrier=draw(st.sampled_from([None, "SF"])),
        tracking_number=draw(st.sampled_from([None, "SF1", "SF2", "SF9"])),
        received_at=draw(moments),
        refunded=draw(st.booleans()),
        refund_pending=draw(st.booleans()),
        under_review=draw(st.booleans()),
    )


looks = st.builds(Look, snapshots(), later, st.sampled_from([hours(h) for h in (0, 0, 0, 1, 5, 30)]))


@st.composite
def observed_lives(draw: st.DrawFn) -> list[Step | Look]:
    """Commands and looks at the platform, mixed."""
    commands = (*SHIPPING, *LOCKING, *ENDING, *OTHERS, *MOVING)
    step = st.builds(Step, st.sampled_from(commands), later, back)
    return [*draw(beginnings), *draw(st.lists(st.one_of(step, looks), max_size=9))]


class Life(NamedTuple):
    """What came of the steps: the history, the order evolved step by step, and the last moment."""

    history: tuple[Recorded, ...]
    order: Order
    now: datetime


def lived(steps: Sequence[Step | Look], book: RuleBook = BOOK) -> Life:
    history: list[Recorded] = []
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
def test_any_history_replays_to_the_same_order(steps: list[Step | Look]):
    life = lived(steps)
    assert fold(ORDER_SN, life.history) == life.order
    assert life.order.version == len(life.history)


# ---- 2. the lock ------------------------------------------------------------------------------------

_SHIPS = e.TrackingUploaded | e.TrackingReplaced

shipping_lives = lives(commands=(*SHIPPING, *LOCKING, *LOCKING), max_size=18)


@settings(law, max_examples=400)
@given(shipping_lives)
def test_nothing_is_ever_shipped_while_a_lock_is_in_force(steps: list[Step]):
    """In the order in which the log learned it."""
    order = Order(ORDER_SN)
    for recorded in lived(steps).history:
        if isinstance(recorded.event, _SHIPS):
            assert order.holds == (), f"{recorded.event} in spite of {order.holds}"
        order = evolve(order, recorded)


@settings(law, max_examples=600)
@given(shipping_lives)
def test_nothing_was_ever_shipped_between_an_application_and_its_decision(steps: list[Step]):
    """In the order in which it happened in the world, whatever was told when."""
    history = lived(steps).history
    for asked, decided in reviews_of(history):
        assert decided is None or asked.occurred_at <= decided.occurred_at, "decided before it was asked for"
        for shipped in history:
            if isinstance(shipped.event, _SHIPS) and shipped.occurred_at > asked.occurred_at:
                assert decided is not None, f"{shipped} in an open review"
                assert shipped.occurred_at >= decided.occurred_at, f"{shipped} in a review"


@law
@given(shipping_lives)
def test_reviews_never_overlap(steps: list[Step]):
    spans = sorted(
        (asked.occurred_at, decided.occurred_at if decided else None)
        for asked, decided in reviews_of(lived(steps).history)
    )
    for (_, end), (begin, _) in pairwise(spans):
        assert end is not None, "a review after one that is still open"
        assert end <= begin


def reviews_of(history: Sequence[Recorded]) -> list[tuple[Recorded, Recorded | None]]:
    """Every application with its decision, as the log pairs them."""
    pairs: list[tuple[Recorded, Recorded | None]] = []
    for recorded in history:
        if isinstance(recorded.event, e.StockoutRequested):
            pairs.append((recorded, None))
        elif isinstance(recorded.event, e.ReviewCompleted):
            pairs[-1] = (pairs[-1][0], recorded)
    return pairs


# ---- 3. observe twice -------------------------------------------------------------------------------


@settings(law, max_examples=400)
@given(observed_lives(), snapshots(), later, st.sampled_from([hours(h) for h in (0, 0, 1, 5, 30)]))
def test_seeing_the_same_twice_is_seeing_it_once(
    steps: list[Step | Look], snapshot: Snapshot, after: timedelta, stale: timedelta
):
    life = lived(steps)
    shown = replace(snapshot, seen_at=life.now + after - stale)
    once = lived_on(life, shown)
    assert observe(once.order, shown, BOOK) == ()


@law
@given(observed_lives(), snapshots())
def test_nothing_the_platform_shows_is_ever_lost(steps: list[Step | Look], snapshot: Snapshot):
    """What it shows is in the history afterwards, or an anomaly says what contradicts it."""
    life = lived(steps)
    shown = replace(snapshot, seen_at=life.now + hours(1))
    order = lived_on(life, shown).order
    if shown.phase in ("shipped", "received"):
        assert order.parcels
        assert shown.tracking_number is None or order.parcel(shown.tracking_number)
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
    st.sampled_from([beijing(1970, 1, 1), beijing(2026, 12, 31), beijing(9998, 1, 1)]),
)


@law
@given(observed_lives(), moments, moments)
def test_a_violation_that_stands_stands_at_every_later_moment(
    steps: list[Step | Look], one: datetime, other: datetime
):
    life = lived(steps)
    rules = BOOK.governing(life.order)
    earlier, later_on = sorted((one, other))
    before, after = violations(life.order, rules, earlier), violations(life.order, rules, later_on)
    assert set(v.violation_id for v in before) <= set(v.violation_id for v in after)
    assert all(violation in after for violation in before)
    assert len({v.violation_id for v in after}) == len(after)


@settings(law, max_examples=300)
@given(observed_lives(), moments)
def test_every_order_can_be_shown_at_every_moment(steps: list[Step | Look], at: datetime):
    shown = view(lived(steps).order, BOOK, at)
    assert len(shown.allowed_actions) == 21
    assert shown.shipment_lock.locked is bool(shown.shipment_lock.holds)
    assert msgspec.json.decode(msgspec.json.encode(shown))["order_sn"] == ORDER_SN
    missed = {deadline.kind for deadline in shown.deadlines if deadline.state == "missed"}
    standing = {violation.kind for violation in shown.violations}
    assert ("tracking_upload" in missed) is ("late_shipment" in standing)
    assert ("carrier_pickup" in missed) is ("false_shipment" in standing)


@law
@given(lives(), moments)
def test_what_is_forbidden_is_refused_or_so_already(steps: list[Step], at: datetime):
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
        ("refund", ENDING[1]),
        ("cancel", ENDING[5]),
    ):
        decision, _ = decide(life.history, life.order, command, BOOK, now)
        if action in forbidden:
            assert isinstance(decision, Refusal) or decision == ()


# ---- 5. events --------------------------------------------------------------------------------------

texts = st.text(max_size=20)
instants = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(MONDAY_8.tzinfo))  # noqa: DTZ001
events = st.one_of([st.from_type(kind) for kind in e.Event.__subclasses__()])


@law
@given(st.lists(events, max_size=20), st.data())
def test_any_event_may_follow_any_other(happened: list[Any], data: st.DataObject):
    order = Order(ORDER_SN)
    for version, event in enumerate(happened, start=1):
        metadata = Metadata(via=data.draw(st.sampled_from(["command", "export", "poll", "push"])))
        order = evolve(order, Recorded(event, version, version, data.draw(instants), MONDAY_8, metadata))
    assert order.version == len(happened)


@settings(law, max_examples=300)
@given(events)
def test_an_event_travels_as_json_and_back(event: Any):
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


@settings(law, max_examples=500)
@given(
    lives(commands=(*SHIPPING, *LOCKING, *LOCKING, *ENDING, *OTHERS), told_late=False),
    moments,
    st.sampled_from(
        [
            BOOK,
            book_where(pauses_ship_by=True),
            book_where(defers_deemed_stockout=False),
            book_where(pauses_ship_by=True, defers_deemed_stockout=False),
        ]
    ),
)
def test_where_nothing_is_told_late_the_past_looks_as_it_looked_then(
    steps: list[Step], at: datetime, book: RuleBook
):
    """Without promises moved by the platform, which may take a late shipment back."""
    life = lived(steps, book)
    then = fold(ORDER_SN, visible(life.history, as_of=at))
    paid_since = then.paid_fen != life.order.paid_fen
    if not paid_since:
        assert standing(then, book, at) == standing(life.order, book, at)


@law
@given(lives())
def test_what_was_known_is_a_prefix_of_the_log(steps: list[Step]):
    history = lived(steps).history
    for cut in range(len(history) + 1):
        known_at = history[cut - 1].recorded_at if cut else MONDAY_8 - MICROSECOND
        known = visible(history, known_at=known_at)
        assert known == list(history[: len(known)])
        assert len(known) >= cut
