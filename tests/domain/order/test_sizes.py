"""What a request body may hold: the sizes that are taken, and one more or less that is not."""

from typing import Any

import msgspec
import pytest

from domain.kernel import Command, is_id
from domain.order import commands as c
from domain.sku import commands as s

LINE = {"sku_id": "SKU-1", "goods_id": "GOODS-1", "name": "socks", "quantity": 1, "unit_price_fen": 4_300}
PACKED = {"sku_id": "SKU-1", "quantity": 1}


def is_taken(kind: type[Command], **body: Any) -> bool:
    try:
        msgspec.convert(body, kind)
    except msgspec.ValidationError:
        return False
    return True


def place(**fields: Any) -> bool:
    return is_taken(c.Place, **({"lines": [LINE]} | fields))


def line(**fields: Any) -> bool:
    return place(lines=[LINE | fields])


@pytest.mark.parametrize(
    ("taken", "shortest", "longest"),
    [
        pytest.param(lambda text: line(sku_id=text), 1, 64, id="the id of a SKU"),
        pytest.param(lambda text: line(goods_id=text), 1, 64, id="the id of goods"),
        pytest.param(lambda text: line(name=text), 1, 500, id="the name of goods"),
        pytest.param(lambda text: place(group_id=text), 1, 64, id="the id of a group"),
        pytest.param(lambda text: place(region=text), 1, 20, id="a region"),
        pytest.param(lambda text: place(note=text), 1, 2000, id="a note"),
        pytest.param(lambda text: is_taken(c.Cancel, reason=text), 1, 100, id="a reason"),
        pytest.param(
            lambda text: is_taken(c.UploadTracking, carrier="SF", tracking_number=text), 1, 64, id="a number"
        ),
        pytest.param(
            lambda text: is_taken(c.UploadTracking, carrier=text, tracking_number="SF1"), 1, 100, id="a carrier"
        ),
        pytest.param(
            lambda text: is_taken(c.AppealViolation, violation_id=text), 1, 200, id="the id of a violation"
        ),
        pytest.param(
            lambda text: is_taken(c.DecideAppeal, violation_id=text, outcome="upheld"), 1, 200, id="an appeal's"
        ),
    ],
)
def test_a_text_has_its_length(taken: Any, shortest: int, longest: int) -> None:
    assert taken("x" * shortest)
    assert taken("x" * longest)
    assert not taken("x" * (shortest - 1))
    assert not taken("x" * (longest + 1))


@pytest.mark.parametrize(
    ("taken", "least", "most"),
    [
        pytest.param(lambda number: line(quantity=number), 1, 1_000_000, id="pieces"),
        pytest.param(lambda number: line(unit_price_fen=number), 0, 10**12, id="a price"),
        pytest.param(lambda number: place(paid_fen=number), 0, 10**12, id="a payment"),
        pytest.param(
            lambda number: is_taken(c.Refund, initiated_by="buyer", reason="late", amount_fen=number),
            1,
            10**12,
            id="a refund",
        ),
        pytest.param(lambda number: is_taken(s.CountStock, on_hand=number), 0, 10**9, id="stock"),
        pytest.param(
            lambda number: is_taken(s.SetCapacity, production_per_day=number, shipping_per_day=1),
            0,
            10**9,
            id="capacity",
        ),
    ],
)
def test_a_number_has_its_bounds(taken: Any, least: int, most: int) -> None:
    assert taken(least)
    assert taken(most)
    assert not taken(least - 1)
    assert not taken(most + 1)


def test_an_order_has_one_to_200_lines() -> None:
    assert place(lines=[LINE] * 200)
    assert not place(lines=[LINE] * 201)
    assert not place(lines=[])


def test_a_parcel_or_an_application_names_up_to_200_skus() -> None:
    for count, taken in ((0, True), (200, True), (201, False)):
        assert taken is is_taken(c.UploadTracking, carrier="SF", tracking_number="SF1", lines=[PACKED] * count)
        assert taken is is_taken(c.RequestStockout, reason="no_supply", sku_ids=["SKU-1"] * count)


@pytest.mark.parametrize("text", ["SKU\x00", "SKU\x1f1", "SKU\x7f", "SKU\n"])
def test_an_id_has_no_control_characters(text: str) -> None:
    assert not line(sku_id=text)


def test_the_id_of_a_shop_or_an_order_is_one_to_64_letters_and_digits() -> None:
    for text in ("a", "7", "260302-481803633911509", "shop_1", "x" * 64):
        assert is_id(text)
    for text in ("", "-a", "_a", "a b", "a/b", "a\n", "店", "x" * 65):
        assert not is_id(text)
