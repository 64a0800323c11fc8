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


def test_without_a_cut_it_is_now_and_judged_now() -> None:
    assert Viewpoint().is_now
    for cut in (Viewpoint(as_of=MONDAY_9), Viewpoint(known_at=MONDAY_9), Viewpoint(at_version=0)):
        assert not cut.is_now
    assert Viewpoint().judged_at(TUESDAY_9) == TUESDAY_9
    assert Viewpoint(known_at=MONDAY_12).judged_at(TUESDAY_9) == MONDAY_12
    assert Viewpoint(as_of=MONDAY_9, known_at=MONDAY_12).judged_at(TUESDAY_9) == MONDAY_9
