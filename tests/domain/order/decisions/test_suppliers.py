"""Dropshipping (一件代发): a supplier ships for the merchant, who answers to the platform all the same."""

import pytest

from domain.kernel import Command
from domain.order import commands as c
from domain.order import events as e
from domain.order.state import Handover
from tests.domain.vocabulary import (
    FRIDAY_9,
    MICROSECOND,
    MONDAY_9,
    MONDAY_10,
    MONDAY_12,
    MONDAY_13,
    REQUEST_STOCKOUT,
    SHIP_BY,
    TUESDAY_9,
    TWO_SKUS,
    UPLOAD_SF1,
    WEDNESDAY_9,
    Fact,
    Story,
    awaiting_shipment,
    cancelled,
    days,
    given,
    group_formed,
    handed_to_supplier,
    hold_placed,
    hours,
    placed,
    refunded,
    review_completed,
    shown,
    stockout_requested,
    supplier_out_of_stock,
    taken_back_from_supplier,
    tracking_replaced,
    tracking_uploaded,
)

HAND = c.HandToSupplier(supplier_id="S-17", expected_tracking_at=TUESDAY_9)
TRACKING = c.RecordSupplierTracking(carrier="SF", tracking_number="SF1")
SOLD_OUT = c.RecordSupplierStockout(reason="sold out")
TAKE_BACK = c.TakeBackFromSupplier(reason="too slow")

SUPPLIED = (*awaiting_shipment(), handed_to_supplier())


def supplied_number() -> e.TrackingUploaded:
    return e.TrackingUploaded("SF", "SF1", (), "S-17")


# ---- handing over -----------------------------------------------------------------------------------


def test_an_order_is_handed_over_and_its_number_expected() -> None:
    story = given(awaiting_shipment()).when(HAND, at=MONDAY_10).then(e.HandedToSupplier("S-17", TUESDAY_9))
    story.at(MONDAY_12).shows(
        status="awaiting_shipment", handovers=(Handover("S-17", MONDAY_10, TUESDAY_9),)
    ).has_deadline("supplier_tracking", due_at=TUESDAY_9, state="pending", supplier_id="S-17")
    story.when(HAND, at=MONDAY_12).then_nothing()


def test_without_an_expected_time_there_is_no_deadline() -> None:
    given(awaiting_shipment(), handed_to_supplier(expected=None)).at(FRIDAY_9).has_no_deadline("supplier_tracking")


@pytest.mark.parametrize(
    "command",
    [c.HandToSupplier(supplier_id="S-18"), c.HandToSupplier(supplier_id="S-17", expected_tracking_at=WEDNESDAY_9)],
)
def test_an_order_is_with_one_supplier_at_a_time(command: c.HandToSupplier) -> None:
    given(SUPPLIED).when(command, at=MONDAY_12).rejects("with_supplier", because="S-17")


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ((placed(),), "not_shippable"),
        ((*awaiting_shipment(), stockout_requested(at=MONDAY_10)), "order_locked"),
        ((*awaiting_shipment(), hold_placed("risk_control", at=MONDAY_10)), "order_locked"),
        ((*awaiting_shipment(), tracking_uploaded(at=MONDAY_10)), "already_shipped"),
        ((*awaiting_shipment(), refunded(at=MONDAY_10)), "not_shippable"),
    ],
)
def test_what_may_not_be_shipped_may_not_be_handed_over(facts: tuple[Fact, ...], code: str) -> None:
    given(facts).when(HAND, at=MONDAY_12).rejects(code)


@pytest.mark.parametrize("expected", [MONDAY_10, MONDAY_10 + days(800)])
def test_a_number_is_expected_after_the_handover_and_not_in_years(expected: object) -> None:
    command = c.HandToSupplier(supplier_id="S-17", expected_tracking_at=expected)  # type: ignore[arg-type]
    given(awaiting_shipment()).when(command, at=MONDAY_10).rejects(
        "invalid_request", pointer="/expected_tracking_at"
    )


# ---- the supplier's number --------------------------------------------------------------------------


def test_the_suppliers_number_goes_up_as_theirs() -> None:
    story = given(SUPPLIED).when(TRACKING, at=MONDAY_12).then(supplied_number())
    moment = (
        story.at(FRIDAY_9).shows(status="shipped").has_deadline("tracking_upload", met_at=MONDAY_12, state="met")
    )
    moment.has_deadline("supplier_tracking", met_at=MONDAY_12, state="met")
    assert moment.view.handovers[0].tracking_at == MONDAY_12
    story.when(TRACKING, at=MONDAY_13).then_nothing()


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ((stockout_requested(at=MONDAY_12),), "order_locked"),
        ((hold_placed("manual", at=MONDAY_12),), "order_locked"),
        ((refunded(at=MONDAY_12),), "not_shippable"),
        ((cancelled(at=MONDAY_12),), "not_shippable"),
        ((stockout_requested(at=MONDAY_12), review_completed("approved", at=MONDAY_12)), "not_shippable"),
        ((tracking_uploaded("SF9", at=MONDAY_12),), "already_shipped"),
    ],
)
def test_the_suppliers_number_is_refused_just_as_an_uploaded_one(facts: tuple[Fact, ...], code: str) -> None:
    story = given(SUPPLIED, facts)
    theirs, ours = story.when(TRACKING, at=MONDAY_13), story.when(UPLOAD_SF1, at=MONDAY_13)
    theirs.rejects(code)
    assert theirs.decision == ours.decision


