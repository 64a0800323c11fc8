"""Rules as data: what each figure does, which set is in force, and nonsense told from sense."""

import re

import msgspec
import pytest
from msgspec.structs import replace

from domain.rules.ruleset import Penalty, PenaltyStep, RuleBook, ViolationKind
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
    assert RULES.penalty_fen(kind, paid_fen) == penalty_fen


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
    steps = tuple(PenaltyStep(paid_from_fen=start, flat_fen=fine) for start, fine in ((0, 1), (100, 2), (200, 3)))
    table = Penalty(steps=steps, source="here", confidence="house")
    assert [table.amount_fen(paid) for paid in (0, 99, 100, 199, 200, 10**12)] == [1, 1, 2, 2, 3, 3]


# ---- which set is in force --------------------------------------------------------------------------

NEXT = replace(RULES, name="next", effective_from=MONDAY_9, ship_by=replace(RULES.ship_by, hours={"ordinary": 24}))
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


# ---- the shipped set --------------------------------------------------------------------------------


def test_the_shipped_set_is_read() -> None:
    assert RULES.ship_by.hours == {"ordinary": 48, "direct_mail": 120, "bonded": 168}
    assert RULES.pickup.hours == {"ordinary": 24, "presale": 24, "direct_mail": 72, "bonded": 72}
    assert (RULES.deemed_stockout.days, RULES.remedy.days) == (3, 5)
    assert (RULES.review.earliest_working_days, RULES.review.latest_working_days) == (2, 3)
    assert (RULES.application.daily_limit, RULES.application.conditions) == (10, "warn")
    assert (RULES.application.requires_delisting, RULES.application.takes_activity_orders) == (True, False)
    assert (RULES.delisting.hours, RULES.appeal.days) == (0, 7)
    assert (RULES.tracking.reuse_days, RULES.tracking.frequent_replacements) == (30, 3)


def test_the_shipped_settings_of_a_review_are_the_defaults_of_the_house() -> None:
    review = RULES.review
    assert review.pauses_ship_by is False
    assert review.defers_deemed_stockout is True
    assert review.deemed_after_rejection == "at_rejection"
    assert review.late_shipment_after_late_approval == "stands"


def test_every_figure_names_its_source() -> None:
    sourced = [
        RULES.ship_by,
        RULES.deemed_stockout,
        RULES.pickup,
        RULES.remedy,
        RULES.review,
        RULES.contact_buyer,
        RULES.application,
        RULES.delisting,
        RULES.appeal,
        RULES.tracking,
        *RULES.penalty.values(),
    ]
    assert all(rule.source and rule.confidence for rule in sourced)


# ---- nonsense ---------------------------------------------------------------------------------------


def edited(old: str, new: str) -> str:
    assert RULES_2023.count(old) == 1, f"{old!r} stands {RULES_2023.count(old)} times in the shipped set"
    return RULES_2023.replace(old, new)


