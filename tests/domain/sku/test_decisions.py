"""What may be told of a SKU: everything, and nothing twice."""

from datetime import datetime

import pytest
from msgspec.structs import replace

from domain.kernel import Refusal
from domain.sku import commands as c
from domain.sku import decisions
from domain.sku import events as e
from domain.sku.state import Delisting, Sku
from tests.domain.sku_vocabulary import capacity, counted, delisted, given, relisted, sku_after
from tests.domain.vocabulary import MONDAY_8, MONDAY_9, MONDAY_10, MONDAY_11, MONDAY_12, TUESDAY_9, hours


def test_stock_is_counted_and_a_recount_is_a_count_of_its_own() -> None:
    sku = given().when(c.CountStock(on_hand=7), at=MONDAY_9).then(e.StockCounted(7))
    assert sku.count
    assert (sku.count.on_hand, sku.count.at) == (7, MONDAY_9)
    given(counted(7, at=MONDAY_9)).when(c.CountStock(on_hand=7), at=MONDAY_10).then(e.StockCounted(7))


def test_the_same_count_told_twice_changes_nothing() -> None:
    given(counted(7, at=MONDAY_9)).when(c.CountStock(on_hand=7), at=MONDAY_9, recorded_at=MONDAY_12).then_nothing()


def test_the_count_made_last_holds_whichever_was_told_first() -> None:
    earlier = given(counted(7, at=MONDAY_10)).when(c.CountStock(on_hand=3), at=MONDAY_9, recorded_at=MONDAY_11)
    sku = earlier.then(e.StockCounted(3))
    assert sku.count
    assert (sku.count.on_hand, sku.count.at) == (7, MONDAY_10)


def test_capacity_is_set_and_the_same_again_changes_nothing() -> None:
    sku = given().when(c.SetCapacity(production_per_day=5, shipping_per_day=9), at=MONDAY_9)
    assert sku.then(e.CapacitySet(5, 9)).capacity
    known = given(capacity(5, 9, at=MONDAY_9))
    known.when(c.SetCapacity(production_per_day=5, shipping_per_day=9), at=MONDAY_10).then_nothing()
    known.when(c.SetCapacity(production_per_day=6, shipping_per_day=9), at=MONDAY_10).then(e.CapacitySet(6, 9))


def test_a_sku_is_for_sale_until_it_is_delisted() -> None:
    assert sku_after().listed
    assert not given().when(c.Delist(reason="no supply"), at=MONDAY_9).then(e.SkuDelisted("no supply")).listed
    given().when(c.Relist(), at=MONDAY_9).then_nothing()
    given(delisted(at=MONDAY_9)).when(c.Delist(reason="again"), at=MONDAY_10).then_nothing()
    assert given(delisted(at=MONDAY_9)).when(c.Relist(), at=MONDAY_10).then(e.SkuRelisted()).listed


def test_a_delisting_told_late_takes_its_place_in_time() -> None:
    """It was off the shelf from nine to eleven; only the end was told at once."""
    sku = sku_after(delisted(at=MONDAY_9), relisted(at=MONDAY_11), delisted(at=TUESDAY_9))
    assert sku.delistings == (Delisting(MONDAY_9, MONDAY_11), Delisting(TUESDAY_9, None))
    story = given(relisted(at=MONDAY_11))
    late = story.when(c.Delist(reason="no supply"), at=MONDAY_9, recorded_at=MONDAY_12).then(
        e.SkuDelisted("no supply")
    )
    assert late.listed
    assert late.delistings == (Delisting(MONDAY_9, MONDAY_11),)


@pytest.mark.parametrize(
    ("asked", "since"),
    [
        (MONDAY_8, MONDAY_9),
        (MONDAY_10, MONDAY_9),
        (MONDAY_11, TUESDAY_9),
        (MONDAY_12, TUESDAY_9),
        (TUESDAY_9 + hours(9), TUESDAY_9),
    ],
)
def test_since_when_it_is_off_sale_as_seen_from_a_moment(asked: datetime, since: datetime) -> None:
    sku = sku_after(delisted(at=MONDAY_9), relisted(at=MONDAY_11), delisted(at=TUESDAY_9))
    assert sku.off_sale_since(asked) == since


def test_a_sku_that_was_put_back_is_not_off_sale() -> None:
    assert sku_after(delisted(at=MONDAY_9), relisted(at=MONDAY_11)).off_sale_since(MONDAY_12) is None
    assert sku_after(delisted(at=MONDAY_9), relisted(at=MONDAY_11)).delisted_at is None
    assert sku_after(delisted(at=MONDAY_9)).delisted_at == MONDAY_9


def test_a_time_that_makes_no_sense_is_refused() -> None:
    given().when(c.CountStock(on_hand=1), at=MONDAY_10, recorded_at=MONDAY_9).rejects(
        "invalid_request", "/occurred_at"
    )


def test_a_history_has_an_end() -> None:
    almost, full = (replace(Sku("SKU-1"), version=version) for version in (99_999, 100_000))
    decision, _ = decisions.decide(almost, c.CountStock(on_hand=1), MONDAY_9)
    assert not isinstance(decision, Refusal)
    decision, _ = decisions.decide(full, c.CountStock(on_hand=1), MONDAY_9)
    assert isinstance(decision, Refusal)
    assert decision.code == "history_full"
