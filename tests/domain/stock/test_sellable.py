"""How much may still be sold: twenty situations worked out by hand, and the law that it can be shipped."""

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.sku.state import Sku
from domain.stock.sellable import Demand, Sellable, sellable
from tests.domain.sku_vocabulary import SkuFact, capacity, counted, delisted, relisted, sku_after
from tests.domain.vocabulary import MONDAY_8, MONDAY_9, MONDAY_10

NOW = MONDAY_10
HOURS = 48


@dataclass(frozen=True)
class Case:
    """A situation, the sum that a person would do, and what comes of it."""

    name: str
    told: tuple[SkuFact, ...]
    demand: Demand
    steps: dict[str, int]
    sellable: int | None
    hours: int = HOURS
    oversold_by: int = 0
    suggested: int | None = None

    @property
    def suggested_stock(self) -> int | None:
        return self.sellable if self.suggested is None else self.suggested


def owed(
    pieces: int, *, due: int | None = None, orders: int | None = None, pending: int = 0, shipped: int = 0
) -> Demand:
    return Demand(pieces, pieces if due is None else due, pending, shipped, pieces if orders is None else orders)


def stock(on_hand: int) -> SkuFact:
    return counted(on_hand, at=MONDAY_9)


def daily(made: int, shipped: int) -> SkuFact:
    return capacity(made, shipped, at=MONDAY_9)


NOBODY = Demand()

CASES = [
    Case("never counted", (), NOBODY, {"not_counted": 0}, None),
    Case("never counted and off the shelf", (delisted(at=MONDAY_9),), NOBODY, {"not_counted": 0, "delisted": 0}, 0),
    Case("ten on hand, nothing else known", (stock(10),), NOBODY, {"counted": 10}, 10),
    Case("ten on hand, three owed: 10 - 3", (stock(10),), owed(3), {"counted": 10, "reserved": -3}, 7),
    Case(
        "ten on hand, twelve owed: two too many",
        (stock(10),),
        owed(12),
        {"counted": 10, "reserved": -12, "short": 2},
        0,
        oversold_by=2,
    ),
    Case("nothing on hand", (stock(0),), NOBODY, {"counted": 0}, 0),
    Case(
        "ten counted, four shipped since: 10 - 4",
        (stock(10),),
        owed(0, shipped=4),
        {"counted": 10, "shipped": -4},
        6,
    ),
    Case(
        "ten counted, fifteen shipped since: the five were made since, what else was is not known",
        (stock(10),),
        owed(0, shipped=15),
        {"counted": 10, "shipped": -10},
        0,
    ),
    Case(
        "five a day are made, 48 hours are two days: 0 + 2 x 5",
        (stock(0), daily(5, 100)),
        NOBODY,
        {"counted": 0, "made": 10},
        10,
    ),
    Case(
        "ten and ten made, three owed: 10 + 10 - 3",
        (stock(10), daily(5, 100)),
        owed(3),
        {"counted": 10, "made": 10, "reserved": -3},
        17,
    ),
    Case(
        "a hundred on hand, thirty a day can be shipped: 60",
        (stock(100), daily(0, 30)),
        NOBODY,
        {"counted": 100, "shipping": -40},
        60,
    ),
    Case(
        "shipping moves the twenty that are owed first: 60 - 20",
        (stock(100), daily(0, 30)),
        owed(20),
        {"counted": 100, "shipping": -40, "reserved": -20},
        40,
    ),
    Case(
        "seventy are owed, sixty can be moved",
        (stock(100), daily(0, 30)),
        owed(70),
        {"counted": 100, "shipping": -40, "reserved": -70, "short": 10},
        0,
        oversold_by=10,
    ),
    Case(
        "nothing can be shipped at all",
        (stock(100), daily(50, 0)),
        NOBODY,
        {"counted": 100, "shipping": -100},
        0,
    ),
    Case(
        "50 and 2 x 40 made, but 2 x 45 shipped: 130 - 40 - 25",
        (stock(50), daily(40, 45)),
        owed(25),
        {"counted": 50, "made": 80, "shipping": -40, "reserved": -25},
        65,
    ),
    Case(
        "36 hours: 7 x 36 / 24 = 10.5 are made, ten whole ones; 100 x 36 / 24 = 150 can be shipped",
        (stock(0), daily(7, 100)),
        NOBODY,
        {"counted": 0, "made": 10},
        10,
        hours=36,
    ),
    Case(
        "36 hours, three made and three shipped a day: parcels leave at 8, 16, 24 and 32 hours, four of them",
        (stock(0), daily(3, 3)),
        NOBODY,
        {"counted": 0, "made": 4},
        4,
        hours=36,
    ),
    Case(
        "36 hours, two made and three shipped a day: the third is made at 36 hours, the last parcel leaves at 32",
        (stock(0), daily(2, 3)),
        NOBODY,
        {"counted": 0, "made": 2},
        2,
        hours=36,
    ),
    Case(
        "off the shelf: 10 - 3, and none of it is for sale",
        (stock(10), delisted(at=MONDAY_9)),
        owed(3),
        {"counted": 10, "reserved": -3, "delisted": -7},
        0,
    ),
    Case(
        "put back: what counts is the shelf now",
        (stock(10), delisted(at=MONDAY_8), relisted(at=MONDAY_9)),
        owed(3),
        {"counted": 10, "reserved": -3},
        7,
    ),
    Case(
        "forty owed for a presale next week are made till then, but what lies here is theirs",
        (stock(30), daily(10, 100)),
        owed(40, due=0),
        {"counted": 30, "made": 20, "reserved": -40},
        10,
    ),
    Case(
        "two of ten are in a group that may still form: 10 to sell, 8 to show",
        (stock(10),),
        owed(0, pending=2),
        {"counted": 10},
        10,
        suggested=8,
    ),
]


