"""What a SKU is after what was told of it, in whatever order it was told."""

from domain.sku.state import Capacity, Count, Delisting, Sku
from tests.domain.sku_vocabulary import capacity, counted, delisted, relisted, sku_after
from tests.domain.vocabulary import MICROSECOND, MONDAY_9, MONDAY_10, MONDAY_11, MONDAY_12, MONDAY_13


def test_a_sku_nothing_was_told_of_is_for_sale() -> None:
    sku = Sku("SKU-1")
    assert (sku.version, sku.position, sku.listed, sku.delisted_at, sku.delistings) == (0, 0, True, None, ())
    assert sku.was_listed(MONDAY_9)
    assert sku.off_sale_since(MONDAY_9) is None


def test_the_last_count_in_the_world_holds_and_of_one_moment_the_one_told_last() -> None:
    assert sku_after(counted(5, at=MONDAY_10), counted(9, at=MONDAY_9)).count == Count(5, MONDAY_10)
    assert sku_after(counted(5, at=MONDAY_10), counted(9, at=MONDAY_10)).count == Count(9, MONDAY_10)
    assert sku_after(counted(5, at=MONDAY_10), counted(9, at=MONDAY_11)).count == Count(9, MONDAY_11)


def test_the_last_capacity_in_the_world_holds_and_of_one_moment_the_one_told_last() -> None:
    first = capacity(5, 6, at=MONDAY_10)
    assert sku_after(first, capacity(7, 8, at=MONDAY_9)).capacity == Capacity(5, 6, MONDAY_10)
    assert sku_after(first, capacity(7, 8, at=MONDAY_10)).capacity == Capacity(7, 8, MONDAY_10)
    assert sku_after(first, capacity(7, 8, at=MONDAY_11)).capacity == Capacity(7, 8, MONDAY_11)


def test_the_last_moment_is_the_latest_not_the_last_told() -> None:
    sku = sku_after(counted(5, at=MONDAY_10), delisted(at=MONDAY_9))
    assert (sku.version, sku.position, sku.last_occurred_at) == (2, 2, MONDAY_10)


def test_when_it_was_off_the_shelf() -> None:
    sku = sku_after(delisted(at=MONDAY_9), relisted(at=MONDAY_11), delisted(at=MONDAY_12))
    assert sku.delistings == (Delisting(MONDAY_9, MONDAY_11), Delisting(MONDAY_12, None))
    assert (sku.listed, sku.delisted_at) == (False, MONDAY_12)
    for at, listed, off_since in (
        (MONDAY_9 - MICROSECOND, True, MONDAY_9),
        (MONDAY_9, False, MONDAY_9),
        (MONDAY_11 - MICROSECOND, False, MONDAY_9),
        (MONDAY_11, True, MONDAY_12),
        (MONDAY_12, False, MONDAY_12),
        (MONDAY_13, False, MONDAY_12),
    ):
        assert (sku.was_listed(at), sku.off_sale_since(at)) == (listed, off_since)


def test_what_is_off_the_shelf_is_off_it_since_it_was_first_taken_off() -> None:
    sku = sku_after(delisted(at=MONDAY_9), delisted(at=MONDAY_10))
    assert (sku.delistings, sku.delisted_at) == ((Delisting(MONDAY_9, None),), MONDAY_9)
    back = sku_after(delisted(at=MONDAY_9), relisted(at=MONDAY_10), relisted(at=MONDAY_11))
    assert (back.delistings, back.listed) == ((Delisting(MONDAY_9, MONDAY_10),), True)
    assert sku_after(relisted(at=MONDAY_10)).delistings == ()


def test_of_one_moment_what_was_told_last_is_so() -> None:
    assert sku_after(delisted(at=MONDAY_9), relisted(at=MONDAY_9)).listed
    assert not sku_after(relisted(at=MONDAY_9), delisted(at=MONDAY_9)).listed
    assert not sku_after(delisted(at=MONDAY_10), relisted(at=MONDAY_9)).listed
