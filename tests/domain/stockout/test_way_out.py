"""The ways out of an order, each with the price that the rules then ask."""

from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import assume, example
from hypothesis import given as given_any
from hypothesis import strategies as st

from domain.kernel import Command
from domain.order import commands as c
from domain.order.state import Order
from domain.order.violations import violations
from domain.rules.ruleset import Penalty, PenaltyStep, RuleBook
from domain.stockout.way_out import Option, Way, WayOut, applications, options, way_out
from tests.domain.test_laws import FOREVER, LOCKING, MOVING, OTHERS, Step, law, lived
from tests.domain.vocabulary import (
    BOOK,
    DEEMED,
    MICROSECOND,
    MONDAY_12,
    SATURDAY_9,
    SHIP_BY,
    SUNDAY_9,
    THURSDAY_9,
    TUESDAY_9,
    Story,
    appeal_decided,
    appealed,
    awaiting_shipment,
    beijing,
    book_where,
    cancelled,
    given,
    group_failed,
    group_formed,
    hold_placed,
    hours,
    placed,
    refunded,
    review_completed,
    stockout_requested,
    tracking_uploaded,
)


def ways(story: Story, at: datetime) -> WayOut:
    return way_out(story.order, story.rules, at)


def priced(found: WayOut) -> dict[Way, int | None]:
    return {option.way: option.penalty_fen for option in found.options}


def option(found: WayOut, way: Way) -> Option:
    return next(each for each in found.options if each.way == way)


def kinds(option: Option) -> list[str]:
    return [f"{v.kind}/{v.cause}" if v.cause else v.kind for v in option.violations]


def test_before_the_ship_by_shipping_costs_nothing_and_fraud_the_most() -> None:
    found = ways(given(awaiting_shipment()), TUESDAY_9)
    assert found.standing_fen == 0
    assert found.because is None
    assert [(o.way, o.penalty_fen) for o in found.options] == [
        ("ship_in_time", 0),
        ("ship_late", 300),
        ("refund", 500),
        ("apply_now", 800),
        ("apply_late", 800),
        ("send_something_else", 4_300),
    ]


def test_an_application_decided_before_the_ship_by_is_a_stockout_alone() -> None:
    story = given(awaiting_shipment(), group_formed(ship_by=beijing(2026, 3, 9)))
    applied = option(ways(story, TUESDAY_9), "apply_now")
    assert kinds(applied) == ["stockout/application_approved"]
    assert applied.penalty_fen == applied.earliest_decision_fen == 500
    assert applied.expected_decision is not None
    assert applied.expected_decision.earliest == THURSDAY_9
    assert applied.expected_decision.latest == THURSDAY_9 + hours(24)


def test_a_decision_at_the_early_end_may_come_before_the_ship_by() -> None:
    story = given(awaiting_shipment(), group_formed(ship_by=THURSDAY_9 + hours(1)))
    applied = option(ways(story, TUESDAY_9), "apply_now")
    assert kinds(applied) == ["late_shipment", "stockout/application_approved"]
    assert (applied.penalty_fen, applied.earliest_decision_fen) == (800, 500)


def test_a_dearer_order_is_dearer_to_leave_and_dearer_still_to_cheat_on() -> None:
    found = ways(given(placed(paid_fen=43_000), group_formed()), TUESDAY_9)
    assert priced(found) == {
        "ship_in_time": 0,
        "ship_late": 300,
        "apply_now": 2_400,
        "apply_late": 2_400,
        "refund": 2_100,
        "send_something_else": 43_000,
    }


def test_each_option_says_until_when_it_costs_the_same() -> None:
    found = ways(given(awaiting_shipment()), TUESDAY_9)
    assert option(found, "ship_in_time").until == SHIP_BY
    late = option(found, "ship_late")
    assert (late.at, late.until) == (SHIP_BY + MICROSECOND, DEEMED)
    assert option(found, "refund").until == SHIP_BY
    story = given(awaiting_shipment())
    assert [option(ways(story, at), "refund").penalty_fen for at in (SHIP_BY, SHIP_BY + MICROSECOND)] == [500, 800]
    assert option(ways(story, SHIP_BY + MICROSECOND), "refund").until is None


def test_the_very_ship_by_is_in_time() -> None:
    assert option(ways(given(awaiting_shipment()), SHIP_BY), "ship_in_time").penalty_fen == 0
    late = ways(given(awaiting_shipment()), SHIP_BY + MICROSECOND)
    assert "ship_in_time" not in priced(late)
    assert "apply_late" not in priced(late)
    assert late.standing_fen == 300
    assert priced(late)["ship_late"] == 300


def test_after_three_more_days_shipping_no_longer_saves_the_stockout() -> None:
    found = ways(given(awaiting_shipment()), SUNDAY_9)
    assert found.standing_fen == 800
    late = option(found, "ship_late")
    assert kinds(late) == ["late_shipment", "stockout/deemed"]
    assert (late.at, late.until) == (SUNDAY_9, None)


