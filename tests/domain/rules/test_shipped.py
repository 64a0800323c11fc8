"""The sets that ship, figure by figure against the facts they were taken from."""

from pathlib import Path

import pytest

import domain.rules
from domain.kernel import ViolationKind
from domain.rules.ruleset import GoodsHours, RuleBook, RuleSet
from tests.domain.vocabulary import RULES, beijing

SETS = Path(domain.rules.__path__[0]) / "sets"
BY_NAME = {file.stem: RuleSet.parse(file.read_text(encoding="utf-8"), file.name) for file in SETS.rglob("*.toml")}
SHIPPED = RuleBook(BY_NAME[file.stem] for file in SETS.glob("*.toml"))
YUAN = 100


def test_a_set_is_called_like_its_file() -> None:
    assert {name: rules.name for name, rules in BY_NAME.items()} == {name: name for name in BY_NAME}


@pytest.mark.parametrize(
    ("at", "name"),
    [
        (beijing(2016, 1, 1), "pinduoduo-2017-12"),
        (beijing(2018, 8, 31), "pinduoduo-2017-12"),
        (beijing(2022, 7, 31, 23, 59), "pinduoduo-2017-12"),
        (beijing(2022, 8, 1), "pinduoduo-2022-08"),
        (beijing(2022, 12, 31, 23, 59), "pinduoduo-2022-08"),
        (beijing(2023, 1, 1), "pinduoduo-2023-01"),
        (beijing(2026, 11, 23), "pinduoduo-2023-01"),
    ],
)
def test_which_set_is_in_force(at: object, name: str) -> None:
    assert SHIPPED.in_force(at).name == name  # type: ignore[arg-type]


@pytest.mark.parametrize("rules", BY_NAME.values(), ids=BY_NAME)
def test_what_the_stockout_guide_says_holds_in_every_set(rules: RuleSet) -> None:
    """48 hours, three days more, a review of two to three working days, delisting at once.

    Source: ship-by-ordinary, deemed-stockout, review-window, delist-at-once.
    """
    assert rules.ship_by.hours.ordinary == 48
    assert (rules.deemed_stockout.days, rules.deemed_stockout.counted) == (3, "as_hours")
    assert (rules.review.earliest_working_days, rules.review.latest_working_days) == (2, 3)
    assert rules.delisting.hours == 0


@pytest.mark.parametrize("rules", BY_NAME.values(), ids=BY_NAME)
def test_the_hours_and_days_of_every_set(rules: RuleSet) -> None:
    assert rules.ship_by.hours == GoodsHours(ordinary=48, direct_mail=120, bonded=168)
    assert rules.pickup.hours == GoodsHours(ordinary=24, presale=24, direct_mail=72, bonded=72)
    assert (rules.remedy.days, rules.appeal.days, rules.tracking.reuse_days) == (5, 7, 30)
    assert (rules.application.daily_limit, rules.application.conditions) == (10, "warn")
    assert (rules.application.requires_delisting, rules.application.takes_activity_orders) == (True, False)
    assert rules.tracking.frequent_replacements == 3


@pytest.mark.parametrize("rules", BY_NAME.values(), ids=BY_NAME)
def test_the_settings_of_a_review_are_the_defaults_of_the_house(rules: RuleSet) -> None:
    review = rules.review
    assert (review.counts_filing_day, review.follows_make_up_days) == (False, True)
    assert (review.filing_day_ends_at, review.ship_by_after_rejection) == (None, "runs_on")
    assert (review.pauses_ship_by, review.defers_deemed_stockout) == (False, True)
    assert (review.deemed_after_rejection, review.late_shipment_after_late_approval) == ("at_rejection", "stands")


OLD: list[tuple[ViolationKind, int, int]] = [
    ("late_shipment", 500 * YUAN, 3 * YUAN),
    ("stockout", 430 * YUAN, 5 * YUAN),
    ("stockout", 5_000 * YUAN, 5 * YUAN),
    ("fraudulent_shipment", 12_345, 12_345),
]


@pytest.mark.parametrize(
    ("name", "kind", "paid_fen", "penalty_fen"),
    [
        *(("pinduoduo-2017-12", *row) for row in OLD),
        *(("pinduoduo-2022-08", *row) for row in OLD),
        ("pinduoduo-2017-12", "false_shipment", 0, 10 * YUAN),
        ("pinduoduo-2017-12", "false_shipment", 1_000 * YUAN, 10 * YUAN),
        ("pinduoduo-2022-08", "false_shipment", 0, 10 * YUAN),
        ("pinduoduo-2022-08", "false_shipment", 50 * YUAN - 1, 10 * YUAN),
        ("pinduoduo-2022-08", "false_shipment", 50 * YUAN, 20 * YUAN),
        ("pinduoduo-2022-08", "false_shipment", 100 * YUAN, 30 * YUAN),
        ("pinduoduo-2022-08", "false_shipment", 300 * YUAN - 1, 30 * YUAN),
        ("pinduoduo-2022-08", "false_shipment", 300 * YUAN, 40 * YUAN),
        ("pinduoduo-2022-08", "false_shipment", 9_999 * YUAN, 40 * YUAN),
        ("pinduoduo-2023-01", "stockout", 430 * YUAN, 21 * YUAN),
        ("pinduoduo-2023-01", "stockout", 470 * YUAN, 23 * YUAN),
        ("pinduoduo-2023-01", "false_shipment", 50 * YUAN, 12 * YUAN),
        ("late-shipment-2025", "late_shipment", 300 * YUAN, 3 * YUAN),
        ("late-shipment-2025", "late_shipment", 300 * YUAN + 1, 3 * YUAN),
        ("late-shipment-2025", "late_shipment", 470 * YUAN, 4 * YUAN),
        ("late-shipment-2025", "late_shipment", 3_000 * YUAN, 30 * YUAN),
        ("late-shipment-2025", "late_shipment", 9_000 * YUAN, 30 * YUAN),
        ("late-shipment-2025", "stockout", 430 * YUAN, 21 * YUAN),
        ("stockout-ten-percent", "stockout", 1 * YUAN, 5 * YUAN),
        ("stockout-ten-percent", "stockout", 50 * YUAN, 5 * YUAN),
        ("stockout-ten-percent", "stockout", 430 * YUAN, 43 * YUAN),
        ("stockout-ten-percent", "stockout", 5_000 * YUAN, 100 * YUAN),
        ("stockout-ten-percent", "late_shipment", 430 * YUAN, 3 * YUAN),
    ],
)
def test_what_a_violation_costs(name: str, kind: ViolationKind, paid_fen: int, penalty_fen: int) -> None:
    assert BY_NAME[name].penalty.of(kind).amount_fen(paid_fen) == penalty_fen


def test_the_set_of_today_is_the_one_the_stories_are_judged_by() -> None:
    assert BY_NAME["pinduoduo-2023-01"] == RULES
