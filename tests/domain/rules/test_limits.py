"""How much a rule set may say: the least and the most that is taken, and one less or more that is not."""

import tomllib
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.rules.reading import InvalidRuleSet
from domain.rules.ruleset import RuleSet
from tests.domain.vocabulary import MONDAY_8, RULES_2023, beijing

SOURCED = {"source": "here", "confidence": "house"}


def is_taken(path: str, value: Any) -> bool:
    """Whether the shipped rules are still a rule set with another value at a path such as ``remedy.days``."""
    document: dict[str, Any] = tomllib.loads(RULES_2023)
    *parents, last = path.split(".")
    table = document
    for name in parents:
        table = table[name]
    table[last] = value
    try:
        RuleSet.parse(document)
    except InvalidRuleSet:
        return False
    return True


@pytest.mark.parametrize(
    ("path", "least", "most"),
    [
        ("remedy.days", 1, 10_000),
        ("ship_by.hours.ordinary", 1, 10_000),
        ("contact_buyer.hours", 1, 10_000),
        ("delisting.hours", 0, 10_000),
        ("review.latest_working_days", 2, 10_000),
        ("review.earliest_working_days", 0, 3),
        ("review.filing_day_ends_at", 1, 23),
        ("application.daily_limit", 1, 10_000),
        ("tracking.reuse_days", 1, 10_000),
        ("tracking.frequent_replacements", 1, 10_000),
    ],
)
def test_a_figure_has_its_bounds(path: str, least: int, most: int) -> None:
    assert is_taken(path, least)
    assert is_taken(path, most)
    assert not is_taken(path, least - 1)
    assert not is_taken(path, most + 1)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("flat_fen", 0, 10**12), ("percent", 1, 1_000)],
)
def test_a_price_has_its_bounds(name: str, least: int, most: int) -> None:
    for amount, taken in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
        assert is_taken("penalty.stockout.steps", [{"paid_from_fen": 0, name: amount}]) is taken


def test_a_cap_and_a_rounding_have_their_bounds() -> None:
    for name, least, most in (("cap_fen", 0, 10**12), ("round_to_fen", 1, 10_000)):
        for amount, taken in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
            assert is_taken("penalty.stockout.steps", [{"paid_from_fen": 0, "percent": 5, name: amount}]) is taken


@pytest.mark.parametrize(
    ("starts", "taken"),
    [([0], True), ([0, 1, 2], True), ([1], False), ([0, 2, 1], False), ([0, 1, 1], False), ([], False)],
)
def test_the_steps_of_a_price_begin_at_nothing_and_rise(starts: list[int], taken: bool) -> None:
    steps = [{"paid_from_fen": start, "flat_fen": 100} for start in starts]
    assert is_taken("penalty.stockout.steps", steps) is taken


def test_a_price_has_up_to_a_hundred_steps() -> None:
    for count, taken in ((100, True), (101, False)):
        steps = [{"paid_from_fen": start, "flat_fen": 100} for start in range(count)]
        assert is_taken("penalty.stockout.steps", steps) is taken


@pytest.mark.parametrize(
    ("step", "taken"),
    [
        ({"flat_fen": 1}, True),
        ({"percent": 1}, True),
        ({"percent": 1, "cap_fen": 1}, True),
        ({}, False),
        ({"flat_fen": 1, "percent": 1}, False),
        ({"flat_fen": 1, "cap_fen": 1}, False),
    ],
)
def test_a_step_is_a_flat_price_or_a_percentage_that_may_be_capped(step: dict[str, int], taken: bool) -> None:
    assert is_taken("penalty.stockout.steps", [{"paid_from_fen": 0, **step}]) is taken


def test_texts_have_their_length() -> None:
    for path in ("title", "remedy.source"):
        assert is_taken(path, "x" * 500)
        assert not is_taken(path, "x" * 501)
        assert not is_taken(path, "")
    assert is_taken("remedy.confidence", "B" + " " * 499)
    assert not is_taken("remedy.confidence", "B" + " " * 500)
    assert is_taken("name", "x" * 64)
    assert not is_taken("name", "x" * 65)


FIRST, LAST = beijing(2015, 1, 1), beijing(2100, 1, 1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("moment", "taken"), [(FIRST, True), (FIRST - SECOND, False), (LAST, True), (LAST + SECOND, False)]
)
def test_a_set_is_in_force_from_a_moment_of_the_platforms_time(moment: datetime, taken: bool) -> None:
    assert is_taken("effective_from", moment) is taken


def is_a_period(**fields: Any) -> bool:
    usual = {"name": "festival", "formed_from": MONDAY_8, "formed_before": MONDAY_8 + SECOND, **SOURCED}
    if not fields.keys() & {"ship_by_hours", "ship_before", "pickup_hours"}:
        usual["suspends"] = ["stockout"]
    return is_taken("periods", [{**usual, **fields}])


@pytest.mark.parametrize(
    ("formed_from", "formed_before", "taken"),
    [
        (FIRST, LAST, True),
        (FIRST - SECOND, LAST, False),
        (FIRST, LAST + SECOND, False),
        (MONDAY_8, MONDAY_8, False),
        (MONDAY_8, MONDAY_8 + SECOND, True),
    ],
)
def test_a_period_begins_before_it_ends(formed_from: datetime, formed_before: datetime, taken: bool) -> None:
    assert is_a_period(formed_from=formed_from, formed_before=formed_before) is taken


def test_the_last_moment_to_ship_is_not_before_the_last_group() -> None:
    assert is_a_period(ship_before=MONDAY_8 + SECOND)
    assert not is_a_period(ship_before=MONDAY_8)
    assert not is_a_period(ship_before=MONDAY_8 + SECOND, ship_by_hours={"ordinary": 1})


def test_a_period_says_something() -> None:
    assert is_a_period(suspends=["stockout"])
    assert not is_a_period(suspends=[])
    for hours in ("ship_by_hours", "pickup_hours"):
        assert is_a_period(**{hours: {"ordinary": 1}})
        assert not is_a_period(**{hours: {}})


def test_a_period_has_hours_for_its_own_goods_alone() -> None:
    for hours in ("ship_by_hours", "pickup_hours"):
        assert is_a_period(goods_types=["ordinary"], **{hours: {"ordinary": 1}})
        assert not is_a_period(goods_types=["bonded"], **{hours: {"ordinary": 1}})
        assert not is_a_period(goods_types=["bonded"], **{hours: {"bonded": 1, "ordinary": 1}})


def test_lists_have_their_length() -> None:
    assert is_a_period(goods_types=["ordinary"])
    assert not is_a_period(goods_types=[])
    for count, taken in ((0, False), (1, True), (100, True), (101, False)):
        assert is_a_period(regions=[f"region {n}" for n in range(count)]) is taken
    period = {"formed_from": MONDAY_8, "formed_before": MONDAY_8 + SECOND, "suspends": ["stockout"], **SOURCED}
    for count, taken in ((0, True), (200, True), (201, False)):
        assert is_taken("periods", [{"name": f"period {n}", **period} for n in range(count)]) is taken
    assert not is_taken("periods", [{"name": "twice", **period}] * 2)


def test_a_ship_by_that_starts_anew_is_one_that_was_paused() -> None:
    assert not is_taken("review.ship_by_after_rejection", "starts_anew")
    assert is_taken("review.ship_by_after_rejection", "runs_on")


def test_ordinary_goods_have_hours() -> None:
    assert not is_taken("ship_by.hours", {"bonded": 48})
    assert is_taken("ship_by.hours", {"ordinary": 48})