def test_a_locked_order_waits_for_the_decision() -> None:
    found = ways(given(awaiting_shipment(), stockout_requested(at=MONDAY_12)), TUESDAY_9)
    assert "apply_now" not in priced(found)
    shipping = option(found, "ship_in_time")
    assert not shipping.possible
    assert "stockout review" in (shipping.because or "")
    waiting = option(found, "await_review")
    assert waiting.possible
    assert waiting.expected_decision is not None
    assert waiting.expected_decision.earliest == MONDAY_12 + hours(48)
    assert kinds(waiting) == ["late_shipment", "stockout/application_approved"]


def test_an_overdue_decision_is_played_at_the_moment_asked() -> None:
    story = given(awaiting_shipment(), stockout_requested(at=MONDAY_12))
    at = beijing(2026, 3, 20)
    decided = [v.arose_at for v in option(ways(story, at), "await_review").violations if v.kind == "stockout"]
    assert decided == [at]


def test_a_held_order_can_be_refunded_but_not_shipped() -> None:
    found = ways(given(awaiting_shipment(), hold_placed(at=MONDAY_12)), TUESDAY_9)
    assert not option(found, "ship_in_time").possible
    assert "manual" in (option(found, "ship_in_time").because or "")
    assert found.options[0].way == "refund"


def test_cheating_is_never_to_be_done_and_stands_last() -> None:
    for at in (TUESDAY_9, THURSDAY_9, SUNDAY_9):
        last = ways(given(awaiting_shipment()), at).options[-1]
        assert last.way == "send_something_else"
        assert last.never
        assert not last.possible
        assert "fraud" in (last.because or "")
        assert "fraudulent_shipment" in kinds(last)


def test_a_price_that_depends_on_an_unknown_payment_is_unknown() -> None:
    found = ways(given(placed(paid_fen=None), group_formed()), TUESDAY_9)
    assert priced(found)["ship_late"] == 300
    assert priced(found)["refund"] is None
    assert [o.way for o in found.options][:2] == ["ship_in_time", "ship_late"]


def test_without_a_known_ship_by_shipping_has_no_limit() -> None:
    found = ways(given(placed(goods_type="presale"), group_formed()), TUESDAY_9)
    assert "ship_late" not in priced(found)
    assert option(found, "ship_in_time").until is None


@pytest.mark.parametrize(
    ("story", "because"),
    [
        (given(placed()), "group has not formed"),
        (given(awaiting_shipment(), tracking_uploaded()), "tracking number is up"),
        (given(awaiting_shipment(), refunded(at=MONDAY_12)), "refunded"),
        (given(awaiting_shipment(), cancelled(at=MONDAY_12)), "cancelled"),
        (
            given(awaiting_shipment(), stockout_requested(), review_completed("approved", at=TUESDAY_9)),
            "stocked out",
        ),
    ],
)
def test_where_nothing_is_to_be_decided_there_is_no_way_out(story: Story, because: str) -> None:
    found = ways(story, SATURDAY_9)
    assert found.options == ()
    assert because in (found.because or "")


def test_what_can_be_shipped_late_until_the_very_third_day_costs_no_stockout() -> None:
    for at, until in ((DEEMED, DEEMED), (DEEMED + MICROSECOND, None)):
        late = option(ways(given(awaiting_shipment()), at), "ship_late")
        assert (late.at, late.until) == (at, until)


def test_what_costs_already_stands_from_its_very_first_moment() -> None:
    story = given(awaiting_shipment())
    for at, standing in ((SHIP_BY, 0), (SHIP_BY + MICROSECOND, 300), (DEEMED, 300), (DEEMED + MICROSECOND, 800)):
        assert ways(story, at).standing_fen == standing


def test_the_price_of_what_was_overturned_is_nothing() -> None:
    story = given(
        awaiting_shipment(),
        appealed("late_shipment", at=THURSDAY_9),
        appeal_decided("late_shipment", "overturned", at=THURSDAY_9),
    )
    found = ways(story, THURSDAY_9)
    assert (found.standing_fen, priced(found)["ship_late"], priced(found)["refund"]) == (0, 0, 500)


def test_an_order_that_failed_before_its_group_formed_has_no_way_out_because_it_is_closed() -> None:
    found = ways(given(placed(), group_failed()), SATURDAY_9)
    assert "group failed" in (found.because or "")
    assert options(given(placed()).order, BOOK.sets[0], SATURDAY_9) == ()
    assert applications(given(placed()).order, BOOK.sets[0], SATURDAY_9) == {}


def test_a_new_application_is_a_way_only_while_none_is_open_and_a_late_one_only_before_the_ship_by() -> None:
    story = given(awaiting_shipment())
    assert applications(story.order, story.rules, SHIP_BY) == {
        "apply_now": SHIP_BY,
        "apply_late": SHIP_BY + MICROSECOND,
    }
    late = applications(story.order, story.rules, SHIP_BY + MICROSECOND)
    assert late == {"apply_now": SHIP_BY + MICROSECOND}
    unlimited = given(placed(goods_type="presale"), group_formed())
    assert set(applications(unlimited.order, unlimited.rules, SHIP_BY)) == {"apply_now"}
    open_review = story.and_(stockout_requested(at=MONDAY_12))
    assert applications(open_review.order, open_review.rules, TUESDAY_9) == {}


