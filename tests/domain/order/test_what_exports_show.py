"""What today's exports show: words that nobody knows, parts of refunds, several parcels, parts of orders."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from domain.order import commands as c
from domain.order import events as e
from domain.order.snapshot import UNKNOWN, Snapshot
from tests.domain.vocabulary import (
    FRIDAY_9,
    MONDAY_9,
    MONDAY_12,
    ORDER_SN,
    THURSDAY_9,
    TUESDAY_9,
    WEDNESDAY_9,
    Fact,
    Story,
    awaiting_shipment,
    given,
    hold_placed,
    refunded,
    stockout_requested,
    tracking_uploaded,
)

LINE = e.Line("SKU-1", "GOODS-1", "socks", 1, 4_300)
OTHER = e.Line("SKU-2", "GOODS-2", "shoes", 2, 1_000)
NOBODY = given()


def shown(phase: str, **facts: object) -> Snapshot:
    snapshot = Snapshot(
        order_sn=ORDER_SN,
        seen_at=WEDNESDAY_9,
        via="export",
        phase=phase,  # type: ignore[arg-type]
        lines=(LINE,),
        paid_fen=4_300,
        paid_at=MONDAY_9,
        group_formed_at=MONDAY_9,
    )
    return replace(snapshot, **facts)


def later(snapshot: Snapshot, **facts: object) -> Snapshot:
    return replace(snapshot, seen_at=snapshot.seen_at + timedelta(days=1), **facts)


# ---- words that nobody knows ------------------------------------------------------------------------


def test_no_clock_is_started_for_a_state_that_nobody_knows() -> None:
    learned = NOBODY.sees(shown("unknown")).learns_kinds(e.OrderPlaced, e.OrderPaid)
    learned.at(FRIDAY_9).shows(group_formed_at=None).has_no_violations()


@pytest.mark.parametrize("phase", ["pending_payment", "pending_group"])
def test_no_clock_is_started_for_an_order_that_waits_for_payment_or_its_group(phase: str) -> None:
    """Whatever times stand beside the state."""
    waiting = shown(phase, ship_by=THURSDAY_9)
    learned = NOBODY.sees(waiting).learns_kinds(e.OrderPlaced, e.OrderPaid)
    learned.at(FRIDAY_9).shows(group_formed_at=None).has_no_violations()
    formed = learned.sees(later(waiting, phase="awaiting_shipment")).story_after
    assert formed.order.group_formed_at == MONDAY_9
    formed.sees(waiting).learns_nothing()


def test_what_was_shipped_was_shipped_whatever_the_word_is() -> None:
    facts = {"shipped_at": TUESDAY_9, "tracking_number": "SF1", "received_at": WEDNESDAY_9}
    learned = NOBODY.sees(shown("unknown", **facts)).learns_kinds(
        e.OrderPlaced, e.OrderPaid, e.GroupFormed, e.TrackingUploaded, e.ReceiptConfirmed
    )
    learned.at(FRIDAY_9).shows(status="received", received_at=WEDNESDAY_9).has_no_violations()


def test_what_was_received_was_shipped() -> None:
    NOBODY.sees(shown("unknown", received_at=TUESDAY_9)).learns_kinds(
        e.OrderPlaced, e.OrderPaid, e.TrackingUploaded, e.ReceiptConfirmed
    )


def test_a_shipped_order_that_is_not_received_is_not_received_by_an_unknown_word() -> None:
    learned = NOBODY.sees(shown("unknown", shipped_at=TUESDAY_9, tracking_number="SF1")).story_after
    learned.at(FRIDAY_9).shows(status="shipped", received_at=None)


@pytest.mark.parametrize(
    "story",
    [
        given(*awaiting_shipment(), hold_placed("risk_control", at=MONDAY_12).observed()),
        given(*awaiting_shipment(), stockout_requested(at=MONDAY_12).observed()),
        given(*awaiting_shipment(), refunded("unknown", "unknown", at=MONDAY_12).observed()),
        given(*awaiting_shipment(), tracking_uploaded(at=MONDAY_12)),
    ],
)
def test_an_unknown_word_changes_nothing_that_is_known(story: Story) -> None:
    known = replace(shown("unknown"), lines=story.order.lines, paid_fen=story.order.paid_fen)
    story.sees(replace(known, under_review=False, refund_pending=False)).learns_nothing()


# ---- refunds ----------------------------------------------------------------------------------------


def test_a_part_refund_closes_nothing_and_nobody_knows_how_much_it_was() -> None:
    part = shown("awaiting_shipment", part_refunded=True)
    learned = NOBODY.sees(part).story_after
    learned.at(WEDNESDAY_9).shows(status="awaiting_shipment", refunded_fen=None)
    learned.sees(later(part)).learns_nothing()
    learned.at(FRIDAY_9).has_violations("late_shipment")


def test_a_part_refund_and_then_all_of_it() -> None:
    learned = NOBODY.sees(shown("awaiting_shipment", part_refunded=True)).story_after
    whole = learned.sees(later(shown("awaiting_shipment"), refunded=True)).story_after
    whole.at(FRIDAY_9).shows(status="refunded", refunded_fen=4_300)


def test_a_part_refund_of_an_order_that_had_a_refund_is_no_news() -> None:
    known = given(*awaiting_shipment(), Fact(e.OrderRefunded("buyer", "changed_mind", 100), TUESDAY_9))
    snapshot = replace(shown("awaiting_shipment", part_refunded=True), paid_fen=known.order.paid_fen)
    known.sees(replace(snapshot, lines=known.order.lines)).learns_nothing()


def test_a_later_view_that_is_refunded_too_takes_nothing_back() -> None:
    closed = NOBODY.sees(shown("awaiting_shipment", refunded=True)).story_after
    closed.sees(later(shown("awaiting_shipment"), refunded=True)).learns_nothing()
    closed.sees(later(shown("cancelled"))).learns_nothing()


# ---- times ------------------------------------------------------------------------------------------


def test_a_time_that_is_given_to_the_second_is_exact() -> None:
    facts = {"shipped_at": TUESDAY_9, "tracking_number": "SF1", "received_at": WEDNESDAY_9, "ship_by": THURSDAY_9}
    learned = NOBODY.sees(shown("received", **facts)).story_after
    assert [recorded.metadata.within for recorded in learned.history] == [0] * 5
    assert (learned.order.promised_within, learned.order.group_within) == (0, 0)


def test_every_event_has_the_precision_of_its_own_time() -> None:
    times: dict[str, datetime | int | str] = {
        "paid_within": 1,
        "group_formed_within": 2,
        "shipped_at": TUESDAY_9,
        "shipped_within": 3,
        "received_at": WEDNESDAY_9,
        "received_within": 4,
        "ship_by": THURSDAY_9,
        "ship_by_within": 5,
        "tracking_number": "SF1",
    }
    learned = NOBODY.sees(shown("received", **times)).story_after
    assert [recorded.metadata.within for recorded in learned.history] == [0, 1, 2, 3, 4]
    assert learned.order.promised_within == 5


# ---- parcels ----------------------------------------------------------------------------------------

SHIPPED = shown("shipped", shipped_at=TUESDAY_9, tracking_number="SF1", carrier="SF")


def test_several_numbers_are_several_parcels() -> None:
    learned = NOBODY.sees(replace(SHIPPED, further_numbers=("SF2", "SF3"))).story_after
    assert [parcel.tracking_number for parcel in learned.order.current_parcels] == ["SF1", "SF2", "SF3"]
    learned.sees(later(SHIPPED)).learns_nothing()


def test_a_number_besides_a_known_one_is_a_further_parcel() -> None:
    learned = NOBODY.sees(SHIPPED).story_after
    more = learned.sees(later(SHIPPED, further_numbers=("SF2",))).learns_kinds(e.TrackingUploaded)
    assert [parcel.tracking_number for parcel in more.order.current_parcels] == ["SF1", "SF2"]


def test_other_numbers_take_the_place_of_the_newest() -> None:
    learned = NOBODY.sees(SHIPPED).story_after
    other = learned.sees(later(SHIPPED, tracking_number="SF8", further_numbers=("SF9",)))
    moved = other.learns_kinds(e.TrackingReplaced, e.TrackingUploaded)
    assert [parcel.tracking_number for parcel in moved.order.current_parcels] == ["SF8", "SF9"]


def test_all_parcels_of_a_received_order_have_arrived() -> None:
    received = replace(SHIPPED, phase="received", further_numbers=("SF2",))
    learned = NOBODY.sees(received).story_after
    learned.at(FRIDAY_9).shows(status="delivered")
    assert all(parcel.delivered_at for parcel in learned.order.parcels)


# ---- lines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "anomalies"),
    [
        ((LINE,), ()),
        ((OTHER, LINE), ()),
        ((replace(LINE, sku_id=UNKNOWN), OTHER), ()),
        ((replace(LINE, quantity=2), OTHER), ("lines_differ",)),
        ((replace(LINE, sku_id="SKU-9"), OTHER), ("lines_differ",)),
        ((LINE, replace(LINE, sku_id="SKU-9")), ("lines_differ",)),
    ],
)
def test_a_part_of_an_order_is_no_contradiction(lines: tuple[e.Line, ...], anomalies: tuple[str, ...]) -> None:
    whole = shown("awaiting_shipment", lines=(LINE, OTHER))
    NOBODY.sees(whole).story_after.sees(later(whole, lines=lines)).story_after.at(FRIDAY_9).has_anomalies(
        *anomalies
    )


def test_a_wider_view_of_an_order_completes_its_lines_and_its_payment_once() -> None:
    """A file of some goods only has some lines of an order, and what was paid for them."""
    part = shown("awaiting_shipment", lines=(OTHER,), paid_fen=1_000)
    whole = later(part, lines=(LINE, OTHER), paid_fen=5_000)
    learned = NOBODY.sees(part).story_after
    completed = learned.sees(whole).learns(e.LinesCompleted((OTHER, LINE), 5_000))
    assert completed.order.paid_fen == 5_000
    completed.at(FRIDAY_9).has_anomalies()
    completed.sees(later(whole)).learns_nothing()
    completed.sees(later(part)).learns_nothing()


def test_ids_and_codes_of_a_line_are_learnt_from_the_first_source_that_has_them() -> None:
    damaged = replace(LINE, sku_id=UNKNOWN, name=UNKNOWN)
    learned = NOBODY.sees(shown("awaiting_shipment", lines=(damaged, OTHER))).story_after
    with_code = replace(LINE, sku_code="A-301")
    completed = learned.sees(later(shown("awaiting_shipment"), lines=(with_code,))).learns(
        e.LinesCompleted((with_code, OTHER))
    )
    for again in ((LINE,), (OTHER, damaged), (replace(LINE, sku_code="A-9"),)):
        completed.sees(later(shown("awaiting_shipment"), lines=again)).learns_nothing()


def test_a_line_of_which_nothing_is_known_is_not_taken_for_one_that_is_shown_besides() -> None:
    nameless = replace(LINE, sku_id=UNKNOWN)
    learned = NOBODY.sees(shown("awaiting_shipment", lines=(LINE,))).story_after
    learned.sees(later(shown("awaiting_shipment"), lines=(nameless, LINE))).learns(
        e.LinesCompleted((LINE, nameless))
    )


def test_an_order_that_was_completed_can_be_placed_again_as_it_was_placed() -> None:
    placing = c.Place(lines=(c.OrderedLine("SKU-1", "GOODS-1", "socks", 1, 4_300),), paid_fen=4_300)
    story = NOBODY.when(placing, at=MONDAY_9).then(e.OrderPlaced((LINE,), paid_fen=4_300))
    completed = story.sees(later(shown("awaiting_shipment"), lines=(LINE, OTHER))).story_after
    assert completed.order.lines == (LINE, OTHER)
    completed.when(placing, at=THURSDAY_9).then_nothing()
