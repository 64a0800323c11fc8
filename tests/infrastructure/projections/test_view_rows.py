"""The rows that views make of an order or a SKU: what a list shows, sorts and sums, without a database."""

from datetime import datetime
from itertools import product
from typing import Any, get_args

import msgspec
import pytest

from domain.order.deadlines import DeadlineKind, DeadlineState
from domain.order.events import Line, ParcelLine, TrackingUploaded
from domain.order.judged import Judged
from domain.order.state import Status
from infrastructure.projections.view import FAR_FUTURE, ViewOfOrders, ViewOfSkus
from infrastructure.projections.views import (
    APPLICATIONS,
    CHARGES,
    DEADLINES,
    DELISTINGS,
    HANDOVERS,
    ORDERS,
    PARCELS,
    RESERVATIONS,
    SKUS,
    VIEWS,
    VIOLATIONS,
)
from infrastructure.projections.views.deadlines import LANES
from tests.domain.sku_vocabulary import SkuFact, capacity, counted, delisted, relisted, sku_after
from tests.domain.vocabulary import (
    BOOK,
    DEEMED,
    FORMED,
    FRIDAY_9,
    MICROSECOND,
    MONDAY_8,
    MONDAY_9,
    MONDAY_10,
    MONDAY_11,
    MONDAY_12,
    MONDAY_13,
    SHIP_BY,
    THURSDAY_9,
    TUESDAY_9,
    TWO_SKUS,
    WEDNESDAY_9,
    Fact,
    Story,
    appeal_decided,
    appealed,
    awaiting_shipment,
    book_where,
    buyer_contacted,
    cancelled,
    charged,
    complaint_decided,
    complaint_filed,
    given,
    given_back,
    group_formed,
    handed_to_supplier,
    hold_placed,
    paid,
    picked_up,
    placed,
    refunded,
    review_completed,
    stockout_requested,
    supplier_out_of_stock,
    taken_back_from_supplier,
    tracking_replaced,
    tracking_uploaded,
)

RELEASED = {
    "orders": 5,
    "deadlines": 5,
    "violations": 4,
    "reservations": 1,
    "applications": 2,
    "skus": 1,
    "delistings": 1,
    "handovers": 2,
    "charges": 1,
    "parcels": 2,
}
"""The version of each view that is built at shops. Raise it with the view's: its rows are then built anew."""


def test_a_view_is_of_the_version_that_its_rows_were_last_changed_in() -> None:
    assert {view.name: view.version for view in VIEWS} == RELEASED


def rows_of(view: ViewOfOrders, story: Story) -> list[dict[str, Any]]:
    """The rows of an order by the names of their columns."""
    rows = view.rows(Judged.by(story.book, story.order))
    return [dict(zip((column.name for column in view.columns), row, strict=True)) for row in rows]


def row_of(view: ViewOfOrders, story: Story) -> dict[str, Any]:
    (row,) = rows_of(view, story)
    return row


def of_sku(view: ViewOfSkus, *told: SkuFact) -> list[dict[str, Any]]:
    rows = view.rows(sku_after(*told))
    return [dict(zip((column.name for column in view.columns), row, strict=True)) for row in rows]


# ---- orders -----------------------------------------------------------------------------------------


def test_an_order_that_waits_for_its_shipment() -> None:
    row = row_of(ORDERS, given(awaiting_shipment()))
    assert {name: row[name] for name in ("version", "status", "locked", "sku_ids", "paid_fen", "anomalies")} == {
        "version": 2,
        "status": "awaiting_shipment",
        "locked": False,
        "sku_ids": ["SKU-1"],
        "paid_fen": 4_300,
        "anomalies": 0,
    }
    assert (row["placed_at"], row["group_formed_at"]) == (MONDAY_8, FORMED)
    assert (row["ship_by"], row["ship_by_key"], row["shipped_at"], row["upload"]) == (SHIP_BY, SHIP_BY, None, None)
    assert (row["tracking_numbers"], row["shipment_lock"]) == (b"[]", None)
    assert (row["late_shipment_from"], row["stockout_from"]) == (SHIP_BY + MICROSECOND, DEEMED + MICROSECOND)
    assert (row["false_shipment_from"], row["fraudulent_shipment_from"]) == (None, None)


