"""Times that their source gives without seconds, or without a clock: nothing is late within what they may mean."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given as law
from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.history import Metadata
from domain.order import events as e
from domain.order.snapshot import Snapshot
from tests.domain.vocabulary import (
    FRIDAY_9,
    MONDAY_9,
    MONDAY_12,
    ORDER_SN,
    Fact,
    awaiting_shipment,
    given,
    placed,
)

SECOND = timedelta(seconds=1)
MINUTE = Metadata(via="export", within=59)
TO_THE_MINUTE = dict.fromkeys(("group_formed_within", "ship_by_within", "shipped_within", "paid_within"), 59)
EXACT = MONDAY_9 + 41 * SECOND
NOBODY = given()


def shown(formed: datetime = EXACT, shipped: datetime | None = None, **changed: object) -> Snapshot:
    snapshot = Snapshot(
        order_sn=ORDER_SN,
        seen_at=MONDAY_12,
        via="export",
        phase="shipped" if shipped else "awaiting_shipment",
        lines=given(*awaiting_shipment()).order.lines,
        group_formed_at=formed,
        ship_by=formed + timedelta(hours=48),
        shipped_at=shipped,
    )
    return replace(snapshot, **changed)


def coarse(snapshot: Snapshot) -> Snapshot:
    """The same order in a file that a spreadsheet has saved, seen a day later."""
    times = {
        name: at.replace(second=0)
        for name in ("group_formed_at", "ship_by", "shipped_at")
        if (at := getattr(snapshot, name)) is not None
    }
    return replace(snapshot, seen_at=snapshot.seen_at + timedelta(days=1), **times, **TO_THE_MINUTE)


def test_a_promise_to_the_minute_is_due_at_the_end_of_that_minute() -> None:
    story = given(placed(), Fact(e.GroupFormed(FRIDAY_9, ship_by_within=59), MONDAY_9, MINUTE))
    order = story.at(MONDAY_12)
    order.shows(ship_by=FRIDAY_9)
    order.has_deadline("tracking_upload", due_at=FRIDAY_9 + 59 * SECOND)


@pytest.mark.parametrize(("late_by", "state"), [(59, "met"), (60, "missed")])
def test_a_number_is_late_when_it_must_be_later_than_the_minute(late_by: int, state: str) -> None:
    due = MONDAY_9 + timedelta(hours=48)
    story = given(
        placed(),
        Fact(e.GroupFormed(), MONDAY_9, MINUTE),
        Fact(e.TrackingUploaded("SF", "SF1"), due + late_by * SECOND, Metadata(via="export")),
    )
    story.at(FRIDAY_9).has_deadline("tracking_upload", state=state)


def test_a_day_without_a_clock_is_late_when_the_day_is_over() -> None:
    day = Metadata(via="export", within=86_399)
    story = given(placed(), Fact(e.GroupFormed(FRIDAY_9, 86_399), MONDAY_9, day))
    story.at(FRIDAY_9 + timedelta(hours=23)).has_no_violations()
    story.at(FRIDAY_9 + timedelta(hours=24)).has_violations("late_shipment")


def test_a_coarser_view_of_a_known_time_is_the_same_time() -> None:
    known = NOBODY.sees(shown()).story_after
    known.sees(coarse(shown())).learns_nothing()


def test_a_finer_view_makes_a_time_exact_once() -> None:
    known = NOBODY.sees(coarse(shown())).story_after
    exact = replace(shown(), seen_at=MONDAY_12 + timedelta(days=2))
    learned = known.sees(exact).learns_kinds(e.GroupFormed)
    learned.at(FRIDAY_9).has_anomalies().shows(group_formed_at=EXACT, ship_by=EXACT + timedelta(hours=48))
    learned.sees(replace(coarse(shown()), seen_at=FRIDAY_9)).learns_nothing()


def test_another_minute_is_another_time() -> None:
    known = NOBODY.sees(shown()).story_after
    other = coarse(shown(formed=EXACT + timedelta(minutes=1)))
    known.sees(other).story_after.at(FRIDAY_9).has_anomalies("group_formed_at_differs")


@settings(max_examples=200, deadline=None)
@law(
    st.integers(0, 7200).map(lambda seconds: MONDAY_9 + seconds * SECOND),
    st.one_of(st.integers(48 * 3600 - 120, 48 * 3600 + 120), st.integers(60, 96 * 3600)),
    st.booleans(),
)
def test_a_copy_without_seconds_is_never_judged_harder(formed: datetime, after: int, first_coarse: bool) -> None:
    fine = shown(formed, formed + after * SECOND)
    copies = [coarse(fine), fine] if first_coarse else [fine, coarse(fine)]
    exact = NOBODY.sees(fine).story_after.at(FRIDAY_9)
    alone = NOBODY.sees(coarse(fine)).story_after.at(FRIDAY_9)
    both = NOBODY.sees(copies[0]).story_after.sees(replace(copies[1], seen_at=FRIDAY_9)).story_after.at(FRIDAY_9)
    claimed = {violation.kind for violation in exact.view.violations}
    for other in (alone, both):
        assert {violation.kind for violation in other.view.violations} <= claimed
        other.has_anomalies()