def found(case: Case) -> Sellable:
    return sellable(sku_after(*case.told), case.demand, case.hours, NOW)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_worked_out_by_hand(case: Case) -> None:
    came = found(case)
    assert came.sellable == case.sellable
    told = {step.step: step.quantity for step in came.because}
    assert {name: quantity for name, quantity in told.items() if quantity} == {
        name: quantity for name, quantity in case.steps.items() if quantity
    }
    assert case.steps.keys() <= told.keys()
    assert all(step.detail for step in came.because)
    assert came.oversold_by == case.oversold_by
    assert came.suggested_stock == case.suggested_stock


def test_there_are_twenty() -> None:
    assert len({case.name for case in CASES}) >= 20


def test_the_steps_say_what_was_counted_on() -> None:
    came = sellable(sku_after(stock(50), daily(40, 45)), owed(25, orders=9, shipped=2), HOURS, NOW)
    assert [step.detail for step in came.because] == [
        "50 were counted at 2026-03-02 09:00.",
        "2 were shipped since the count.",
        "40 a day are made; 80 early enough to be shipped by 2026-03-04 10:00.",
        "45 a day can be shipped: 90 in the 48 hours till then.",
        "9 open orders are owed 25 and go first.",
    ]


def test_orders_beyond_it_are_warned_of() -> None:
    (warning,) = sellable(sku_after(stock(10)), owed(12), HOURS, NOW).warnings
    assert warning.code == "oversold"
    assert "2 of 12" in warning.detail
    assert sellable(sku_after(stock(10)), owed(10), HOURS, NOW).warnings == ()
    assert [w.code for w in sellable(sku_after(), owed(1), HOURS, NOW).warnings] == ["not_counted"]
    assert sellable(sku_after(), NOBODY, HOURS, NOW).warnings == ()


def test_groups_that_may_still_form_beyond_it_are_warned_of() -> None:
    assert sellable(sku_after(stock(10)), owed(7, pending=3), HOURS, NOW).warnings == ()
    (warning,) = sellable(sku_after(stock(10)), owed(7, pending=5), HOURS, NOW).warnings
    assert warning.code == "pending"
    assert "5 pieces are paid for in groups that may still form, 2 more than can be shipped then." in warning.detail
    off = sku_after(stock(10), delisted(at=MONDAY_9))
    assert sellable(off, owed(7, pending=3), HOURS, NOW).warnings == (), "they were bought before it was delisted"
    both = sellable(sku_after(stock(10)), owed(12, pending=1), HOURS, NOW).warnings
    assert [w.code for w in both] == ["oversold", "pending"]


def test_what_exactly_covers_it_is_neither_short_nor_beyond() -> None:
    exactly = sellable(sku_after(stock(10)), owed(10), HOURS, NOW)
    assert "short" not in {step.step for step in exactly.because}
    assert (exactly.sellable, exactly.oversold_by) == (0, 0)
    short = sellable(sku_after(stock(10)), owed(12), HOURS, NOW)
    assert "2 are owed beyond that; less than none can't be sold." in [step.detail for step in short.because]
    assert sellable(sku_after(stock(10)), owed(7, pending=3), HOURS, NOW).warnings == ()


def test_what_was_made_since_the_count_is_said_not_to_be_known_when_nothing_counted_is_left() -> None:
    details = {}
    for shipped in (9, 10):
        came = sellable(sku_after(stock(10)), owed(0, shipped=shipped), HOURS, NOW)
        details[shipped] = {step.step: step.detail for step in came.because}["shipped"]
    assert details == {
        9: "9 were shipped since the count.",
        10: "10 were shipped since the count; what was made since then is not known to be there.",
    }


def test_without_a_capacity_nothing_is_made_and_shipping_is_no_limit() -> None:
    came = sellable(sku_after(stock(10)), NOBODY, HOURS, NOW)
    assert [(step.step, step.quantity, step.detail) for step in came.because] == [
        ("counted", 10, "10 were counted at 2026-03-02 09:00."),
        ("made", 0, "No capacity is set, so no production is counted on."),
        ("shipping", 0, "No capacity is set, so shipping is not taken for a limit."),
        ("reserved", 0, "0 open orders are owed 0 and go first."),
    ]


