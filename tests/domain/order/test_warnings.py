"""Doubtful tracking numbers, and applications that the platform may not take."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from domain.kernel import Refusal
from domain.order import commands as c
from domain.order.decisions.table import decide
from domain.order.events import StockoutRequested
from domain.order.warnings import OrderWarning, RelatedFacts, Use, warnings
from domain.rules.ruleset import RuleBook
from domain.sku.state import Sku
from domain.stockout.way_out import way_out
from tests.domain.sku_vocabulary import SkuFact, delisted, relisted, sku_after
from tests.domain.vocabulary import (
    BOOK,
    MICROSECOND,
    MONDAY_8,
    MONDAY_12,
    MONDAY_13,
    ORDER_SN,
    REQUEST_STOCKOUT,
    RULES,
    TUESDAY_9,
    UPLOAD_SF1,
    Story,
    awaiting_shipment,
    beijing,
    days,
    given,
    group_formed,
    placed,
    review_completed,
    stockout_requested,
    tracking_uploaded,
)

OTHER = "260301-000000000000002"


def warned(story: Story, related_facts: RelatedFacts) -> list[OrderWarning]:
    return list(warnings(story.order, story.rules, related_facts))


def codes(story: Story, related_facts: RelatedFacts) -> list[str]:
    return [warning.code for warning in warned(story, related_facts)]


def used(at: datetime, number: str = "SF1", by: str = OTHER) -> RelatedFacts:
    return RelatedFacts(uses=(Use(number, by, at),))


def shelf(*told: SkuFact) -> dict[str, Sku]:
    return {"SKU-1": sku_after(*told)}


# ---- tracking numbers --------------------------------------------------------------------------------

SHIPPED = given(awaiting_shipment(), tracking_uploaded(at=TUESDAY_9))


def test_a_number_that_another_order_had_is_doubtful() -> None:
    (found,) = warned(SHIPPED, used(MONDAY_12))
    assert (found.code, found.tracking_number, found.order_sn) == ("number_used_before", "SF1", OTHER)
    assert "SF1 went up for order 260301-000000000000002 at 2026-03-02 12:00." in found.detail
    assert "30 days" in found.detail


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (TUESDAY_9 - days(30) - MICROSECOND, []),
        (TUESDAY_9 - days(30), ["number_used_before"]),
        (TUESDAY_9, ["number_used_before"]),
        (TUESDAY_9 + MICROSECOND, []),
    ],
)
def test_only_within_thirty_days_before(at: datetime, expected: list[str]) -> None:
    assert codes(SHIPPED, used(at)) == expected


@pytest.mark.parametrize("typed", ["sf1", " SF1 ", "SF 1", "ＳＦ１"])
def test_a_number_is_the_same_however_it_is_typed(typed: str) -> None:
    story = given(awaiting_shipment(), tracking_uploaded(typed, at=TUESDAY_9))
    assert codes(story, used(MONDAY_12)) == ["number_used_before"]


def test_neither_the_orders_own_use_nor_another_number_is() -> None:
    assert codes(SHIPPED, used(MONDAY_12, by=ORDER_SN)) == []
    assert codes(SHIPPED, used(MONDAY_12, number="SF2")) == []


def test_a_number_that_was_replaced_is_doubtful_no_more() -> None:
    replaced = SHIPPED.when(c.ReplaceTracking(carrier="SF", tracking_number="SF2", reason="mistyped"), at=TUESDAY_9)
    assert not isinstance(replaced.decision, Refusal)
    assert codes(replaced.then(*replaced.decision), used(MONDAY_12)) == []


def test_a_shipment_without_a_number_is_not_held_against_others_without_one() -> None:
    nameless = given(awaiting_shipment(), tracking_uploaded("", at=TUESDAY_9))
    assert codes(nameless, used(MONDAY_12, number="")) == []


def test_a_third_replacement_is_too_often() -> None:
    story = SHIPPED
    for n, expected in ((2, []), (3, []), (4, ["frequent_replacements"])):
        came = story.when(
            c.ReplaceTracking(carrier="SF", tracking_number=f"SF{n}", reason="again"),
            at=TUESDAY_9 + timedelta(hours=n),
        )
        assert not isinstance(came.decision, Refusal)
        story = came.then(*came.decision)
        assert codes(story, RelatedFacts()) == expected


def test_no_warning_refuses_an_upload() -> None:
    story = given(awaiting_shipment())
    decision, _ = decide(story.history, story.order, UPLOAD_SF1, BOOK, TUESDAY_9, used(MONDAY_12))
    assert not isinstance(decision, Refusal)


# ---- applications ------------------------------------------------------------------------------------

APPLIED = given(awaiting_shipment(), stockout_requested(at=MONDAY_12))
REFUSING = RuleBook([replace(RULES, application=replace(RULES.application, conditions="refuse"))])
OFF_SALE = shelf(delisted(at=MONDAY_8))


def test_what_can_still_be_bought_is_warned_of_till_it_is_delisted() -> None:
    (found,) = warned(APPLIED, RelatedFacts(shelf()))
    assert (found.code, found.sku_id) == ("on_sale", "SKU-1")
    assert codes(APPLIED, RelatedFacts(OFF_SALE)) == []
    assert codes(APPLIED, RelatedFacts(shelf(delisted(at=MONDAY_13)))) == []
    assert codes(APPLIED, RelatedFacts(shelf(delisted(at=MONDAY_8), relisted(at=MONDAY_8)))) == ["on_sale"]


def test_an_order_of_an_activity_is_warned_of() -> None:
    activity = placed()._replace(event=replace(placed().event, activity=True))
    story = given(activity, group_formed(), stockout_requested(at=MONDAY_12))
    assert codes(story, RelatedFacts(OFF_SALE)) == ["activity_order"]


def test_the_eleventh_application_of_a_day_in_beijing_is_warned_of() -> None:
    morning, yesterday = beijing(2026, 3, 2, 0), beijing(2026, 3, 2, 0) - MICROSECOND
    assert codes(APPLIED, RelatedFacts(OFF_SALE, filed=[yesterday] * 5 + [morning] * 9)) == []
    (found,) = warned(APPLIED, RelatedFacts(OFF_SALE, filed=[morning] * 9 + [MONDAY_12]))
    assert found.code == "daily_limit"
    assert "10 applications were filed that day before; the platform takes 10 a day." in found.detail
    assert codes(APPLIED, RelatedFacts(OFF_SALE, filed=[morning] * 9 + [MONDAY_13])) == []


def test_a_decided_application_is_warned_of_no_more() -> None:
    decided = APPLIED.and_(review_completed("rejected", at=TUESDAY_9))
    assert codes(decided, RelatedFacts(shelf(), filed=[MONDAY_12] * 20)) == []


def test_an_application_that_was_observed_says_nothing_of_its_day() -> None:
    seen = given(awaiting_shipment(), stockout_requested(at=MONDAY_12).observed())
    assert codes(seen, RelatedFacts(shelf(), filed=[MONDAY_12] * 20)) == []


def test_a_missed_condition_refuses_only_where_the_rules_say_so() -> None:
    for book, related_facts, refused in (
        (BOOK, RelatedFacts(shelf()), False),
        (REFUSING, RelatedFacts(OFF_SALE), False),
        (REFUSING, RelatedFacts(shelf()), True),
        (REFUSING, RelatedFacts(OFF_SALE, filed=[MONDAY_12] * 10), True),
    ):
        story = given(awaiting_shipment(), under=book)
        decision, _ = decide(story.history, story.order, REQUEST_STOCKOUT, book, MONDAY_12, related_facts)
        if refused:
            assert isinstance(decision, Refusal)
            assert decision.code == "conditions_not_met"
        else:
            assert decision == (StockoutRequested("no_supply"),)


@pytest.mark.parametrize("book", [BOOK, REFUSING], ids=["warning", "refusing"])
@pytest.mark.parametrize(
    ("related_facts", "missed"),
    [
        (RelatedFacts(OFF_SALE), []),
        (RelatedFacts(shelf()), ["on_sale"]),
        (RelatedFacts(OFF_SALE, filed=[MONDAY_12] * 10), ["daily_limit"]),
        (RelatedFacts(OFF_SALE, filed=[MONDAY_8 - timedelta(days=1)] * 10), []),
    ],
)
def test_an_application_is_a_way_out_where_it_would_be_taken(
    book: RuleBook, related_facts: RelatedFacts, missed: list[str]
) -> None:
    story = given(awaiting_shipment(), under=book)
    decision, _ = decide(story.history, story.order, REQUEST_STOCKOUT, book, MONDAY_12, related_facts)
    ways = {option.way: option for option in way_out(story.order, story.rules, MONDAY_12, related_facts).options}
    now, late = ways["apply_now"], ways["apply_late"]
    assert [warning.code for warning in now.warnings] == missed
    assert now.possible != isinstance(decision, Refusal)
    assert now.because == (decision.detail if isinstance(decision, Refusal) else None)
    # By the ship-by another day has begun, with no application yet.
    assert [warning.code for warning in late.warnings] == [code for code in missed if code != "daily_limit"]
    assert ways["refund"].warnings == ways["ship_in_time"].warnings == ()


def test_a_refusal_names_every_condition_that_is_missed() -> None:
    story = given(awaiting_shipment(), under=REFUSING)
    related_facts = RelatedFacts(shelf(), filed=[MONDAY_12] * 10)
    decision, _ = decide(story.history, story.order, REQUEST_STOCKOUT, REFUSING, MONDAY_12, related_facts)
    assert isinstance(decision, Refusal)
    assert "SKU-1 can still be bought" in decision.detail
    assert "10 a day" in decision.detail


def test_another_reason_against_it_comes_first() -> None:
    locked = given(awaiting_shipment(), stockout_requested(at=MONDAY_12), under=REFUSING)
    decision, _ = decide(locked.history, locked.order, REQUEST_STOCKOUT, REFUSING, MONDAY_13, RelatedFacts(shelf()))
    assert isinstance(decision, Refusal)
    assert decision.code == "review_already_open"