def test_what_is_not_known_sorts_last() -> None:
    nothing = row_of(ORDERS, given(placed(at=MONDAY_9)))
    assert (nothing["ship_by"], nothing["ship_by_key"]) == (None, FAR_FUTURE)


def test_an_order_that_only_a_bill_names_has_no_status_by_which_a_list_finds_it() -> None:
    story = given(charged("late_shipment", 300, at=MONDAY_9))
    judged = Judged.by(BOOK, story.order)
    lists = {view.name: len(list(view.rows(judged))) for view in VIEWS if isinstance(view, ViewOfOrders)}
    assert {name for name, count in lists.items() if count} == {"charges", "orders"}
    status = row_of(ORDERS, story)["status"]
    assert status == "not_placed"
    assert status not in get_args(Status)


def test_an_order_whose_ship_by_was_paused_sorts_by_what_is_due_now() -> None:
    rejected = (stockout_requested(at=TUESDAY_9), review_completed("rejected", at=WEDNESDAY_9))
    story = given(awaiting_shipment(), *rejected, under=book_where(pauses_ship_by=True))
    row = row_of(ORDERS, story)
    assert (row["ship_by"], row["ship_by_key"]) == (SHIP_BY, SHIP_BY + (WEDNESDAY_9 - TUESDAY_9))


def test_an_order_is_found_by_every_sku_of_its_lines_once() -> None:
    assert row_of(ORDERS, given(placed(lines=TWO_SKUS)))["sku_ids"] == ["SKU-1", "SKU-2"]
    twice = (TWO_SKUS[1], TWO_SKUS[0], TWO_SKUS[1])
    row = row_of(ORDERS, given(placed(lines=twice)))
    assert row["sku_ids"] == ["SKU-1", "SKU-2"]
    assert row["goods_ids"] == sorted({line.goods_id for line in TWO_SKUS})
    assert row_of(ORDERS, given(placed()))["goods_ids"] == ["GOODS-1"]
    assert msgspec.json.decode(row["lines"], type=tuple[Line, ...]) == twice


def test_a_locked_order_says_what_locks_it() -> None:
    row = row_of(ORDERS, given(awaiting_shipment(), hold_placed("manual", at=MONDAY_10)))
    assert row["locked"] is True
    lock = msgspec.json.decode(row["shipment_lock"])
    assert [hold["hold"] for hold in lock["holds"]] == ["manual"]


def test_a_shipped_order_has_the_numbers_that_stand_and_how_its_upload_ended() -> None:
    row = row_of(
        ORDERS,
        given(
            awaiting_shipment(),
            tracking_uploaded("SF1", at=MONDAY_12),
            tracking_replaced("SF1", "SF2", at=TUESDAY_9),
        ),
    )
    assert (row["tracking_numbers"], row["shipped_at"], row["upload"]) == (b'["SF2"]', MONDAY_12, "met")


def test_of_several_violations_of_a_kind_the_first_that_counts_stands() -> None:
    frauds = (
        complaint_filed("empty_parcel", at=TUESDAY_9),
        complaint_decided("upheld", at=WEDNESDAY_9),
        Fact(complaint_filed("different_goods", at=THURSDAY_9).event, THURSDAY_9),
        complaint_decided("upheld", at=FRIDAY_9),
    )
    story = given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12), picked_up(at=MONDAY_13), *frauds)
    assert row_of(ORDERS, story)["fraudulent_shipment_from"] == WEDNESDAY_9
    overturned = story.and_(
        appealed("fraudulent_shipment", at=FRIDAY_9),
        appeal_decided("fraudulent_shipment", "overturned", at=FRIDAY_9),
    )
    assert row_of(ORDERS, overturned)["fraudulent_shipment_from"] == FRIDAY_9
    late = given(awaiting_shipment(), appealed("late_shipment", at=THURSDAY_9)).and_(
        appeal_decided("late_shipment", "overturned", at=FRIDAY_9)
    )
    assert row_of(ORDERS, late)["late_shipment_from"] is None


# ---- deadlines and violations -----------------------------------------------------------------------


