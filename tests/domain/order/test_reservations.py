"""What an order wants of its SKUs, through its life."""

from datetime import datetime

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.order import events as e
from domain.order.fold import fold
from domain.order.reservations import Reservation, reservations
from tests.domain.vocabulary import (
    MONDAY_9,
    MONDAY_12,
    MONDAY_14,
    MONDAY_16,
    TWO_SKUS,
    Fact,
    awaiting_shipment,
    cancelled,
    given,
    group_failed,
    group_formed,
    line,
    paid,
    placed,
    refunded,
    review_completed,
    stockout_requested,
    tracking_replaced,
    tracking_uploaded,
)


def wants(*facts: Fact) -> list[tuple[str, int, str, datetime | None]]:
    return [(r.sku_id, r.quantity, r.state, r.ended_at) for r in reservations(given(*facts).order)]


@pytest.mark.parametrize(
    ("facts", "state", "ended_at"),
    [
        ((placed(paid_fen=None),), "unpaid", None),
        ((placed(),), "pending", None),
        ((placed(paid_fen=None), paid()), "pending", None),
        ((placed(paid_fen=None), group_formed()), "reserved", None),
        (awaiting_shipment(), "reserved", None),
        ((*awaiting_shipment(), stockout_requested()), "reserved", None),
        ((*awaiting_shipment(), tracking_uploaded(at=MONDAY_12)), "shipped", MONDAY_12),
        ((*awaiting_shipment(), tracking_uploaded(at=MONDAY_12), refunded(at=MONDAY_14)), "shipped", MONDAY_12),
        ((*awaiting_shipment(), refunded(at=MONDAY_14)), "refunded", MONDAY_14),
        ((*awaiting_shipment(), refunded(at=MONDAY_14, amount_fen=1)), "reserved", None),
        ((*awaiting_shipment(), cancelled(at=MONDAY_14)), "cancelled", MONDAY_14),
        ((placed(), group_failed(at=MONDAY_9)), "group_failed", MONDAY_9),
        (
            (*awaiting_shipment(), stockout_requested(), review_completed("approved", at=MONDAY_14)),
            "stocked_out",
            MONDAY_14,
        ),
        (
            (
                *awaiting_shipment(),
                stockout_requested(),
                review_completed("approved", at=MONDAY_14),
                refunded("platform", at=MONDAY_16),
            ),
            "refunded",
            MONDAY_14,
        ),
        (
            (*awaiting_shipment(), stockout_requested(), review_completed("rejected", at=MONDAY_14)),
            "reserved",
            None,
        ),
        (
            (
                *awaiting_shipment(),
                tracking_uploaded("SF1", at=MONDAY_12),
                tracking_replaced("SF1", "SF2", at=MONDAY_14),
            ),
            "shipped",
            MONDAY_12,
        ),
    ],
)
def test_one_sku_in_one_piece(facts: tuple[Fact, ...], state: str, ended_at: datetime | None) -> None:
    assert wants(*facts) == [("SKU-1", 1, state, ended_at)]


def test_lines_of_one_sku_are_one_reservation() -> None:
    assert wants(placed(lines=(line("A", 2), line("B", 1), line("A", 3)))) == [
        ("A", 5, "pending", None),
        ("B", 1, "pending", None),
    ]


def test_of_a_split_shipment_the_rest_stays_reserved_until_it_goes() -> None:
    split = (
        placed(lines=TWO_SKUS),
        group_formed(),
        tracking_uploaded("SF1", at=MONDAY_12, lines=(e.ParcelLine("SKU-1", 1),)),
    )
    assert wants(*split) == [
        ("SKU-1", 1, "shipped", MONDAY_12),
        ("SKU-1", 1, "reserved", None),
        ("SKU-2", 1, "reserved", None),
    ]
    rest = tracking_uploaded("SF2", at=MONDAY_14, lines=(e.ParcelLine("SKU-1", 1), e.ParcelLine("SKU-2", 1)))
    assert {state for _, _, state, _ in wants(*split, rest)} == {"shipped"}
    assert wants(*split, refunded(at=MONDAY_14)) == [
        ("SKU-1", 1, "shipped", MONDAY_12),
        ("SKU-1", 1, "refunded", MONDAY_14),
        ("SKU-2", 1, "refunded", MONDAY_14),
    ]


_LINES = st.lists(st.builds(line, st.sampled_from("ABC"), st.integers(1, 5)), max_size=5).map(tuple)
_PARCELS = st.lists(
    st.lists(st.builds(e.ParcelLine, st.sampled_from("ABCD"), st.integers(1, 4)), max_size=3).map(tuple), max_size=3
)


@for_all(lines=_LINES, parcels=_PARCELS, ending=st.sampled_from([None, refunded(at=MONDAY_16)]))
def test_every_piece_is_somewhere_and_only_once(
    lines: tuple[e.Line, ...], parcels: list[tuple[e.ParcelLine, ...]], ending: Fact | None
) -> None:
    uploads = [tracking_uploaded(f"SF{n}", at=MONDAY_12, lines=packed) for n, packed in enumerate(parcels)]
    order = given(placed(lines=lines), group_formed(), *uploads, *([ending] if ending else [])).order
    found: list[Reservation] = reservations(order)
    for sku_id in "ABCD":
        pieces = sum(each.quantity for each in lines if each.sku_id == sku_id)
        assert sum(each.quantity for each in found if each.sku_id == sku_id) == pieces
    assert all(each.quantity > 0 for each in found)
    assert all((each.ended_at is None) == (each.state in ("unpaid", "pending", "reserved")) for each in found)
    assert reservations(fold(order.order_sn, [])) == []
