"""The stockout case: what opens it, what is in it, and what closes it."""

from datetime import datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.order.events import ReviewOutcome
from domain.order.reservations import ReservationState
from domain.sku.state import fold
from domain.stockout.case import Application, SkuOrder, StockoutCase, cases
from tests.domain.sku_vocabulary import SKU_ID, SkuFact, counted, delisted, history_of, relisted
from tests.domain.vocabulary import (
    MICROSECOND,
    MONDAY_8,
    MONDAY_9,
    MONDAY_10,
    MONDAY_11,
    MONDAY_12,
    MONDAY_13,
    MONDAY_14,
    TUESDAY_9,
    WEDNESDAY_9,
    hours,
)


def order(
    number: int,
    *,
    formed: datetime = MONDAY_9,
    ended: datetime | None = None,
    state: ReservationState | None = None,
    quantity: int = 1,
    contacted: datetime | None = None,
) -> SkuOrder:
    return SkuOrder(f"o{number}", quantity, state or ("shipped" if ended else "reserved"), formed, ended, contacted)


def application(number: int, *, at: datetime = MONDAY_10, outcome: ReviewOutcome | None = None) -> Application:
    return Application(f"o{number}", 100 + number, at, outcome=outcome)


def of(*wanted: SkuOrder, applied: tuple[Application, ...], told: tuple[SkuFact, ...] = ()) -> list[StockoutCase]:
    return cases(SKU_ID, history_of(*told), applied, wanted)


def standings(case: StockoutCase) -> dict[str, str]:
    return {each.order_sn: each.standing for each in case.orders}


def test_an_application_opens_a_case_with_every_open_order_of_the_sku() -> None:
    (case,) = of(order(1), order(2), order(3, ended=MONDAY_9 + hours(0.5)), applied=(application(1),), told=())
    assert (case.case_id, case.opened_at, case.opened_by) == (f"{SKU_ID}:101", MONDAY_10, "o1")
    assert standings(case) == {"o1": "applied", "o2": "at_risk"}
    assert case.closed_at is None
    assert case.counts() | {"applied": 1, "at_risk": 1} == case.counts()


def test_orders_formed_later_fall_into_it_until_the_sku_is_off_the_shelf() -> None:
    wanted = [order(1), order(2, formed=MONDAY_11), order(3, formed=MONDAY_13)]
    (still_for_sale,) = of(*wanted, applied=(application(1),))
    assert set(standings(still_for_sale)) == {"o1", "o2", "o3"}
    (stopped,) = of(*wanted, applied=(application(1),), told=(delisted(at=MONDAY_12),))
    assert set(standings(stopped)) == {"o1", "o2"}
    assert stopped.delisted_at == MONDAY_12
    (at_once,) = of(*wanted, applied=(application(1),), told=(delisted(at=MONDAY_8),))
    assert set(standings(at_once)) == {"o1"}
    assert at_once.delisted_at == MONDAY_8


def test_a_sku_that_is_put_back_without_a_restock_is_in_trouble_again() -> None:
    wanted = [order(1, ended=MONDAY_13), order(2, formed=MONDAY_12), order(3, formed=MONDAY_14 + hours(1))]
    back = (delisted(at=MONDAY_11), relisted(at=MONDAY_11 + hours(0.5)))
    (case,) = of(wanted[0], applied=(application(1),), told=back)
    assert case.closed_at is None, "it can be bought again when the last order is decided"
    (case,) = of(*wanted, applied=(application(1),), told=(*back, delisted(at=MONDAY_14)))
    assert (set(standings(case)), case.closed_at) == ({"o1", "o2"}, None)
    sold = replace(wanted[1], ended_at=TUESDAY_9, state="shipped")
    (case,) = of(wanted[0], sold, wanted[2], applied=(application(1),), told=(*back, delisted(at=MONDAY_14)))
    assert (set(standings(case)), case.closed_at) == ({"o1", "o2"}, TUESDAY_9)
    (case,) = of(*wanted, applied=(application(1),), told=(*back, counted(9, at=MONDAY_14)))
    assert (set(standings(case)), case.restocked_at) == ({"o1", "o2"}, MONDAY_14)


def test_a_case_that_closed_while_the_sku_was_off_the_shelf_stays_closed_when_it_is_back() -> None:
    told = (delisted(at=MONDAY_11), relisted(at=MONDAY_14))
    (case,) = of(order(1, ended=MONDAY_13), order(2, formed=TUESDAY_9), applied=(application(1),), told=told)
    assert (case.closed_at, set(standings(case))) == (MONDAY_13, {"o1"})


def test_a_later_application_joins_the_open_case() -> None:
    (case,) = of(
        order(1), order(2), order(3, formed=MONDAY_13),
        applied=(application(2, at=MONDAY_14), application(1), application(3, at=MONDAY_14)),
        told=(delisted(at=MONDAY_12),),
    )  # fmt: skip
    assert case.opened_by == "o1"
    assert standings(case) == {"o1": "applied", "o2": "applied", "o3": "applied"}


