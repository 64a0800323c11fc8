"""Rules as data: what each figure does, and which set is in force."""

from datetime import datetime

import hypothesis
import pytest
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.calendar import END_OF_TIME
from domain.kernel import ViolationKind
from domain.rules.ruleset import GoodsHours, Penalty, PenaltyStep, RuleBook
from tests.domain.vocabulary import (
    BOOK,
    FORMED,
    MICROSECOND,
    MONDAY_8,
    MONDAY_9,
    RULES,
    RULES_2023,
    beijing,
    days,
    given,
    given_nothing,
    group_formed,
    placed,
    tracking_uploaded,
)

YUAN = 100


# ---- penalties --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "paid_fen", "penalty_fen"),
    [
        ("late_shipment", 0, 3 * YUAN),
        ("late_shipment", 1_000_000 * YUAN, 3 * YUAN),
        ("late_shipment", None, 3 * YUAN),
        ("stockout", 0, 5 * YUAN),
        ("stockout", 100 * YUAN - 1, 5 * YUAN),
        ("stockout", 100 * YUAN, 5 * YUAN),
        ("stockout", 119 * YUAN, 5 * YUAN),
        ("stockout", 120 * YUAN, 6 * YUAN),
        ("stockout", 430 * YUAN, 21 * YUAN),
        ("stockout", 470 * YUAN, 23 * YUAN),
        ("stockout", 1_999 * YUAN, 99 * YUAN),
        ("stockout", 2_000 * YUAN, 100 * YUAN),
        ("stockout", 1_000_000 * YUAN, 100 * YUAN),
        ("stockout", None, None),
        ("false_shipment", 0, 5 * YUAN),
        ("false_shipment", 20 * YUAN - 1, 5 * YUAN),
        ("false_shipment", 20 * YUAN, 5 * YUAN),
        ("false_shipment", 50 * YUAN, 12 * YUAN),
        ("false_shipment", 400 * YUAN, 100 * YUAN),
        ("false_shipment", 1_000_000 * YUAN, 100 * YUAN),
        ("false_shipment", None, None),
        ("fraudulent_shipment", 12_345, 12_345),
        ("fraudulent_shipment", 0, 0),
        ("fraudulent_shipment", None, None),
    ],
)
def test_what_a_violation_costs(kind: ViolationKind, paid_fen: int | None, penalty_fen: int | None) -> None:
    assert RULES.penalty.of(kind).amount_fen(paid_fen) == penalty_fen


def test_the_worked_numbers_reach_the_order() -> None:
    given(placed(paid_fen=43_000), group_formed()).at(FORMED + days(6)).has_violation("stockout", penalty_fen=2_100)
    given(placed(paid_fen=5_000), group_formed(), tracking_uploaded(at=MONDAY_9)).at(
        FORMED + days(2)
    ).has_violation("false_shipment", penalty_fen=1_200)


def test_a_percentage_is_rounded_down_and_capped_exactly() -> None:
    step = PenaltyStep(paid_from_fen=0, percent=5, cap_fen=150, round_to_fen=10)
    assert [step.amount_fen(paid) for paid in (0, 199, 200, 399, 400, 2_999, 3_000, 99_999)] == [
        0,
        0,
        10,
        10,
        20,
        140,
        150,
        150,
    ]


def test_the_step_is_the_last_one_reached() -> None:
    table_steps = tuple(
        PenaltyStep(paid_from_fen=start, flat_fen=fine) for start, fine in ((0, 1), (100, 2), (200, 3))
    )
    table = Penalty(steps=table_steps, source="here", confidence="house")
    assert [table.amount_fen(paid) for paid in (0, 99, 100, 199, 200, 10**12)] == [1, 1, 2, 2, 3, 3]


steps = st.builds(
    PenaltyStep,
    paid_from_fen=st.just(0),
    percent=st.integers(1, 1_000),
    cap_fen=st.one_of(st.none(), st.integers(0, 50_000)),
    round_to_fen=st.sampled_from([1, 10, 100, 5_000]),
)
payments = st.integers(0, 10**9)


