<<<<<<< HEAD
"""Two times on every event: what had happened by a moment, and what was known at it."""

from domain.order.events import TrackingUploaded
from domain.viewpoint import Viewpoint, visible
from tests.domain.vocabulary import (
    MICROSECOND,
    MONDAY_9,
    MONDAY_12,
    MONDAY_15,
    TUESDAY_9,
    Fact,
    awaiting_shipment,
    given,
)

TOLD_LATE = given(awaiting_shipment()).and_(Fact(TrackingUploaded("SF", "SF1"), MONDAY_12), learned_at=MONDAY_15)
HISTORY = TOLD_LATE.history


def versions(**cut: object) -> list[int]:
    return [recorded.version for recorded in visible(HISTORY, Viewpoint(**cut))]  # type: ignore[arg-type]


def test_without_a_cut_everything_is_visible() -> None:
    assert versions() == [1, 2, 3]


def test_as_of_cuts_by_what_had_happened() -> None:
    assert versions(as_of=MONDAY_12) == [1, 2, 3]
    assert versions(as_of=MONDAY_12 - MICROSECOND) == [1, 2]


def test_known_at_cuts_by_what_the_log_had_learned() -> None:
    assert versions(known_at=MONDAY_15) == [1, 2, 3]
    assert versions(known_at=MONDAY_15 - MICROSECOND) == [1, 2]


def test_at_version_cuts_by_the_orders_own_count() -> None:
    assert versions(at_version=2) == [1, 2]
    assert versions(at_version=0) == []


def test_cuts_combine_and_each_only_removes() -> None:
    assert versions(as_of=TUESDAY_9, known_at=MONDAY_12) == [1, 2]
    assert versions(as_of=MONDAY_9, known_at=TUESDAY_9, at_version=1) == [1]


def test_an_order_as_it_was_and_as_it_was_known() -> None:
    TOLD_LATE.as_of(MONDAY_12).shows(status="shipped", version=3)
    TOLD_LATE.as_of(MONDAY_12 - MICROSECOND).shows(status="awaiting_shipment", version=2)
=======
"""From which moment an order is seen, and at which it is then judged."""

from datetime import datetime

import pytest

from domain.viewpoint import Seen, seen_from
from tests.domain.vocabulary import (
    FRIDAY_9,
    MONDAY_8,
    MONDAY_9,
    MONDAY_12,
    MONDAY_13,
    ORDER_SN,
    THURSDAY_9,
    TUESDAY_9,
    WEDNESDAY_9,
    buyer_contacted,
    given,
    group_formed,
    placed,
    tracking_uploaded,
)

# Placed and formed at once; a parcel of Monday noon is told on Tuesday; then the buyer is spoken to.
STORY = (
    given(placed(), group_formed())
    .and_(tracking_uploaded(at=MONDAY_12), learned_at=TUESDAY_9)
    .and_(buyer_contacted(at=WEDNESDAY_9))
)


def seen(now: datetime = FRIDAY_9, **moment: object) -> Seen:
    return seen_from(ORDER_SN, STORY.history, now, **moment)  # type: ignore[arg-type]


def test_seen_now_an_order_is_judged_now() -> None:
    found = seen()
    assert (found.order.version, found.at, found.as_of, found.known_at) == (4, FRIDAY_9, None, None)


def test_an_order_whose_last_event_lies_ahead_of_our_clock_is_judged_at_that_event() -> None:
    assert seen(now=TUESDAY_9).at == WEDNESDAY_9


def test_as_of_a_moment_it_is_what_had_happened_and_judged_then() -> None:
    found = seen(as_of=MONDAY_12)
    assert (found.order.version, found.at, found.as_of, found.known_at) == (3, MONDAY_12, MONDAY_12, None)


def test_as_it_was_known_it_is_what_the_log_had_learned_and_judged_then() -> None:
    found = seen(known_at=MONDAY_13)
    assert (found.order.version, found.at, found.as_of, found.known_at) == (2, MONDAY_13, None, MONDAY_13)
    both = seen(as_of=MONDAY_12, known_at=THURSDAY_9)
    assert (both.order.version, both.at, both.as_of, both.known_at) == (3, MONDAY_12, MONDAY_12, THURSDAY_9)


def test_at_a_version_it_is_judged_when_the_latest_event_of_it_occurred() -> None:
    found = seen(at_version=2)
    assert (found.order.version, found.at, found.as_of, found.known_at) == (2, MONDAY_9, MONDAY_9, MONDAY_9)
    told_late = seen(at_version=3)
    assert (told_late.at, told_late.as_of, told_late.known_at) == (MONDAY_12, MONDAY_12, TUESDAY_9)


@pytest.mark.parametrize(("as_of", "expected"), [(MONDAY_9, MONDAY_9), (MONDAY_12, MONDAY_12)])
def test_a_version_and_a_moment_both_cut(as_of: datetime, expected: datetime) -> None:
    found = seen(at_version=3, as_of=as_of)
    assert (found.at, found.as_of) == (expected, expected)
    known = seen(at_version=3, known_at=MONDAY_13)
    assert (known.order.version, known.at, known.as_of, known.known_at) == (2, MONDAY_13, MONDAY_13, MONDAY_9)


def test_before_the_first_event_it_is_judged_when_that_occurred() -> None:
    found = seen(at_version=0)
    assert (found.order.version, found.history, found.at, found.as_of, found.known_at) == (
        0,
        [],
        MONDAY_8,
        None,
        None,
    )


def test_an_order_without_history_is_judged_now() -> None:
    found = seen_from(ORDER_SN, (), FRIDAY_9)
    assert (found.order.version, found.at) == (0, FRIDAY_9)
    assert seen_from(ORDER_SN, (), FRIDAY_9, at_version=0).at == FRIDAY_9
>>>>>>> bb8d89f (Test SKUs, cases, messages, viewpoints and the limits of rule sets in the domain itself)
