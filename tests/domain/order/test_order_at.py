"""An order as it stood at a viewpoint, and the moment at which it is then judged."""

from datetime import datetime

import pytest

from domain.order.order_at import OrderAt, order_at
from domain.viewpoint import Viewpoint
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

# Placed and formed at once; a parcel of Monday noon is reported on Tuesday; then the buyer is contacted.
STORY = (
    given(placed(), group_formed())
    .and_(tracking_uploaded(at=MONDAY_12), learned_at=TUESDAY_9)
    .and_(buyer_contacted(at=WEDNESDAY_9))
)


def shown(order: OrderAt) -> tuple[object, ...]:
    """The version, when it is judged, and the times from which facts of other streams count."""
    return order.order.version, order.judged_at, order.viewpoint.as_of, order.viewpoint.known_at


def at_viewpoint(now: datetime = FRIDAY_9, **moment: object) -> OrderAt:
    return order_at(Viewpoint(**moment), ORDER_SN, STORY.history, now)  # type: ignore[arg-type]


def test_now_an_order_is_judged_now() -> None:
    order = at_viewpoint()
    assert shown(order) == (
        4,
        FRIDAY_9,
        None,
        None,
    )


def test_an_order_whose_last_event_lies_ahead_of_our_clock_is_judged_at_that_event() -> None:
    assert at_viewpoint(now=TUESDAY_9).judged_at == WEDNESDAY_9


def test_as_of_a_moment_it_is_what_had_happened_and_judged_then() -> None:
    order = at_viewpoint(as_of=MONDAY_12)
    assert shown(order) == (
        3,
        MONDAY_12,
        MONDAY_12,
        None,
    )


def test_as_it_was_known_it_is_what_the_log_had_learned_and_judged_then() -> None:
    order = at_viewpoint(known_at=MONDAY_13)
    assert shown(order) == (
        2,
        MONDAY_13,
        None,
        MONDAY_13,
    )
    both = at_viewpoint(as_of=MONDAY_12, known_at=THURSDAY_9)
    assert shown(both) == (
        3,
        MONDAY_12,
        MONDAY_12,
        THURSDAY_9,
    )


def test_at_a_version_it_is_judged_when_the_latest_event_of_it_occurred() -> None:
    order = at_viewpoint(at_version=2)
    assert shown(order) == (
        2,
        MONDAY_9,
        MONDAY_9,
        MONDAY_9,
    )
    backdated = at_viewpoint(at_version=3)
    assert (backdated.judged_at, backdated.viewpoint.as_of, backdated.viewpoint.known_at) == (
        MONDAY_12,
        MONDAY_12,
        TUESDAY_9,
    )


@pytest.mark.parametrize(("as_of", "expected"), [(MONDAY_9, MONDAY_9), (MONDAY_12, MONDAY_12)])
def test_a_version_and_a_moment_both_cut(as_of: datetime, expected: datetime) -> None:
    order = at_viewpoint(at_version=3, as_of=as_of)
    assert (order.judged_at, order.viewpoint.as_of) == (expected, expected)
    known = at_viewpoint(at_version=3, known_at=MONDAY_13)
    assert shown(known) == (
        2,
        MONDAY_13,
        MONDAY_13,
        MONDAY_9,
    )


def test_before_the_first_event_it_is_judged_when_that_occurred() -> None:
    assert shown(at_viewpoint(at_version=0)) == (0, MONDAY_8, None, None)


def test_an_order_without_history_is_judged_now() -> None:
    order = order_at(Viewpoint(), ORDER_SN, (), FRIDAY_9)
    assert (order.order.version, order.judged_at) == (0, FRIDAY_9)
    assert order_at(Viewpoint(at_version=0), ORDER_SN, (), FRIDAY_9).judged_at == FRIDAY_9