def test_an_application_of_unknown_beginning_is_expected_to_be_decided_from_now() -> None:
    story = given(awaiting_shipment(), stockout_requested(at=MONDAY_12).observed())
    waiting = option(ways(story, TUESDAY_9), "await_review")
    assert waiting.expected_decision is not None
    assert waiting.expected_decision.earliest == THURSDAY_9


def test_the_ways_that_are_possible_come_first_then_the_cheapest_and_a_price_that_is_unknown_last() -> None:
    locked = ways(given(placed(paid_fen=None), group_formed(), hold_placed(at=MONDAY_12)), TUESDAY_9)
    assert [(o.way, o.possible, o.penalty_fen) for o in locked.options] == [
        ("apply_now", True, None),
        ("apply_late", True, None),
        ("refund", True, None),
        ("ship_in_time", False, 0),
        ("ship_late", False, 300),
        ("send_something_else", False, None),
    ]
    ways_now = ways(given(placed(paid_fen=None), group_formed()), TUESDAY_9)
    assert [o.penalty_fen for o in ways_now.options] == [0, 300, None, None, None, None]


def test_what_costs_nothing_comes_before_what_costs_one_fen() -> None:
    def costs(penalty: Penalty, fen: int) -> Penalty:
        return msgspec.structs.replace(penalty, steps=(PenaltyStep(0, flat_fen=fen),))

    rules = BOOK.sets[0]
    prices = msgspec.structs.replace(
        rules.penalty,
        late_shipment=costs(rules.penalty.late_shipment, 1),
        stockout=costs(rules.penalty.stockout, 0),
    )
    found = way_out(given(awaiting_shipment()).order, msgspec.structs.replace(rules, penalty=prices), TUESDAY_9)
    assert [(o.way, o.penalty_fen) for o in found.options][:3] == [
        ("ship_in_time", 0),
        ("refund", 0),
        ("ship_late", 1),
    ]


# ---- the price is what it would come to ---------------------------------------------------------------

steps = st.lists(
    st.builds(
        Step,
        st.sampled_from([*LOCKING, *MOVING, *(each for each in OTHERS if not isinstance(each, c.FailGroup))]),
        st.sampled_from([hours(h) for h in (0, 1, 6, 24, 48, 96)]),
        st.one_of(st.none(), st.sampled_from([hours(h) for h in (0, 3, 24, 96)])),
    ),
    max_size=8,
)

REALLY: dict[Way, list[Command]] = {
    "ship_in_time": [c.UploadTracking(carrier="SF", tracking_number="X1"), c.RecordPickup(tracking_number="X1")],
    "ship_late": [c.UploadTracking(carrier="SF", tracking_number="X1"), c.RecordPickup(tracking_number="X1")],
    "apply_now": [c.RequestStockout(reason="oversold")],
    "apply_late": [c.RequestStockout(reason="oversold")],
    "await_review": [],
    "refund": [c.Refund(initiated_by="merchant", reason="out_of_stock")],
}


@law
@given_any(
    steps,
    st.sampled_from([hours(h) for h in (0, 1, 30, 60, 200)]),
    st.sampled_from(
        [BOOK, book_where(pauses_ship_by=True), book_where(late_shipment_after_late_approval="lapses")]
    ),
)
@example([], hours(0), BOOK)
def test_each_price_is_what_the_order_costs_once_it_was_really_done(
    happened: list[Step], waited: timedelta, book: RuleBook
) -> None:
    """What is possible is done, by commands that are judged; then every violation there will ever be is counted."""
    beginning = [Step(OTHERS[0], hours(0), None), Step(c.FormGroup(), hours(1), None)]
    life = lived([*beginning, *happened], book)
    at = life.now + waited
    rules = book.governing(life.order)
    found = way_out(life.order, rules, at).options
    assume(found)
    for each in found:
        if not each.possible:
            continue
        story = Story(life.history, book)
        for command in REALLY[each.way]:
            story = _done(story, command, each.at)
        if each.expected_decision:
            story = _done(story, c.CompleteReview(outcome="approved"), max(each.at, each.expected_decision.latest))
        really = violations(story.order, rules, FOREVER)
        assert each.penalty_fen == _cost(story.order, book), each
        assert [v.violation_id for v in each.violations] == [v.violation_id for v in really]


def _done(story: Story, command: Command, at: datetime) -> Story:
    outcome = story.when(command, at=at)
    assert isinstance(outcome.decision, tuple), outcome.decision
    return outcome.then(*outcome.decision)


def _cost(order: Order, book: RuleBook) -> int | None:
    found = [v.penalty_fen for v in violations(order, book.governing(order), FOREVER) if v.counts]
    return None if None in found else sum(fen or 0 for fen in found)