def test_deadlines_are_numbered_and_those_without_a_time_sort_last() -> None:
    story = given(
        awaiting_shipment(),
        stockout_requested(at=MONDAY_12).observed(),
        handed_to_supplier("S-17", at=MONDAY_13, expected=TUESDAY_9),
    )
    rows = rows_of(DEADLINES, story)
    assert [(row["number"], row["kind"], row["due_key"], row["settled"]) for row in rows] == [
        (1, "tracking_upload", SHIP_BY, None),
        (2, "deemed_stockout", DEEMED, "pending"),
        (3, "review_decision", FAR_FUTURE, "unknown"),
        (4, "delist_sku", FAR_FUTURE, "unknown"),
        (5, "contact_buyer", FAR_FUTURE, "unknown"),
        (6, "supplier_tracking", TUESDAY_9, None),
    ]
    assert (rows[3]["sku_id"], rows[3]["since"], rows[5]["supplier_id"]) == ("SKU-1", MONDAY_12, "S-17")
    assert [row["lane"] for row in rows] == [LANES[row["kind"], row["settled"]] for row in rows]


def test_each_kind_and_end_of_a_deadline_has_a_lane_of_its_own() -> None:
    everything = set(product(get_args(DeadlineKind), (None, *get_args(DeadlineState))))
    assert LANES.keys() == everything
    assert sorted(LANES.values()) == list(range(len(everything)))


def test_a_violation_carries_its_appeal() -> None:
    story = given(awaiting_shipment(), appealed("late_shipment", at=THURSDAY_9))
    late, stockout = rows_of(VIOLATIONS, story)
    assert (late["kind"], late["appeal_state"], late["stands_from"]) == (
        "late_shipment",
        "open",
        SHIP_BY + MICROSECOND,
    )
    assert msgspec.json.decode(late["appeal"])["outcome"] is None
    assert (stockout["kind"], stockout["cause"], stockout["appeal_state"], stockout["appeal"]) == (
        "stockout",
        "deemed",
        "none",
        None,
    )


# ---- reservations and applications ------------------------------------------------------------------


def test_an_order_reserves_each_of_its_skus_until_it_is_shipped() -> None:
    story = given(
        placed(lines=TWO_SKUS), group_formed(), buyer_contacted(at=MONDAY_11), buyer_contacted(at=MONDAY_10)
    )
    rows = rows_of(RESERVATIONS, story)
    assert [(row["number"], row["sku_id"], row["quantity"], row["state"], row["ended_at"]) for row in rows] == [
        (0, "SKU-1", 2, "reserved", None),
        (1, "SKU-2", 1, "reserved", None),
    ]
    for row in rows:
        assert (row["formed_at"], row["ship_by_key"], row["cost_key"]) == (FORMED, SHIP_BY, -500)
        assert row["contacted_at"] == MONDAY_11
    some = story.and_(tracking_uploaded("SF1", at=MONDAY_12, lines=(ParcelLine("SKU-2", 1),)))
    assert [
        (row["number"], row["sku_id"], row["state"], row["ended_at"]) for row in rows_of(RESERVATIONS, some)
    ] == [
        (0, "SKU-2", "shipped", MONDAY_12),
        (1, "SKU-1", "reserved", None),
    ]


def test_what_is_not_known_of_a_reservation() -> None:
    row = row_of(RESERVATIONS, given(placed(paid_fen=None)))
    assert (row["state"], row["formed_at"], row["ship_by_key"], row["contacted_at"]) == (
        "unpaid",
        None,
        FAR_FUTURE,
        None,
    )
    assert row["cost_key"] == 0, "a price that depends on an unknown payment sorts with the cheapest"
    assert rows_of(RESERVATIONS, given(paid(at=MONDAY_9))) == []


def test_an_application_has_a_row_for_each_sku_it_is_about() -> None:
    story = given(
        placed(lines=TWO_SKUS),
        group_formed(),
        stockout_requested(at=MONDAY_10),
        review_completed("rejected", at=MONDAY_12),
        stockout_requested(at=MONDAY_13).observed(),
    )
    rows = rows_of(APPLICATIONS, story)
    assert [
        (row["number"], row["sku_id"], row["position"], row["requested_at"], row["time_known"]) for row in rows
    ] == [
        (1, "SKU-1", 3, MONDAY_10, True),
        (1, "SKU-2", 3, MONDAY_10, True),
        (2, "SKU-1", 5, MONDAY_13, False),
        (2, "SKU-2", 5, MONDAY_13, False),
    ]
    assert [(row["outcome"], row["decided_at"]) for row in rows[1:3]] == [("rejected", MONDAY_12), (None, None)]
    assert rows_of(APPLICATIONS, given(awaiting_shipment())) == []


# ---- parcels, suppliers, bills ----------------------------------------------------------------------