def test_a_sku_that_was_never_counted_is_warned_of_where_orders_want_it_but_not_off_the_shelf() -> None:
    for demand, codes in ((NOBODY, []), (owed(1), ["not_counted"]), (owed(0, pending=1), ["not_counted"])):
        assert [each.code for each in sellable(sku_after(), demand, HOURS, NOW).warnings] == codes
    off = sellable(sku_after(delisted(at=MONDAY_9)), owed(1, pending=1), HOURS, NOW)
    assert (off.warnings, off.sellable, off.suggested_stock, off.oversold_by) == ((), 0, 0, 0)
    unknown = sellable(sku_after(), owed(1), HOURS, NOW)
    assert (unknown.suggested_stock, unknown.oversold_by) == (None, 0)


def test_by_default_nobody_wants_anything() -> None:
    assert Demand() == Demand(reserved=0, due=0, pending=0, shipped=0, orders=0)


# ---- laws -------------------------------------------------------------------------------------------

_PIECES = st.integers(0, 60)
_RATE = st.integers(0, 40)
_ORDERS = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 140)), max_size=8)
"""Pieces, and the hours left to ship them."""


def can_be_shipped(on_hand: int, made: int, shipped: int, wanted: list[tuple[int, int]]) -> bool:
    """Parcel by parcel, the most urgent first: does every piece leave in time? Knows nothing of ``sellable``."""
    pieces = sorted(deadline for quantity, deadline in wanted for _ in range(quantity))
    if not pieces:
        return True
    if shipped == 0:
        return False
    left = 0
    parcel = 0
    while left < len(pieces):
        parcel += 1
        at = Fraction(24 * parcel, shipped)
        if at > 200:
            return False
        if left < on_hand + at * made // 24:
            if at > pieces[left]:
                return False
            left += 1
    return True


@given(on_hand=_PIECES, made=_RATE, shipped=_RATE, reserved=_ORDERS, hours=st.sampled_from([1, 24, 36, 48, 120]))
def test_what_is_sold_can_be_shipped_in_time(
    on_hand: int, made: int, shipped: int, reserved: list[tuple[int, int]], hours: int
) -> None:
    assume(can_be_shipped(on_hand, made, shipped, reserved))
    demand = owed(
        sum(quantity for quantity, _ in reserved),
        due=sum(quantity for quantity, deadline in reserved if deadline <= hours),
    )
    came = sellable(sku_after(stock(on_hand), daily(made, shipped)), demand, hours, NOW)
    assert came.sellable is not None
    assert can_be_shipped(on_hand, made, shipped, [*reserved, (came.sellable, hours)])
    assert came.oversold_by == 0


@given(on_hand=_PIECES, made=_RATE, shipped=_RATE, reserved=st.integers(0, 60), hours=st.integers(0, 120))
def test_and_where_all_is_due_by_then_not_a_piece_less_than_that(
    on_hand: int, made: int, shipped: int, reserved: int, hours: int
) -> None:
    came = sellable(sku_after(stock(on_hand), daily(made, shipped)), owed(reserved), hours, NOW)
    assert came.sellable is not None
    together = reserved + came.sellable - came.oversold_by
    assert can_be_shipped(on_hand, made, shipped, [(together, hours)])
    assert not can_be_shipped(on_hand, made, shipped, [(together + 1, hours)])


@given(
    on_hand=st.none() | _PIECES,
    rates=st.none() | st.tuples(_RATE, _RATE),
    demand=st.builds(Demand, _PIECES, _PIECES, _PIECES, _PIECES, _PIECES),
    listed=st.booleans(),
)
def test_the_steps_add_up(on_hand: int | None, rates: tuple[int, int] | None, demand: Demand, listed: bool) -> None:
    told = [
        *([] if on_hand is None else [stock(on_hand)]),
        *([] if rates is None else [daily(*rates)]),
        *([] if listed else [delisted(at=MONDAY_8)]),
    ]
    came = sellable(sku_after(*told), demand, HOURS, NOW)
    assert sum(step.quantity for step in came.because) == (came.sellable or 0)
    assert came.sellable is None or came.sellable >= 0
    assert came.suggested_stock is None or 0 <= came.suggested_stock <= (came.sellable or 0)


@given(on_hand=_PIECES, shipped=_PIECES, later=st.integers(0, 100))
def test_shipping_what_is_owed_frees_nothing(on_hand: int, shipped: int, later: int) -> None:
    """An order that is shipped is owed no more, and its piece is gone: nothing more may be sold for it."""
    assume(shipped <= on_hand)
    sku = sku_after(stock(on_hand))
    before = sellable(sku, owed(shipped), HOURS, NOW)
    after = sellable(sku, owed(0, shipped=shipped), HOURS, NOW + timedelta(hours=later))
    assert after.sellable == before.sellable


def test_a_sku_nothing_was_told_of_is_not_known() -> None:
    assert sellable(Sku("1"), NOBODY, HOURS, NOW).sellable is None
    assert sellable(replace(Sku("1"), listings=()), NOBODY, HOURS, NOW).on_hand is None
