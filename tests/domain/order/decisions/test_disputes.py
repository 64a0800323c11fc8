"""Complaints and appeals."""

from datetime import datetime, timedelta

import pytest

from domain.order import commands as c
from domain.order import events as e
from tests.domain.vocabulary import (
    FRIDAY_9,
    MICROSECOND,
    MONDAY_10,
    MONDAY_13,
    NEXT_MONDAY_9,
    SHIP_BY,
    SHIPPED,
    THURSDAY_9,
    TUESDAY_9,
    WEDNESDAY_9,
    appeal_decided,
    appealed,
    awaiting_shipment,
    complaint_decided,
    complaint_filed,
    given,
    hours,
    picked_up,
    tracking_uploaded,
    violation_id,
)

LATE = (*awaiting_shipment(), tracking_uploaded("SF1", at=THURSDAY_9), picked_up("SF1", at=THURSDAY_9))


def test_file_and_decide_a_complaint() -> None:
    given(SHIPPED, picked_up(at=MONDAY_13)).when(c.FileComplaint(finding="different_goods"), at=THURSDAY_9).then(
        e.ParcelComplaintFiled("different_goods")
    ).when(c.DecideComplaint(outcome="upheld"), at=FRIDAY_9).then(e.ParcelComplaintDecided("upheld")).at(
        FRIDAY_9
    ).has_violations("fraudulent_shipment").has_violation("fraudulent_shipment", arose_at=FRIDAY_9)


def test_a_complaint_needs_a_parcel() -> None:
    given(awaiting_shipment()).when(c.FileComplaint(finding="empty_parcel"), at=MONDAY_10).rejects("not_shipped")


def test_a_second_complaint_waits_for_the_first() -> None:
    given(SHIPPED, complaint_filed(at=TUESDAY_9)).when(c.FileComplaint(finding="other"), at=WEDNESDAY_9).rejects(
        "complaint_already_open"
    )


def test_decide_a_complaint_that_is_not_open_is_refused() -> None:
    given(SHIPPED).when(c.DecideComplaint(outcome="upheld"), at=TUESDAY_9).rejects("no_open_complaint")
    given(SHIPPED, complaint_filed(at=TUESDAY_9), complaint_decided("dismissed", at=WEDNESDAY_9)).when(
        c.DecideComplaint(outcome="upheld"), at=THURSDAY_9
    ).rejects("no_open_complaint")


def test_appeal_a_violation_and_win() -> None:
    late = violation_id("late_shipment")
    story = (
        given(LATE)
        .when(c.AppealViolation(violation_id=late, evidence="slip"), at=FRIDAY_9)
        .then(e.ViolationAppealed(late, "slip"))
    )
    pending = story.at(FRIDAY_9).violation("late_shipment").appeal
    assert pending is not None
    assert (pending.appealed_at, pending.outcome, pending.decided_at) == (FRIDAY_9, None, None)
    story = story.when(c.DecideAppeal(violation_id=late, outcome="overturned"), at=NEXT_MONDAY_9).then(
        e.AppealDecided(late, "overturned")
    )
    won = story.at(NEXT_MONDAY_9).has_violations("late_shipment").violation("late_shipment").appeal
    assert won is not None
    assert (won.outcome, won.decided_at) == ("overturned", NEXT_MONDAY_9)


def test_an_appeal_is_taken_until_its_last_moment_and_not_after() -> None:
    appeal_it = c.AppealViolation(violation_id=violation_id("late_shipment"))
    last = SHIP_BY + timedelta(days=7)
    assert given(LATE).at(FRIDAY_9).violation("late_shipment").appeal_by == last
    given(LATE).when(appeal_it, at=last).then(e.ViolationAppealed(appeal_it.violation_id))
    given(LATE).when(appeal_it, at=last + MICROSECOND).rejects("appeal_too_late")