def test_it_closes_when_all_are_settled_and_the_sku_is_off_the_shelf() -> None:
    settled = [order(1, ended=TUESDAY_9, state="stocked_out"), order(2, ended=MONDAY_12)]
    approved = (application(1, outcome="approved"),)
    (case,) = of(*settled, applied=approved)
    assert case.closed_at is None, "it is still for sale"
    (case,) = of(*settled, applied=approved, told=(delisted(at=MONDAY_11),))
    assert case.closed_at == TUESDAY_9
    assert standings(case) == {"o1": "approved", "o2": "shipped"}
    (case,) = of(*settled, applied=approved, told=(delisted(at=WEDNESDAY_9),))
    assert case.closed_at == WEDNESDAY_9
    (case,) = of(*settled, order(3), applied=approved, told=(delisted(at=MONDAY_11),))
    assert case.closed_at is None


def test_a_rejected_application_leaves_an_order_to_be_shipped() -> None:
    rejected = (application(1, outcome="rejected"),)
    off = (delisted(at=MONDAY_11),)
    (case,) = of(order(1), applied=rejected, told=off)
    assert (standings(case), case.closed_at) == ({"o1": "rejected"}, None)
    (case,) = of(order(1, ended=MONDAY_14), applied=rejected, told=off)
    assert (standings(case), case.closed_at) == ({"o1": "shipped"}, MONDAY_14)


def test_a_count_that_covers_what_is_owed_is_a_restock() -> None:
    wanted = [order(1, ended=MONDAY_14), order(2, quantity=4, ended=MONDAY_14)]
    (case,) = of(*wanted, applied=(application(1),), told=(counted(4, at=MONDAY_11),))
    assert case.restocked_at is None
    (case,) = of(*wanted, applied=(application(1),), told=(counted(4, at=MONDAY_11), counted(5, at=MONDAY_12)))
    assert (case.restocked_at, case.closed_at) == (MONDAY_12, MONDAY_14)
    (case,) = of(*wanted, applied=(application(1),), told=(counted(0, at=TUESDAY_9),))
    assert case.restocked_at is None, "nothing is no stock"


def test_after_it_closed_the_next_application_opens_another() -> None:
    first, second = of(
        order(1, ended=MONDAY_12),
        order(2, formed=TUESDAY_9),
        applied=(application(1), application(2, at=WEDNESDAY_9)),
        told=(delisted(at=MONDAY_11), relisted(at=MONDAY_13)),
    )
    assert (first.closed_at, set(standings(first))) == (MONDAY_12, {"o1"})
    assert (second.opened_by, second.closed_at, set(standings(second))) == ("o2", None, {"o2"})


def test_who_was_spoken_to_since_then() -> None:
    (case,) = of(
        order(1, contacted=MONDAY_9), order(2, contacted=MONDAY_11), order(3),
        order(4, formed=MONDAY_12, contacted=MONDAY_11),
        applied=(application(1),),
    )  # fmt: skip
    assert {each.order_sn: each.contacted for each in case.orders} == {
        "o1": True,
        "o2": True,
        "o3": False,
        "o4": False,
    }


def test_an_order_that_applies_stays_in_the_case_since_it_fell_in() -> None:
    wanted = [order(1), order(2, contacted=MONDAY_11), order(3), order(4, formed=MONDAY_11)]
    wanted.append(order(5, formed=MONDAY_13, contacted=MONDAY_13))
    before = (application(1),)
    off = (delisted(at=MONDAY_12),)
    then = (*before, *(application(number, at=MONDAY_14) for number in (2, 3, 4, 5)))
    (at_risk,) = of(*wanted, applied=before, told=off)
    (applied,) = of(*wanted, applied=then, told=off)
    for case, fifth in ((at_risk, []), (applied, [("o5", MONDAY_14, True, True)])):
        assert [(each.order_sn, each.since, each.contacted, each.by_application) for each in case.orders] == [
            ("o1", MONDAY_10, False, True),
            ("o2", MONDAY_10, True, False),
            ("o3", MONDAY_10, False, False),
            ("o4", MONDAY_11, False, False),
            *fifth,
        ]


def test_an_order_that_applies_again_does_not_begin_anew() -> None:
    rejected = application(1, outcome="rejected")
    again = Application("o1", 110, MONDAY_13)
    (case,) = of(order(1), order(2), applied=(rejected, application(2, at=MONDAY_12), again))
    assert (case.opened_by, case.opened_at, case.time_known) == ("o1", MONDAY_10, True)
    assert [(each.order_sn, each.since, each.standing) for each in case.orders] == [
        ("o1", MONDAY_10, "applied"),
        ("o2", MONDAY_10, "applied"),
    ]