def test_an_order_that_is_with_nobody_has_no_suppliers_number() -> None:
    given(awaiting_shipment()).when(TRACKING, at=MONDAY_12).rejects("no_supplier")
    given(SUPPLIED, taken_back_from_supplier(at=MONDAY_12)).when(TRACKING, at=MONDAY_13).rejects("no_supplier")


def test_a_supplier_may_send_several_parcels() -> None:
    story = given(placed(lines=TWO_SKUS), group_formed(), handed_to_supplier())
    for number, sku_id, quantity, at in (("SF1", "SKU-1", 2, MONDAY_12), ("SF2", "SKU-2", 1, MONDAY_13)):
        command = c.RecordSupplierTracking(
            carrier="SF", tracking_number=number, lines=(c.PackedLine(sku_id, quantity),)
        )
        story = story.when(command, at=at).then(
            e.TrackingUploaded("SF", number, (e.ParcelLine(sku_id, quantity),), "S-17")
        )
    story.at(FRIDAY_9).has_deadline("supplier_tracking", met_at=MONDAY_12, state="met")


def test_a_number_that_is_not_the_suppliers_ends_the_wait_and_is_not_their_delivery() -> None:
    by_hand = given(SUPPLIED).when(UPLOAD_SF1, at=MONDAY_12).then(e.TrackingUploaded("SF", "SF1"))
    seen = given(SUPPLIED).sees(
        shown("shipped", seen_at=FRIDAY_9, shipped_at=MONDAY_12, carrier="SF", tracking_number="SF1")
    )
    for story in (by_hand, seen.story_after):
        moment = story.at(FRIDAY_9).has_deadline("supplier_tracking", state="waived")
        (handover,) = moment.view.handovers
        assert (handover.tracking_at, handover.shipped_otherwise_at) == (None, MONDAY_12)
        story.when(TAKE_BACK, at=FRIDAY_9).rejects("already_shipped")
        torn = story.and_(tracking_replaced("SF1", "SF2", at=TUESDAY_9 + hours(1)))
        torn.at(FRIDAY_9).has_deadline("supplier_tracking", state="waived")
    too_late = given(SUPPLIED, tracking_uploaded(at=TUESDAY_9 + hours(1)))
    too_late.at(FRIDAY_9).has_deadline("supplier_tracking", state="missed")


def test_a_supplier_is_waited_for_until_others_carry_all_of_the_order() -> None:
    first, second = e.ParcelLine("SKU-1", 2), e.ParcelLine("SKU-2", 1)
    ours = tracking_uploaded("OWN1", at=MONDAY_12, lines=(first,))
    story = given(placed(lines=TWO_SKUS), group_formed(), handed_to_supplier(), ours)
    story.at(MONDAY_13).has_deadline("supplier_tracking", state="pending")
    theirs = c.RecordSupplierTracking(carrier="SF", tracking_number="SF1", lines=(c.PackedLine("SKU-2", 1),))
    supplied = story.when(theirs, at=MONDAY_13).then(e.TrackingUploaded("SF", "SF1", (second,), "S-17"))
    supplied.at(FRIDAY_9).has_deadline("supplier_tracking", state="met", met_at=MONDAY_13)
    torn = supplied.and_(tracking_replaced("SF1", "SF2", at=TUESDAY_9 + hours(1)))
    torn.at(FRIDAY_9).has_deadline("supplier_tracking", state="met", met_at=MONDAY_13)
    alone = story.and_(tracking_uploaded("OWN2", at=MONDAY_13, lines=(second,)))
    assert alone.at(FRIDAY_9).view.handovers[0].shipped_otherwise_at == MONDAY_13


# ---- time -------------------------------------------------------------------------------------------


def test_a_number_is_in_time_at_the_moment_it_was_expected_and_a_microsecond_later_not() -> None:
    for late, state in ((0 * MICROSECOND, "met"), (MICROSECOND, "missed")):
        story = given(SUPPLIED, Fact(supplied_number(), TUESDAY_9 + late))
        story.at(FRIDAY_9).has_deadline("supplier_tracking", state=state).has_violations("false_shipment")
    given(SUPPLIED).at(TUESDAY_9).has_deadline("supplier_tracking", state="pending")
    given(SUPPLIED).at(TUESDAY_9 + MICROSECOND).has_deadline("supplier_tracking", state="missed")