@pytest.mark.parametrize("shown", [THURSDAY_9 + timedelta(hours=1), FRIDAY_9 + timedelta(days=30)])
def test_the_platforms_own_last_moment_to_appeal_wins_over_the_rule_sets(shown: datetime) -> None:
    appeal_it = c.AppealViolation(violation_id=violation_id("late_shipment"), appeal_by=shown)
    story = given(LATE).when(appeal_it, at=shown).then(e.ViolationAppealed(appeal_it.violation_id, None, shown))
    assert story.at(shown).violation("late_shipment").appeal_by == shown
    given(LATE).when(appeal_it, at=shown + MICROSECOND).rejects("appeal_too_late")


@pytest.mark.parametrize("senseless", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_last_moment_to_appeal_out_of_all_bounds_is_refused(senseless: str) -> None:
    shown = datetime.fromisoformat(senseless)
    appeal_it = c.AppealViolation(violation_id=violation_id("late_shipment"), appeal_by=shown)
    given(LATE).when(appeal_it, at=FRIDAY_9).rejects("invalid_request", pointer="/appeal_by")


def test_what_may_be_appealed_may_no_longer_be_when_its_time_is_over() -> None:
    last = SHIP_BY + timedelta(days=7)
    given(LATE).at(last).allows("appeal")
    given(LATE).at(last + MICROSECOND).forbids("appeal", because="An appeal was taken until")


def test_an_appeal_is_not_decided_before_it_was_made() -> None:
    decide_it = c.DecideAppeal(violation_id=violation_id("late_shipment"), outcome="upheld")
    story = given(LATE, appealed("late_shipment", at=FRIDAY_9))
    too_early = story.when(decide_it, at=FRIDAY_9 - MICROSECOND, recorded_at=NEXT_MONDAY_9)
    too_early.rejects("invalid_request", pointer="/occurred_at")
    story.when(decide_it, at=FRIDAY_9, recorded_at=NEXT_MONDAY_9).then(
        e.AppealDecided(decide_it.violation_id, "upheld")
    )


def test_an_order_shows_what_was_complained_of_with_the_evidence() -> None:
    story = given(SHIPPED).when(c.FileComplaint(finding="empty_parcel", evidence="photo 1"), at=WEDNESDAY_9)
    complained = story.then(e.ParcelComplaintFiled("empty_parcel", "photo 1"))
    (undecided,) = complained.at(WEDNESDAY_9).view.complaints
    assert (undecided.finding, undecided.evidence, undecided.outcome) == ("empty_parcel", "photo 1", None)
    dismissed = complained.and_(complaint_decided("dismissed", at=FRIDAY_9))
    (decided,) = dismissed.at(FRIDAY_9).view.complaints
    assert (decided.evidence, decided.outcome, decided.decided_at) == ("photo 1", "dismissed", FRIDAY_9)


def test_appeal_something_that_is_no_violation_is_refused() -> None:
    given(LATE).when(c.AppealViolation(violation_id="nonsense"), at=FRIDAY_9).rejects("unknown_violation")


def test_appeal_before_the_violation_stands_is_refused() -> None:
    appeal_it = c.AppealViolation(violation_id=violation_id("late_shipment"))
    given(awaiting_shipment()).when(appeal_it, at=SHIP_BY).rejects("unknown_violation")
    given(awaiting_shipment()).when(appeal_it, at=SHIP_BY + MICROSECOND).then(
        e.ViolationAppealed(violation_id("late_shipment"))
    )


def test_appeal_twice_is_refused() -> None:
    given(LATE, appealed("late_shipment", at=FRIDAY_9)).when(
        c.AppealViolation(violation_id=violation_id("late_shipment")), at=NEXT_MONDAY_9
    ).rejects("already_appealed")


def test_decide_an_appeal_that_is_not_open_is_refused() -> None:
    settle = c.DecideAppeal(violation_id=violation_id("late_shipment"), outcome="upheld")
    given(LATE).when(settle, at=FRIDAY_9).rejects("no_open_appeal")
    given(
        LATE,
        appealed("late_shipment", at=FRIDAY_9),
        appeal_decided("late_shipment", "upheld", at=FRIDAY_9 + hours(1)),
    ).when(settle, at=NEXT_MONDAY_9).rejects("no_open_appeal")