def test_an_order_of_the_moment_of_the_application_is_in_the_case_and_one_shipped_by_then_is_not() -> None:
    (case,) = of(
        order(1), order(2, formed=MONDAY_10), order(3, ended=MONDAY_10), order(4, ended=MONDAY_10 + MICROSECOND),
        applied=(application(1, at=MONDAY_10),),
    )  # fmt: skip
    assert [order.order_sn for order in case.orders] == ["o1", "o2", "o4"]


def test_an_order_of_the_moment_in_which_the_shelf_changes_was_bought() -> None:
    wanted = [order(number, formed=at) for number, at in enumerate((MONDAY_9, MONDAY_11, MONDAY_12, MONDAY_13), 1)]
    (case,) = of(*wanted, applied=(application(1),), told=(delisted(at=MONDAY_11), relisted(at=MONDAY_13)))
    assert set(standings(case)) == {"o1", "o2", "o4"}


def test_an_order_bought_in_the_moment_of_delisting_must_be_settled_before_the_case_closes() -> None:
    off = (delisted(at=MONDAY_11),)
    (case,) = of(
        order(1, ended=MONDAY_12), order(2, formed=MONDAY_11), applied=(application(1),), told=off
    )  # fmt: skip
    assert (case.closed_at, standings(case)) == (None, {"o1": "shipped", "o2": "at_risk"})
    (case,) = of(
        order(1, ended=MONDAY_12), order(2, formed=MONDAY_11, ended=MONDAY_14), applied=(application(1),), told=off
    )  # fmt: skip
    assert (case.closed_at, standings(case)) == (MONDAY_14, {"o1": "shipped", "o2": "shipped"})


def test_a_case_whose_last_order_is_settled_in_the_moment_of_relisting_stays_open() -> None:
    told = (delisted(at=MONDAY_11), relisted(at=MONDAY_13))
    (case,) = of(order(1, ended=MONDAY_13), applied=(application(1),), told=told)
    assert case.closed_at is None
    (case,) = of(order(1, ended=MONDAY_13 - MICROSECOND), applied=(application(1),), told=told)
    assert case.closed_at == MONDAY_13 - MICROSECOND


def test_a_count_that_is_older_than_the_case_or_just_as_old_is_no_restock() -> None:
    (case,) = of(order(1), applied=(application(1, at=MONDAY_10),), told=(counted(9, at=MONDAY_10),))
    assert case.restocked_at is None
    (case,) = of(order(1), applied=(application(1, at=MONDAY_10),), told=(counted(9, at=MONDAY_10 + MICROSECOND),))
    assert case.restocked_at == MONDAY_10 + MICROSECOND


def test_what_was_shipped_is_owed_no_more_when_stock_is_counted() -> None:
    wanted = [order(1), order(2, quantity=4, ended=MONDAY_11)]
    (case,) = of(*wanted, applied=(application(1),), told=(counted(1, at=MONDAY_12),))
    assert case.restocked_at == MONDAY_12
    (case,) = of(*wanted, applied=(application(1),), told=(counted(1, at=MONDAY_11 - MICROSECOND),))
    assert case.restocked_at is None
    (case,) = of(order(1, ended=MONDAY_11), applied=(application(1),), told=(counted(1, at=MONDAY_12),))
    assert (case.restocked_at, case.closed_at) == (MONDAY_12, MONDAY_12), "one piece is enough if none is owed"


def test_an_order_of_the_moment_of_the_restock_can_be_shipped_if_the_sku_was_off_the_shelf_until_then() -> None:
    wanted = [order(1), order(2, formed=MONDAY_13)]
    back_with_stock = (delisted(at=MONDAY_11), relisted(at=MONDAY_13), counted(9, at=MONDAY_13))
    for told in (back_with_stock, (*back_with_stock, delisted(at=MONDAY_13))):
        (case,) = of(*wanted, applied=(application(1),), told=told)
        assert set(standings(case)) == {"o1"}
    (case,) = of(*wanted, applied=(application(1),), told=(counted(9, at=MONDAY_13),))
    assert set(standings(case)) == {"o1", "o2"}, "it was for sale before the stock came"


def test_a_restock_leaves_what_happened_before_it_as_it_was() -> None:
    told = (delisted(at=MONDAY_11), relisted(at=MONDAY_13), counted(9, at=MONDAY_14))
    (case,) = of(order(1), order(2, formed=MONDAY_12), applied=(application(1),), told=told)
    assert set(standings(case)) == {"o1"}
    (case,) = of(order(1, ended=MONDAY_12), applied=(application(1),), told=told)
    assert case.closed_at == MONDAY_12