def test_parcels_have_plain_numbers_and_what_is_blank_is_none() -> None:
    story = given(
        awaiting_shipment(),
        tracking_uploaded(" sf 1 ", at=MONDAY_10),
        tracking_replaced(" sf 1 ", "", at=MONDAY_11),
        tracking_uploaded("ＺＴ2", at=MONDAY_12),
    )
    assert [tuple(row.values()) for row in rows_of(PARCELS, story)] == [
        (1, "SF1", MONDAY_10, True),
        (3, "ZT2", MONDAY_12, False),
    ]


def number_of(supplier_id: str, at: datetime) -> Fact:
    return Fact(TrackingUploaded("SF", "SF1", (), supplier_id), at)


@pytest.mark.parametrize(
    ("facts", "ended", "tracking_at", "settled"),
    [
        ((), None, None, None),
        ((supplier_out_of_stock(at=MONDAY_12),), "out_of_stock", None, "waived"),
        ((taken_back_from_supplier(at=MONDAY_12),), "taken_back", None, "waived"),
        ((number_of("S-17", MONDAY_12),), "tracked", MONDAY_12, "met"),
        ((tracking_uploaded("SF9", at=MONDAY_12),), "order_ended", None, "waived"),
        ((refunded(at=MONDAY_12),), "order_ended", None, "waived"),
        ((cancelled(at=WEDNESDAY_9),), "order_ended", None, "missed"),
    ],
)
def test_how_a_supplier_ended(
    facts: tuple[Fact, ...], ended: str | None, tracking_at: datetime | None, settled: str | None
) -> None:
    row = row_of(HANDOVERS, given(awaiting_shipment(), handed_to_supplier("S-17", at=MONDAY_10), *facts))
    assert (row["number"], row["supplier_id"], row["handed_at"], row["due_key"]) == (
        1,
        "S-17",
        MONDAY_10,
        TUESDAY_9,
    )
    assert (row["ended"], row["tracking_at"], row["settled"]) == (ended, tracking_at, settled)


def test_a_supplier_of_whom_no_time_is_expected_sorts_last_and_each_hand_over_has_its_row() -> None:
    story = given(
        awaiting_shipment(),
        handed_to_supplier("S-17", at=MONDAY_10, expected=None),
        supplier_out_of_stock("S-17", at=MONDAY_11),
        handed_to_supplier("S-18", at=MONDAY_12),
    )
    rows = rows_of(HANDOVERS, story)
    assert [(row["number"], row["supplier_id"], row["due_key"]) for row in rows] == [
        (1, "S-17", FAR_FUTURE),
        (2, "S-18", TUESDAY_9),
    ]
    assert rows_of(HANDOVERS, given(awaiting_shipment())) == []


def test_each_line_of_a_bill_has_its_row() -> None:
    story = given(
        awaiting_shipment(),
        charged("late_shipment", 300, at=FRIDAY_9),
        given_back(100, at=FRIDAY_9, line_id="back"),
    )
    assert [tuple(row.values()) for row in rows_of(CHARGES, story)] == [
        (1, "bill-1", "late_shipment", 300, FRIDAY_9),
        (2, "back", None, 100, FRIDAY_9),
    ]
    assert rows_of(CHARGES, given(awaiting_shipment())) == []


# ---- SKUs -------------------------------------------------------------------------------------------


def test_a_sku_as_it_was_told() -> None:
    (row,) = of_sku(SKUS, counted(9, at=MONDAY_9), capacity(5, 6, at=MONDAY_10), delisted(at=MONDAY_11))
    assert (row["version"], row["position"], row["listed"], row["delisted_at"]) == (3, 3, False, MONDAY_11)
    assert (row["on_hand"], row["counted_at"]) == (9, MONDAY_9)
    assert (row["production_per_day"], row["shipping_per_day"], row["capacity_since"]) == (5, 6, MONDAY_10)
    (untold,) = of_sku(SKUS)
    assert list(untold.values()) == [0, 0, True, *[None] * 6]


def test_each_time_off_the_shelf_has_its_row() -> None:
    rows = of_sku(DELISTINGS, delisted(at=MONDAY_9), relisted(at=MONDAY_10), delisted(at=MONDAY_11))
    assert [tuple(row.values()) for row in rows] == [(1, MONDAY_9, MONDAY_10), (2, MONDAY_11, None)]