LATE = "steps = [{ paid_from_fen = 0, flat_fen = 300 }]"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (edited('name = "pinduoduo-2023-01"', 'name = "Not A Name"'), "$.name"),
        (edited('name = "pinduoduo-2023-01"', 'name = "trailing\\n"'), "$.name"),
        (edited("effective_from = 2023-01-01T00:00:00+08:00", "effective_from = 2023-01-01T00:00:00"), "timezone"),
        (edited("effective_from = 2023-01-01T00:00:00+08:00", "effective_from = 2023-01-01"), "$.effective_from"),
        (edited("effective_from = 2023-01-01T00:00:00+08:00", ""), "effective_from"),
        (
            edited("hours = { ordinary = 48, direct_mail = 120, bonded = 168 }", "hours = { livestock = 3 }"),
            "livestock",
        ),
        (
            edited("hours = { ordinary = 48, direct_mail = 120, bonded = 168 }", "hours = { ordinary = 0 }"),
            "$.ship_by",
        ),
        (
            edited("hours = { ordinary = 48, direct_mail = 120, bonded = 168 }", "hours = { ordinary = 48.5 }"),
            "$.ship_by.hours",
        ),
        (edited("\ndays = 3", "\ndays = -3"), "$.deemed_stockout.days"),
        (edited("\ndays = 3", "\ndays = 10001"), "$.deemed_stockout.days"),
        (edited("\ndays = 3", '\ndays = "three"'), "$.deemed_stockout.days"),
        (edited("\ndays = 3", "\nday = 3"), "`day`"),
        (edited("daily_limit = 10", "daily_limit = 0"), "$.application.daily_limit"),
        (edited('conditions = "warn"', 'conditions = "shrug"'), "$.application.conditions"),
        (edited("hours = 0", "hours = -1"), "$.delisting.hours"),
        (edited("\ndays = 7", "\ndays = 0"), "$.appeal.days"),
        (edited("reuse_days = 30", "reuse_days = 0"), "$.tracking.reuse_days"),
        (edited("frequent_replacements = 3", "frequent_replacements = 0"), "$.tracking.frequent_replacements"),
        (edited("earliest_working_days = 2", "earliest_working_days = 4"), "earliest_working_days is after"),
        (edited("pauses_ship_by = false", 'pauses_ship_by = "no"'), "$.review.pauses_ship_by"),
        (
            edited('deemed_after_rejection = "at_rejection"', 'deemed_after_rejection = "x"'),
            "deemed_after_rejection",
        ),
        (edited(LATE, "steps = []"), "$.penalty"),
        (edited(LATE, "steps = [{ paid_from_fen = 100, flat_fen = 300 }]"), "begin at paid_from_fen 0"),
        (
            edited(LATE, "steps = [{ paid_from_fen = 0, flat_fen = 1 }, { paid_from_fen = 0, flat_fen = 2 }]"),
            "rise",
        ),
        (edited(LATE, "steps = [{ paid_from_fen = 0 }]"), "either flat_fen or percent"),
        (edited(LATE, "steps = [{ paid_from_fen = 0, flat_fen = 1, percent = 2 }]"), "either flat_fen or percent"),
        (edited(LATE, "steps = [{ paid_from_fen = 0, flat_fen = 1, cap_fen = 2 }]"), "cap_fen"),
        (edited(LATE, "steps = [{ paid_from_fen = 0, flat_fen = -1 }]"), "flat_fen"),
        (edited(LATE, "steps = [{ paid_from_fen = 0, percent = 0 }]"), "percent"),
        (edited(LATE, "steps = [{ paid_from_fen = 0, percent = 5, round_to_fen = 0 }]"), "round_to_fen"),
        (edited("[penalty.stockout]", "[penalty.oversleeping]"), "oversleeping"),
        (
            edited(f'[penalty.late_shipment]\n{LATE}\nsource = "DOMAIN.md §1.2"\n', "[penalty.late_shipment]\n"),
            "steps",
        ),
        ("", "name"),
    ],
)
def test_nonsense_is_refused_and_the_message_says_what(document: str, message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        RuleBook.parse([document])


def test_a_missing_penalty_is_named() -> None:
    start = RULES_2023.index("[penalty.fraudulent_shipment]")
    with pytest.raises(msgspec.ValidationError, match="no penalty for fraudulent_shipment"):
        RuleBook.parse([RULES_2023[:start]])


def test_what_is_no_toml_is_refused_as_such() -> None:
    with pytest.raises(msgspec.DecodeError):
        RuleBook.parse(["hours = { ordinary ="])


def test_the_order_of_the_documents_does_not_matter() -> None:
    later = edited('name = "pinduoduo-2023-01"', 'name = "later"').replace("2023-01-01T", "2025-01-01T")
    for documents in ([RULES_2023, later], [later, RULES_2023]):
        assert [rules.name for rules in RuleBook.parse(documents).sets] == ["pinduoduo-2023-01", "later"]


def test_the_books_own_sets_are_kept() -> None:
    assert BOOK.sets == (RULES,)
