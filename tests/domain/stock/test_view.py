"""A SKU as the outside sees it: its shelf, its open case, and by when it had to be off the shelf."""

from datetime import datetime

import pytest

from domain.order.reservations import ReservationState
from domain.stock.sellable import Demand
from domain.stock.view import SkuView, view
from domain.stockout.case import Application, SkuOrder, cases
from tests.domain.sku_vocabulary import (
    SKU_ID,
    SkuFact,
    capacity,
    counted,
    delisted,
    history_of,
    relisted,
    sku_after,
)
from tests.domain.vocabulary import (
    BOOK,
    MICROSECOND,
    MONDAY_9,
    MONDAY_10,
    MONDAY_11,
    MONDAY_12,
    MONDAY_13,
    hours,
)


def order(number: int, ended: datetime | None = None, state: ReservationState = "reserved") -> SkuOrder:
    return SkuOrder(f"o{number}", 1, state, MONDAY_9, ended)


def view_of(
    *facts: SkuFact,
    orders: tuple[SkuOrder, ...] = (order(1), order(2)),
    demand: Demand | None = None,
    at: datetime = MONDAY_13,
) -> SkuView:
    """The SKU, stockout of which was applied for on order o1 on Monday at ten."""
    shown = cases(SKU_ID, history_of(*facts), [Application("o1", 101, MONDAY_10)], orders)
    return view(sku_after(*facts), demand or Demand(), shown, BOOK, at)


def test_its_count_and_its_capacity() -> None:
    shown = view_of(counted(9, at=MONDAY_9), capacity(5, 6, at=MONDAY_9), demand=Demand(3, 3, 2, 1, 3))
    assert (shown.counted_on_hand, shown.counted_at, shown.on_hand) == (9, MONDAY_9, 8)
    assert (shown.production_per_day, shown.shipping_per_day) == (5, 6)
    assert (shown.reserved, shown.pending, shown.open_orders) == (3, 2, 3)
    assert shown.ship_by == MONDAY_13 + hours(48)


def test_what_nobody_reported_is_not_known() -> None:
    shown = view_of()
    assert (shown.counted_on_hand, shown.counted_at, shown.on_hand, shown.sellable) == (None, None, None, None)
    assert (shown.production_per_day, shown.shipping_per_day) == (None, None)


def test_while_a_case_is_open_a_sku_that_can_be_bought_had_to_be_off_the_shelf() -> None:
    shown = view_of()
    assert (shown.case_id, shown.at_risk_orders, shown.delist_due_at) == (f"{SKU_ID}:101", 1, MONDAY_10)
    assert [warning.code for warning in shown.warnings] == ["delist"]


@pytest.mark.parametrize(("at", "codes"), [(MONDAY_10, ["delist"]), (MONDAY_10 - MICROSECOND, [])])
def test_it_is_warned_of_from_the_very_moment(at: datetime, codes: list[str]) -> None:
    assert [warning.code for warning in view_of(at=at).warnings] == codes


def test_what_is_off_the_shelf_or_restocked_has_not_to_be_taken_off() -> None:
    off = view_of(delisted(at=MONDAY_11))
    assert (off.case_id, off.delist_due_at, off.delisted_at, off.listed) == (
        f"{SKU_ID}:101",
        None,
        MONDAY_11,
        False,
    )
    restocked = view_of(counted(9, at=MONDAY_11))
    assert (restocked.case_id, restocked.delist_due_at) == (f"{SKU_ID}:101", None)
    back = view_of(delisted(at=MONDAY_11), relisted(at=MONDAY_12))
    assert (back.listed, back.delisted_at) == (True, None)


def test_a_closed_case_asks_for_nothing() -> None:
    settled = (order(1, MONDAY_12, "shipped"), order(2, MONDAY_12, "shipped"))
    shown = view_of(delisted(at=MONDAY_11), relisted(at=MONDAY_13), orders=settled)
    assert (shown.listed, shown.case_id, shown.at_risk_orders, shown.delist_due_at) == (True, None, 0, None)
    assert shown.warnings == ()
