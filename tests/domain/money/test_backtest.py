"""Backtests: every order is judged twice, and what differs is what two independent judgments differ in."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import hypothesis
import pytest
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.kernel import VIOLATION_KINDS
from domain.money.backtest import (
    Charged,
    Comparison,
    OrderDifference,
    Tally,
    counted,
    largest,
    same_but_penalties,
)
from domain.order.state import Order
from domain.order.view import view
from domain.order.violations import ladder, violations, went_well
from domain.rules.ruleset import GoodsHours, PenaltyStep, Period, RuleBook, RuleSet
from tests.domain.test_laws import Look, Step, law, lived, lives, observed_lives
from tests.domain.vocabulary import (
    BOOK,
    FORMED,
    MICROSECOND,
    MONDAY_8,
    MONDAY_9,
    RULES,
    appeal_decided,
    appealed,
    complaint_decided,
    complaint_filed,
    days,
    given,
    group_formed,
    hours,
    picked_up,
    placed,
    refunded,
    tracking_uploaded,
)


def priced(fen: int) -> RuleSet:
    """The shipped rules with another price of a late shipment."""
    late = replace(RULES.penalty.late_shipment, steps=(PenaltyStep(0, flat_fen=fen),))
    return replace(RULES, name="priced", penalty=replace(RULES.penalty, late_shipment=late))


SHORTER = replace(
    RULES, name="shorter", ship_by=replace(RULES.ship_by, hours=GoodsHours(ordinary=3, direct_mail=9))
)
SLOWER = replace(
    RULES,
    name="slower",
    deemed_stockout=replace(RULES.deemed_stockout, days=1, counted="as_dates"),
    remedy=replace(RULES.remedy, days=1),
    review=replace(RULES.review, pauses_ship_by=True, deemed_after_rejection="at_due_time"),
)
FESTIVE = replace(
    RULES,
    name="festive",
    periods=(
        Period(
            name="festival",
            formed_from=MONDAY_9,
            formed_before=MONDAY_9 + days(2),
            ship_by_hours=GoodsHours(ordinary=10),
            suspends=("stockout",),
            source="here",
            confidence="house",
        ),
    ),
)
OTHERS = [RULES, priced(500), SHORTER, SLOWER, FESTIVE]

moments = st.sampled_from([MONDAY_8 + hours(h) for h in (0, 2, 30, 60, 130, 400, 9_000)])


def judged(order: Order, rules: RuleSet, at: datetime) -> list[tuple[str, int | None, str | None]]:
    """What a client is shown of an order's violations, those that count, in any order."""
    shown = view(order, RuleBook([rules]), at).violations
    counting = [v for v in shown if v.appeal is None or v.appeal.outcome != "overturned"]
    return sorted((v.kind, v.penalty_fen, v.cause) for v in counting)


# ---- laws -------------------------------------------------------------------------------------------


@law
@hypothesis.given(observed_lives(), moments)
def test_the_same_rules_make_no_difference(steps: list[Step | Look], at: datetime) -> None:
    for others in (BOOK, RuleBook([replace(RULES, name="called-otherwise")])):
        tally = Comparison(BOOK, others, at)([lived(steps).order])
        assert (tally.differing, tally.differences, tally.by_kind) == (0, [], Counter())
        assert tally.now == tally.then


@law
@hypothesis.given(observed_lives(), moments, st.sampled_from(OTHERS))
def test_a_backtest_finds_what_judging_an_order_twice_finds(
    steps: list[Step | Look], at: datetime, other: RuleSet
) -> None:
    order = lived(steps).order
    tally = Comparison(BOOK, RuleBook([other]), at)([order])
    if order.placed_at is None and order.group_formed_at is None:
        assert tally == Tally()
        return
    now, then = judged(order, RULES, at), judged(order, other, at)
    assert tally.orders == 1
    assert tally.now == Counter((kind, fen) for kind, fen, _ in now)
    assert tally.then == Counter((kind, fen) for kind, fen, _ in then)
    assert tally.differing == len(tally.differences) == (now != then)
    for found in tally.differences:
        for seen, expected in ((found.now, now), (found.then, then)):
            assert sorted((c.kind, c.penalty_fen, c.cause) for c in seen) == expected