def test_no_rule_of_the_platform_hangs_on_a_supplier() -> None:
    given(SUPPLIED).at(SHIP_BY).has_deadline("supplier_tracking", state="missed").has_no_violations()


@pytest.mark.parametrize(
    ("fact", "state"),
    [
        (supplier_out_of_stock(at=TUESDAY_9), "waived"),
        (supplier_out_of_stock(at=TUESDAY_9 + hours(1)), "missed"),
        (taken_back_from_supplier(at=MONDAY_12), "waived"),
        (refunded(at=MONDAY_12), "waived"),
        (refunded(at=TUESDAY_9 + hours(1)), "missed"),
    ],
)
def test_what_ends_the_wait_in_time_waives_it(fact: Fact, state: str) -> None:
    given(SUPPLIED, fact).at(FRIDAY_9).has_deadline("supplier_tracking", state=state)


# ---- no stock, taken back ---------------------------------------------------------------------------


def test_a_supplier_without_stock_points_to_another_or_to_an_application() -> None:
    story = given(SUPPLIED).when(SOLD_OUT, at=MONDAY_12).then(e.SupplierOutOfStock("S-17", "sold out"))
    story.when(SOLD_OUT, at=MONDAY_13).then_nothing()
    moment = story.at(MONDAY_13).allows("request-stockout", "hand-to-supplier").shows(status="awaiting_shipment")
    for action in ("request-stockout", "hand-to-supplier"):
        assert moment.action(action).because == "Supplier S-17 has no stock."
    assert moment.action("cancel").because is None
    assert moment.view.handovers == (
        Handover("S-17", MONDAY_10, TUESDAY_9, out_of_stock_at=MONDAY_12, reason="sold out"),
    )
    story.when(REQUEST_STOCKOUT, at=MONDAY_13).then(e.StockoutRequested("no_supply")).at(MONDAY_13).is_locked_by(
        "stockout_review"
    )
    another = story.when(c.HandToSupplier(supplier_id="S-18"), at=MONDAY_13).then(e.HandedToSupplier("S-18"))
    assert another.order.with_supplier == Handover("S-18", MONDAY_13)
    assert another.at(MONDAY_13).action("request-stockout").because is None


def test_an_order_is_taken_back_and_given_to_another() -> None:
    story = given(SUPPLIED).when(TAKE_BACK, at=MONDAY_12).then(e.TakenBackFromSupplier("S-17", "too slow"))
    story.when(TAKE_BACK, at=MONDAY_13).then_nothing()
    story.when(HAND, at=MONDAY_13).then(e.HandedToSupplier("S-17", TUESDAY_9))


@pytest.mark.parametrize("command", [SOLD_OUT, TAKE_BACK])
def test_nothing_comes_back_that_is_not_there(command: Command) -> None:
    given(awaiting_shipment()).when(command, at=MONDAY_12).rejects("no_supplier")
    given(SUPPLIED, tracking_uploaded(at=MONDAY_12)).when(command, at=MONDAY_13).rejects("already_shipped")
    given(SUPPLIED, refunded(at=MONDAY_12)).when(command, at=MONDAY_13).rejects("order_closed")


def test_a_lock_does_not_keep_a_supplier_from_saying_no() -> None:
    given(SUPPLIED, hold_placed(at=MONDAY_12)).when(SOLD_OUT, at=MONDAY_13).then(
        e.SupplierOutOfStock("S-17", "sold out")
    )


# ---- told late --------------------------------------------------------------------------------------


def test_what_is_told_late_must_have_been_so_then() -> None:
    given(SUPPLIED).when(TRACKING, at=MONDAY_9, recorded_at=MONDAY_13).rejects("no_supplier")
    given(SUPPLIED).when(SOLD_OUT, at=MONDAY_9, recorded_at=MONDAY_13).rejects(
        "invalid_request", pointer="/occurred_at"
    )
    back: Story = given(SUPPLIED, taken_back_from_supplier(at=MONDAY_13))
    back.when(c.HandToSupplier(supplier_id="S-18"), at=MONDAY_12, recorded_at=MONDAY_13).rejects(
        "invalid_request", pointer="/occurred_at"
    )


def test_as_of_a_moment_between_the_order_is_with_its_supplier() -> None:
    story = given(SUPPLIED, supplier_out_of_stock(at=MONDAY_13))
    story.as_of(MONDAY_12).shows(handovers=(Handover("S-17", MONDAY_10, TUESDAY_9),))
