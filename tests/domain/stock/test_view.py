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


def seen(
    *told: SkuFact,
    wanted: tuple[SkuOrder, ...] = (order(1), order(2)),
    demand: Demand | None = None,
    at: datetime = MONDAY_13,
) -> SkuView:
    """The SKU, stockout of which was applied for on order o1 on Monday at ten."""
    found = cases(SKU_ID, history_of(*told), [Application("o1", 101, MONDAY_10)], wanted)
    return view(sku_after(*told), demand or Demand(), found, BOOK, at)


def test_what_was_told_of_it() -> None:
    found = seen(counted(9, at=MONDAY_9), capacity(5, 6, at=MONDAY_9), demand=Demand(3, 3, 2, 1, 3))
    assert (found.counted_on_hand, found.counted_at, found.on_hand) == (9, MONDAY_9, 8)
    assert (found.production_per_day, found.shipping_per_day) == (5, 6)
    assert (found.reserved, found.pending, found.open_orders) == (3, 2, 3)
    assert found.ship_by == MONDAY_13 + hours(48)


def test_what_was_never_told_is_not_known() -> None:
    found = seen()
    assert (found.counted_on_hand, found.counted_at, found.on_hand, found.sellable) == (None, None, None, None)
    assert (found.production_per_day, found.shipping_per_day) == (None, None)


def test_while_a_case_is_open_a_sku_that_can_be_bought_had_to_be_off_the_shelf() -> None:
    found = seen()
    assert (found.case_id, found.at_risk_orders, found.delist_due_at) == (f"{SKU_ID}:101", 1, MONDAY_10)
    assert [warning.code for warning in found.warnings] == ["delist"]


@pytest.mark.parametrize(("at", "codes"), [(MONDAY_10, ["delist"]), (MONDAY_10 - MICROSECOND, [])])
def test_it_is_warned_of_from_the_very_moment(at: datetime, codes: list[str]) -> None:
    assert [warning.code for warning in seen(at=at).warnings] == codes


def test_what_is_off_the_shelf_or_restocked_has_not_to_be_taken_off() -> None:
    off = seen(delisted(at=MONDAY_11))
    assert (off.case_id, off.delist_due_at, off.delisted_at, off.listed) == (
        f"{SKU_ID}:101",
        None,
        MONDAY_11,
        False,
    )
    restocked = seen(counted(9, at=MONDAY_11))
    assert (restocked.case_id, restocked.delist_due_at) == (f"{SKU_ID}:101", None)
    back = seen(delisted(at=MONDAY_11), relisted(at=MONDAY_12))
    assert (back.listed, back.delisted_at) == (True, None)


def test_a_closed_case_asks_for_nothing() -> None:
    settled = (order(1, MONDAY_12, "shipped"), order(2, MONDAY_12, "shipped"))
    found = seen(delisted(at=MONDAY_11), relisted(at=MONDAY_13), wanted=settled)
    assert (found.listed, found.case_id, found.at_risk_orders, found.delist_due_at) == (True, None, 0, None)
    assert found.warnings == ()