@hypothesis.given(steps, payments, payments)
def test_within_a_step_who_paid_more_is_never_charged_less(step: PenaltyStep, one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert step.amount_fen(less) <= step.amount_fen(more)


@hypothesis.given(steps, payments)
def test_a_percentage_is_never_above_its_cap_nor_rounded_up(step: PenaltyStep, paid_fen: int) -> None:
    amount = step.amount_fen(paid_fen)
    assert 0 <= amount * 100 <= paid_fen * (step.percent or 0)
    if step.cap_fen is None:
        assert amount % step.round_to_fen == 0
        assert paid_fen * (step.percent or 0) - amount * 100 < step.round_to_fen * 100
    else:
        assert amount <= step.cap_fen


# ---- which set is in force --------------------------------------------------------------------------

NEXT = replace(
    RULES, name="next", effective_from=MONDAY_9, ship_by=replace(RULES.ship_by, hours=GoodsHours(ordinary=24))
)
TWO = RuleBook([NEXT, RULES])


def test_a_set_is_in_force_from_its_very_moment() -> None:
    assert TWO.in_force(MONDAY_9 - MICROSECOND).name == "pinduoduo-2023-01"
    assert TWO.in_force(MONDAY_9).name == "next"
    assert TWO.in_force(MONDAY_9 + days(3_650)).name == "next"


def test_before_the_first_known_set_the_first_known_set_is_in_force() -> None:
    assert TWO.in_force(beijing(2016, 1, 1)).name == "pinduoduo-2023-01"


def test_an_order_is_judged_by_the_set_in_force_when_its_group_formed() -> None:
    given(placed(at=MONDAY_8), group_formed(at=MONDAY_9), under=TWO).at(MONDAY_9 + days(9)).shows(
        ship_by=MONDAY_9 + days(1)
    ).has_violation("late_shipment", rule="next/late_shipment")
    given(placed(at=MONDAY_8), group_formed(at=MONDAY_9 - MICROSECOND), under=TWO).at(MONDAY_9 + days(9)).shows(
        ship_by=MONDAY_9 + days(2) - MICROSECOND
    ).has_violation("late_shipment", rule="pinduoduo-2023-01/late_shipment")


def test_until_its_group_forms_an_order_is_judged_by_the_set_of_its_placing() -> None:
    assert given(placed(at=MONDAY_8), under=TWO).at(MONDAY_9).view.rules.name == "pinduoduo-2023-01"
    assert given(placed(at=MONDAY_9), under=TWO).at(MONDAY_9).view.rules.name == "next"


def test_an_order_nothing_is_known_of_is_judged_by_the_newest_set() -> None:
    assert given_nothing(under=TWO).rules.name == "next"


def test_an_order_names_the_rules_it_is_judged_by() -> None:
    rules = given(placed(), group_formed()).at(FORMED).view.rules
    assert (rules.name, rules.effective_from) == ("pinduoduo-2023-01", beijing(2023, 1, 1))


def test_a_book_needs_a_set() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RuleBook([])


@pytest.mark.parametrize("twin", [replace(RULES, name="twin"), replace(RULES, effective_from=MONDAY_9)])
def test_two_sets_of_one_moment_or_one_name_are_refused(twin: object) -> None:
    with pytest.raises(ValueError, match="pinduoduo-2023-01"):
        RuleBook([RULES, twin])  # type: ignore[list-item]


# ---- days -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "counted", "count", "over"),
    [
        (beijing(2026, 3, 2, 9), "as_hours", 3, beijing(2026, 3, 5, 9)),
        (beijing(2026, 3, 2, 9), "as_dates", 3, beijing(2026, 3, 6) - MICROSECOND),
        (beijing(2026, 3, 2), "as_dates", 1, beijing(2026, 3, 4) - MICROSECOND),
        (beijing(2026, 3, 2) - MICROSECOND, "as_dates", 1, beijing(2026, 3, 3) - MICROSECOND),
    ],
)
def test_when_days_are_over(moment: datetime, counted: str, count: int, over: datetime) -> None:
    days_counted = replace(RULES.remedy, days=count, counted=counted)
    assert days_counted.after(moment) == over
    assert days_counted.after(moment).tzinfo is moment.tzinfo


def test_days_beyond_the_end_of_time_end_there() -> None:
    for counted in ("as_hours", "as_dates"):
        forever = replace(RULES.remedy, days=10_000, counted=counted)
        assert forever.after(beijing(9999, 12, 1)) == END_OF_TIME


def test_three_date_days_give_an_order_until_the_third_midnight() -> None:
    dates = RuleBook([replace(RULES, deemed_stockout=replace(RULES.deemed_stockout, counted="as_dates"))])
    story = given(placed(), group_formed(), under=dates)
    due = beijing(2026, 3, 8) - MICROSECOND
    story.at(due).has_deadline("deemed_stockout", due_at=due, state="pending").has_violations("late_shipment")
    story.at(due + MICROSECOND).has_violations("late_shipment", "stockout/deemed")


# ---- a book from documents --------------------------------------------------------------------------


def test_the_order_of_the_documents_does_not_matter() -> None:
    later = RULES_2023.replace('name = "pinduoduo-2023-01"', 'name = "later"').replace(
        "effective_from = 2023-01-01", "effective_from = 2025-01-01"
    )
    for documents in ([RULES_2023, later], [later, RULES_2023]):
        assert [rules.name for rules in RuleBook.parse(documents).sets] == ["pinduoduo-2023-01", "later"]


def test_the_books_own_sets_are_kept() -> None:
    assert BOOK.sets == (RULES,)