@law
@hypothesis.given(
    st.lists(lives(max_size=6), max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.sampled_from(OTHERS),
)
def test_parts_of_a_log_add_up_to_the_whole(
    histories: Sequence[list[Step]], side: list[bool], other: RuleSet
) -> None:
    orders = [replace(lived(steps).order, order_sn=f"260302-{n}") for n, steps in enumerate(histories)]
    compare = Comparison(BOOK, RuleBook([other]), MONDAY_8 + days(60), most=2)
    whole = compare(orders)
    parts = Tally()
    for here in (True, False):
        parts.merge(compare([order for order, there in zip(orders, side, strict=False) if there is here]), 2)
    assert parts == whole


# ---- which orders, and how they are told ------------------------------------------------------------

AT = FORMED + days(10)
LATE_ORDER = given(placed(), group_formed()).order
"""Late on Wednesday, deemed a stockout on Saturday; it was paid with 43 yuan."""


def test_what_an_order_would_have_cost() -> None:
    tally = Comparison(BOOK, RuleBook([priced(700)]), AT)([LATE_ORDER])
    (found,) = tally.differences
    assert found.now == (Charged("late_shipment", 300), Charged("stockout", 500, "deemed"))
    assert found.then == (Charged("late_shipment", 700), Charged("stockout", 500, "deemed"))
    assert (found.difference_fen, found.since, found.paid_fen) == (400, FORMED, 4_300)
    assert tally.by_kind == {"late_shipment": 1}
    assert [counted(tally.then, kind).penalties_fen for kind in VIOLATION_KINDS] == [700, 500, 0, 0]
    assert counted(tally.then).violations == 2


@pytest.mark.parametrize(
    ("since", "until", "orders"),
    [
        (None, None, 1),
        (FORMED, None, 1),
        (FORMED + hours(1), None, 0),
        (None, FORMED, 0),
        (None, FORMED + hours(1), 1),
        (FORMED, FORMED + hours(1), 1),
    ],
)
def test_orders_are_taken_by_the_time_their_group_formed(
    since: datetime | None, until: datetime | None, orders: int
) -> None:
    assert Comparison(BOOK, BOOK, AT, since, until)([LATE_ORDER]).orders == orders


def test_the_other_set_governs_whatever_its_own_date() -> None:
    future = replace(priced(700), effective_from=FORMED + days(365))
    assert Comparison(BOOK, RuleBook([future]), AT)([LATE_ORDER]).differing == 1


def test_an_overturned_violation_counts_on_neither_side() -> None:
    order = given(
        placed(),
        group_formed(),
        appealed("late_shipment", at=FORMED + days(4)),
        appeal_decided("late_shipment", "overturned", at=FORMED + days(5)),
    ).order
    tally = Comparison(BOOK, RuleBook([priced(700)]), AT)([order])
    assert tally.differing == 0
    assert counted(tally.now, "late_shipment").violations == 0


def test_a_penalty_that_depends_on_an_unknown_payment_is_counted_apart() -> None:
    order = given(placed(paid_fen=None), group_formed()).order
    tally = Comparison(BOOK, RuleBook([priced(700)]), AT)([order])
    count = counted(tally.now)
    assert (count.violations, count.penalties_fen, count.unknown_penalties) == (2, 300, 1)
    assert tally.differences[0].difference_fen is None


def test_the_largest_differences_are_kept_and_all_of_them_on_demand() -> None:
    orders = [replace(LATE_ORDER, order_sn=f"260302-{n}", paid_fen=n * 100_00) for n in range(1, 6)]
    dearer = replace(RULES.penalty.late_shipment, steps=(PenaltyStep(0, percent=1),))
    other = RuleBook([replace(RULES, penalty=replace(RULES.penalty, late_shipment=dearer))])
    some = Comparison(BOOK, other, AT, most=2)(orders)
    assert [(d.order_sn, d.difference_fen) for d in some.differences] == [("260302-1", -200), ("260302-5", 200)]
    assert some.differing == 4, "of three yuan one per cent is three yuan"
    every = Comparison(BOOK, other, AT, most=None)(reversed(orders))
    assert [d.order_sn for d in every.differences] == ["260302-1", "260302-2", "260302-4", "260302-5"]
    assert largest(every.differences, 0) == []


def test_an_order_whose_group_has_not_formed_is_taken_by_its_placing_and_one_of_no_time_not_at_all() -> None:
    waiting = given(placed(at=MONDAY_8)).order
    for since, until, orders in ((MONDAY_8, None, 1), (MONDAY_9, None, 0), (None, MONDAY_8, 0)):
        assert Comparison(BOOK, BOOK, AT, since, until)([waiting]).orders == orders
    assert Comparison(BOOK, BOOK, AT)([Order("nothing")]).orders == 0


def test_all_orders_are_judged_not_only_those_before_the_first_that_is_left_out() -> None:
    early = given(placed(), group_formed(at=FORMED - hours(1))).order
    assert Comparison(BOOK, BOOK, AT, since=FORMED)([early, LATE_ORDER, early, LATE_ORDER]).orders == 2


def test_an_order_without_any_violation_is_counted_and_nothing_else() -> None:
    waiting = given(placed(at=MONDAY_8)).order
    tally = Comparison(BOOK, RuleBook([priced(700)]), AT)([waiting])
    assert tally == Tally(orders=1)


def test_by_default_the_hundred_largest_differences_are_kept() -> None:
    orders = [replace(LATE_ORDER, order_sn=f"260302-{n:03}") for n in range(101)]
    tally = Comparison(BOOK, RuleBook([priced(700)]), AT)(orders)
    assert (tally.differing, len(tally.differences)) == (101, 100)


def test_violations_that_arise_in_another_order_are_the_same() -> None:
    """The merchant gave a fen back for want of stock: under the shorter rules that was after the ship-by."""
    for third in ((), (complaint_filed(at=FORMED + hours(60)), complaint_decided("upheld", at=FORMED + hours(61)))):
        order = given(
            placed(),
            group_formed(),
            refunded("merchant", "out_of_stock", at=FORMED + hours(30), amount_fen=1),
            tracking_uploaded(at=FORMED + hours(49)),
            picked_up(at=FORMED + hours(50)),
            *third,
        ).order
        at = FORMED + hours(70)
        kinds = [[each.kind for each in violations(order, rules, at)] for rules in (RULES, SHORTER)]
        assert kinds[0] != kinds[1]
        assert sorted(kinds[0]) == sorted(kinds[1])
        assert Comparison(BOOK, RuleBook([SHORTER]), at)([order]).differing == 0


def test_a_violation_that_is_appealed_counts_until_it_is_overturned() -> None:
    order = given(placed(), group_formed(), appealed("late_shipment", at=FORMED + days(4))).order
    tally = Comparison(BOOK, RuleBook([priced(700)]), AT)([order])
    assert (tally.differing, counted(tally.now, "late_shipment").violations) == (1, 1)


def test_what_violations_come_to() -> None:
    tally = counted(Counter({("late_shipment", 300): 2, ("stockout", None): 3, ("stockout", 500): 1}))
    assert (tally.violations, tally.penalties_fen, tally.unknown_penalties) == (6, 1_100, 3)
    stockouts = counted(Counter({("late_shipment", 300): 2, ("stockout", None): 3}), "stockout")
    assert (stockouts.violations, stockouts.penalties_fen, stockouts.unknown_penalties) == (3, 0, 3)


def test_a_penalty_that_is_suspended_is_nothing_on_either_side() -> None:
    for now, then, difference in ((RULES, FESTIVE, -500), (FESTIVE, RULES, 500)):
        (found,) = Comparison(RuleBook([now]), RuleBook([then]), AT)([LATE_ORDER]).differences
        assert found.difference_fen == difference


def test_sets_are_the_same_but_for_penalties_only_where_nothing_else_decides() -> None:
    plain, dearer, shorter, slower = (replace(each, periods=()) for each in (RULES, priced(700), SHORTER, SLOWER))
    assert same_but_penalties(plain, dearer)
    for other in (shorter, slower, FESTIVE):
        assert not same_but_penalties(plain, other)
        assert not same_but_penalties(other, plain)
    assert not same_but_penalties(FESTIVE, FESTIVE), "a period may suspend what another does not"


def test_of_what_differs_equally_the_lower_number_comes_first_and_the_unknown_last() -> None:
    def differs(number: str, fen: int | None) -> OrderDifference:
        return OrderDifference(number, FORMED, None, (), (), fen)

    found = [differs("4", None), differs("3", -200), differs("2", 200), differs("5", 1)]
    assert [each.order_sn for each in largest(found, 4)] == ["2", "3", "5", "4"]
    assert [each.order_sn for each in largest(found, None)] == ["2", "3", "4", "5"]


def test_what_an_order_costs_is_all_its_violations_together() -> None:
    tally = Comparison(BOOK, RuleBook([SHORTER]), FORMED + hours(40))([LATE_ORDER])
    (found,) = tally.differences
    assert (found.now, found.then, found.difference_fen) == ((), (Charged("late_shipment", 300),), 300)
    assert tally.by_kind == {"late_shipment": 1}
    both = Comparison(BOOK, RuleBook([SHORTER]), FORMED + hours(76))([LATE_ORDER])
    (found,) = both.differences
    assert (len(found.now), len(found.then), found.difference_fen) == (1, 2, 500)
    assert both.by_kind == {"stockout": 1}


# ---- the short cut ----------------------------------------------------------------------------------


@law
@hypothesis.given(observed_lives(), st.sampled_from(OTHERS))
def test_an_order_that_went_well_breaks_no_rule_ever(steps: list[Step | Look], rules: RuleSet) -> None:
    order = lived(steps).order
    if went_well(order, rules):
        assert ladder(order, rules) == ()


def test_an_order_goes_well_as_long_as_it_is_shipped_and_scanned_in_time() -> None:
    shipped = given(placed(), group_formed(), tracking_uploaded(at=FORMED + hours(48)))
    assert went_well(shipped.and_(picked_up(at=FORMED + hours(72))).order, RULES)
    assert not went_well(shipped.and_(picked_up(at=FORMED + hours(72) + MICROSECOND)).order, RULES)
    assert not went_well(shipped.order, RULES)
    late = given(placed(), group_formed(), tracking_uploaded(at=FORMED + hours(48) + MICROSECOND))
    assert not went_well(late.and_(picked_up(at=FORMED + hours(49))).order, RULES)
