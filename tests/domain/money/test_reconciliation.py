"""What the platform's bills and the rules say of the same order, and where they differ."""

from datetime import timedelta

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from domain.kernel import VIOLATION_KINDS, ViolationKind
from domain.money.reconciliation import Difference, differences
from domain.order import commands as c
from domain.order.violations import violations
from tests.domain.test_laws import FOREVER, Look, Step, law, lived, observed_lives
from tests.domain.vocabulary import (
    BOOK,
    FRIDAY_9,
    MICROSECOND,
    MONDAY_12,
    NEXT_MONDAY_9,
    SUNDAY_9,
    THURSDAY_9,
    TUESDAY_9,
    Story,
    appeal_decided,
    appealed,
    awaiting_shipment,
    charged,
    days,
    given,
    given_back,
    group_formed,
    hours,
    picked_up,
    placed,
    tracking_uploaded,
    violation_id,
)

LATE = given(awaiting_shipment(), tracking_uploaded(at=THURSDAY_9))


def of(story: Story) -> tuple[Difference, ...]:
    return differences(story.order, story.rules, NEXT_MONDAY_9 + days(7))


def test_a_charge_that_the_rules_ask_for_is_no_difference() -> None:
    story = LATE.and_(picked_up(at=THURSDAY_9), charged("late_shipment", 300, at=FRIDAY_9))
    assert of(story) == ()


@pytest.fixture
def late() -> Story:
    """Late by a day, and scanned at once: a late shipment and nothing else."""
    return LATE.and_(picked_up(at=THURSDAY_9))


def test_what_the_rules_expect_and_no_bill_shows(late: Story) -> None:
    (found,) = of(late)
    assert found == Difference(
        "expected_not_charged",
        late.order.order_sn,
        "late_shipment",
        300,
        0,
        -300,
        (violation_id("late_shipment"),),
        (),
    )


def test_what_a_bill_shows_and_the_rules_do_not_expect() -> None:
    story = given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12), charged("late_shipment", 300, at=FRIDAY_9))
    found = [each for each in of(story) if each.kind == "late_shipment"]
    assert [(f.difference, f.expected_fen, f.billed_fen, f.difference_fen) for f in found] == [
        ("charged_not_expected", 0, 300, 300)
    ]
    assert found[0].line_ids == ("bill-1",)


@pytest.mark.parametrize(("fen", "too_much"), [(500, 200), (100, -200)])
def test_amounts_that_differ(late: Story, fen: int, too_much: int) -> None:
    (found,) = of(late.and_(charged("late_shipment", fen, at=FRIDAY_9)))
    assert (found.difference, found.difference_fen) == ("amount_differs", too_much)


def test_two_lines_of_a_kind_are_one_sum(late: Story) -> None:
    story = late.and_(
        charged("late_shipment", 100, at=FRIDAY_9), charged("late_shipment", 200, at=FRIDAY_9, line_id="bill-9")
    )
    assert of(story) == ()


def test_what_was_overturned_after_it_was_charged_is_to_come_back(late: Story) -> None:
    story = late.and_(
        charged("late_shipment", 300, at=FRIDAY_9),
        appealed("late_shipment", at=FRIDAY_9),
        appeal_decided("late_shipment", "overturned", at=FRIDAY_9),
    )
    (found,) = of(story)
    assert (found.difference, found.kind, found.difference_fen) == ("not_returned", None, 300)
    assert of(story.and_(given_back(300, at=SUNDAY_9))) == ()
    (partly,) = of(story.and_(given_back(100, at=SUNDAY_9)))
    assert (partly.difference, partly.difference_fen) == ("not_returned", 200)


def test_what_was_overturned_before_it_was_charged_is_owed_by_nobody(late: Story) -> None:
    story = late.and_(
        appealed("late_shipment", at=FRIDAY_9), appeal_decided("late_shipment", "overturned", at=FRIDAY_9)
    )
    assert of(story) == ()


def test_money_that_came_back_for_nothing(late: Story) -> None:
    story = late.and_(charged("late_shipment", 300, at=FRIDAY_9), given_back(300, at=SUNDAY_9))
    (found,) = of(story)
    assert (found.difference, found.difference_fen) == ("returned_not_expected", -300)


def test_a_price_that_is_not_known_is_whatever_was_charged() -> None:
    story = given(placed(paid_fen=None), group_formed())
    expected = [(each.difference, each.kind) for each in differences(story.order, story.rules, SUNDAY_9)]
    assert expected == [("expected_not_charged", "late_shipment")]
    charged_so = story.and_(
        charged("late_shipment", 300, at=SUNDAY_9), charged("stockout", 777, at=SUNDAY_9, line_id="2")
    )
    assert differences(charged_so.order, charged_so.rules, SUNDAY_9) == ()