def test_an_application_in_the_moment_of_closing_belongs_to_the_case() -> None:
    wanted = [order(1, ended=MONDAY_12), order(2, ended=MONDAY_12)]
    (case,) = of(
        *wanted, applied=(application(1), application(2, at=MONDAY_12)), told=(delisted(at=MONDAY_11),)
    )  # fmt: skip
    assert (case.closed_at, set(standings(case))) == (MONDAY_12, {"o1", "o2"})


def test_an_order_that_applies_in_the_moment_it_is_formed_fell_in_before() -> None:
    (case,) = of(order(1), order(2, formed=MONDAY_12), applied=(application(1), application(2, at=MONDAY_12)))
    assert [(each.order_sn, each.since, each.by_application) for each in case.orders] == [
        ("o1", MONDAY_10, True),
        ("o2", MONDAY_12, False),
    ]


def test_a_buyer_spoken_to_in_the_moment_the_order_fell_in_was_spoken_to() -> None:
    (case,) = of(
        order(1), order(2, contacted=MONDAY_10), order(3, contacted=MONDAY_10 - MICROSECOND),
        applied=(application(1),),
    )  # fmt: skip
    assert {each.order_sn: each.contacted for each in case.orders} == {"o1": False, "o2": True, "o3": False}


def test_a_case_says_when_the_group_of_the_order_that_opened_it_formed() -> None:
    (case,) = of(order(1, formed=MONDAY_8), applied=(application(1),))
    assert case.opened_by_formed_at == MONDAY_8
    (case,) = of(order(2), applied=(application(1),))
    assert case.opened_by_formed_at == MONDAY_10, "of an order whose group never formed it is the application"


def test_how_orders_ended_is_in_the_case() -> None:
    (case,) = of(
        order(1, ended=MONDAY_12, state="stocked_out"), order(2, ended=MONDAY_12, state="cancelled"),
        order(3, ended=MONDAY_12, state="refunded"), order(4, ended=MONDAY_12, state="shipped"),
        applied=(application(1, outcome="approved"),),
    )  # fmt: skip
    assert standings(case) == {"o1": "approved", "o2": "cancelled", "o3": "refunded", "o4": "shipped"}


def test_what_is_at_stake_is_what_a_stockout_of_the_order_would_cost() -> None:
    (case,) = of(replace(order(1), cost_fen=500), order(2), applied=(application(1),))
    assert {each.order_sn: each.cost_fen for each in case.orders} == {"o1": 500, "o2": 0}


_TIMES = st.integers(0, 60).map(lambda n: MONDAY_8 + hours(n))


@st.composite
def orders(draw: st.DrawFn) -> list[SkuOrder]:
    found = []
    for number in range(draw(st.integers(1, 8))):
        formed = draw(_TIMES)
        lasts = draw(st.none() | st.integers(1, 40))
        ended = None if lasts is None else formed + hours(lasts)
        found.append(order(number, formed=formed, ended=ended, quantity=draw(st.integers(1, 3))))
    return found


_TOLD = st.lists(
    st.one_of(
        st.builds(lambda at: delisted(at=at), _TIMES),
        st.builds(lambda at: relisted(at=at), _TIMES),
        st.builds(lambda n, at: counted(n, at=at), st.integers(0, 9), _TIMES),
    ),
    max_size=5,
)


@given(wanted=orders(), told=_TOLD, data=st.data())
def test_whatever_happens_cases_follow_each_other_and_lose_no_order(
    wanted: list[SkuOrder], told: list[SkuFact], data: st.DataObject
) -> None:
    applied = tuple(
        application(int(each.order_sn[1:]), at=each.formed_at + hours(data.draw(st.integers(0, 20))))
        for each in wanted
        if data.draw(st.booleans())
    )
    found = of(*wanted, applied=applied, told=tuple(told))
    assert bool(found) == bool(applied)
    for before, after in pairwise(found):
        assert before.closed_at is not None
        assert before.closed_at < after.opened_at
    in_cases = {each.order_sn for case in found for each in case.orders}
    assert {each.order_sn for each in applied} <= in_cases
    for case in found:
        assert len({each.order_sn for each in case.orders}) == len(case.orders)
        assert sum(case.counts().values()) == len(case.orders)
        if case.closed_at is None:
            continue
        assert case.closed_at >= case.opened_at
        assert not any(each.is_open for each in case.orders)
        restocked = case.restocked_at is not None and case.restocked_at <= case.closed_at
        assert restocked or not fold(SKU_ID, history_of(*told)).was_listed(case.closed_at)
    # Told in another order, or what came later taken away, the cases that were open already keep their names.
    assert of(*reversed(wanted), applied=applied[::-1], told=tuple(told)) == found
    if applied:
        more = [*wanted, replace(order(99), formed_at=MONDAY_8 + hours(200))]
        assert [case.case_id for case in of(*more, applied=applied, told=tuple(told))] == [
            case.case_id for case in found
        ]