def test_what_has_not_arisen_or_was_not_billed_yet_is_no_difference() -> None:
    story = given(awaiting_shipment(), charged("late_shipment", 300, at=FRIDAY_9))
    assert differences(story.order, story.rules, TUESDAY_9) == ()


def test_a_line_of_the_bill_counts_from_its_very_moment() -> None:
    story = given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12), picked_up(at=MONDAY_12))
    for line, difference in (
        (charged("late_shipment", 300, at=FRIDAY_9), "charged_not_expected"),
        (given_back(300, at=FRIDAY_9), "returned_not_expected"),
    ):
        order = story.and_(line).order
        assert [each.difference for each in differences(order, story.rules, FRIDAY_9)] == [difference]
        assert differences(order, story.rules, FRIDAY_9 - MICROSECOND) == ()


def test_a_difference_names_the_violations_and_the_lines_of_its_kind_alone(late: Story) -> None:
    story = late.and_(
        charged("late_shipment", 500, at=FRIDAY_9, line_id="bill-1"),
        charged("stockout", 700, at=FRIDAY_9, line_id="bill-2"),
        given_back(100, at=FRIDAY_9, line_id="bill-3"),
    )
    assert [
        (each.difference, each.kind, each.expected_fen, each.billed_fen, each.violation_ids, each.line_ids)
        for each in of(story)
    ] == [
        ("amount_differs", "late_shipment", 300, 500, (violation_id("late_shipment"),), ("bill-1",)),
        ("charged_not_expected", "stockout", 0, 700, (), ("bill-2",)),
        ("returned_not_expected", None, 0, 100, (), ("bill-3",)),
    ]


def test_what_was_overturned_and_charged_all_the_same_names_the_violation(late: Story) -> None:
    story = late.and_(
        charged("late_shipment", 300, at=FRIDAY_9),
        appealed("late_shipment", at=FRIDAY_9),
        appeal_decided("late_shipment", "overturned", at=FRIDAY_9),
    )
    (found,) = of(story)
    assert (found.expected_fen, found.billed_fen, found.violation_ids, found.line_ids) == (
        300,
        0,
        (violation_id("late_shipment"),),
        (),
    )
    (dearer,) = of(story.and_(charged("late_shipment", 1, at=SUNDAY_9, line_id="bill-9")))
    assert (dearer.difference, dearer.kind, dearer.difference_fen) == ("amount_differs", "late_shipment", 301)


def test_a_price_that_is_not_known_and_was_overturned_is_expected_at_nothing() -> None:
    story = given(placed(paid_fen=None), group_formed()).and_(
        charged("late_shipment", 300, at=SUNDAY_9),
        appealed("stockout", at=SUNDAY_9),
        appeal_decided("stockout", "overturned", at=SUNDAY_9),
    )
    assert differences(story.order, story.rules, SUNDAY_9) == ()


def test_the_same_line_told_again_changes_nothing_and_told_otherwise_is_refused(late: Story) -> None:
    command = c.RecordCharge(kind="late_shipment", amount_fen=300, line_id="bill-1")
    story = late.and_(charged("late_shipment", 300, at=FRIDAY_9))
    story.when(command, at=FRIDAY_9).then_nothing()
    story.when(command, at=FRIDAY_9 + hours(1)).rejects("line_already_told", because="late shipment of 300 fen")
    dearer = c.RecordCharge(kind="late_shipment", amount_fen=301, line_id="bill-1")
    story.when(dearer, at=FRIDAY_9).rejects("line_already_told")
    returned = c.RecordReturn(amount_fen=300, line_id="bill-1")
    story.when(returned, at=FRIDAY_9).rejects("line_already_told")


lines = st.lists(
    st.tuples(
        st.sampled_from([*VIOLATION_KINDS, None]),
        st.sampled_from([300, 500, 1_075, 4_300]),
    ),
    max_size=4,
)


@law
@given_any(observed_lives(), lines)
def test_the_differences_together_are_what_was_paid_beyond_the_rules(
    steps: list[Step | Look], billed: list[tuple[ViolationKind | None, int]]
) -> None:
    """All that was taken, less what came back, less what the rules ask for: no fen is lost between the kinds."""
    life = lived(steps)
    at = life.now + timedelta(days=1)
    story = Story(life.history, BOOK)
    if story.order.paid_fen is None:
        return
    for n, (kind, fen) in enumerate(billed):
        line_id = f"line-{n}"
        fact = (
            given_back(fen, at=at, line_id=line_id) if kind is None else charged(kind, fen, at=at, line_id=line_id)
        )
        story = story.and_(fact)
    found = differences(story.order, story.rules, FOREVER)
    expected = sum(v.penalty_fen or 0 for v in violations(story.order, story.rules, FOREVER) if v.counts)
    taken = sum(charge.amount_fen * (1 if charge.kind else -1) for charge in story.order.charges)
    assert sum(each.difference_fen for each in found) == taken - expected
    assert all(each.difference_fen for each in found)
