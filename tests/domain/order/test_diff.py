"""Which event changed which field of an order, and what the passing of time did."""

from datetime import datetime
from functools import partial

from domain.history import Recorded
from domain.order.diff import Change, diff
from domain.order.order_at import OrderAt, order_at
from domain.order.warnings import NO_RELATED_FACTS, RelatedFacts, Use
from domain.sku.events import SkuDelisted
from domain.sku.state import fold as fold_sku
from domain.viewpoint import Viewpoint
from tests.domain.vocabulary import (
    MONDAY_8,
    MONDAY_9,
    MONDAY_10,
    MONDAY_12,
    MONDAY_15,
    ORDER_SN,
    SHIP_BY,
    THURSDAY_9,
    Fact,
    Story,
    awaiting_shipment,
    buyer_contacted,
    days,
    given,
    hours,
    stockout_requested,
    tracking_uploaded,
)

NOW = THURSDAY_9
IN_REVIEW = given(awaiting_shipment(), stockout_requested(at=MONDAY_12))


def changes(story: Story, since: int | datetime, until: int | datetime, **held: datetime) -> list[Change]:
    """Between versions, or between times by what had happened, or by what was learned where ``as_of`` is held."""
    by = "known_at" if "as_of" in held else "as_of"

    def seen(end: int | datetime) -> OrderAt:
        told = {"at_version": end} if isinstance(end, int) else {by: end}
        return order_at(Viewpoint(**held, **told), ORDER_SN, story.history, NOW)  # type: ignore[arg-type]

    return list(diff(ORDER_SN, story.book, seen(since), seen(until)))


def fields(found: list[Change]) -> set[tuple[str, str | None]]:
    return {(change.field, change.event) for change in found}


def test_nothing_between_a_moment_and_itself() -> None:
    assert changes(IN_REVIEW, 3, 3) == []
    assert changes(IN_REVIEW, MONDAY_12, MONDAY_12) == []


def test_between_versions_each_change_names_its_event() -> None:
    found = changes(IN_REVIEW, 2, 3)
    assert ("status", "StockoutRequested") in fields(found)
    status = next(change for change in found if change.field == "status")
    assert (status.before, status.after, status.version) == ("awaiting_shipment", "stockout_review", 3)
    assert (status.occurred_at, status.recorded_at) == (MONDAY_12, MONDAY_12)


def test_from_nothing_everything_is_new() -> None:
    found = changes(IN_REVIEW, 0, 1)
    assert {change.event for change in found} == {"OrderPlaced"}
    assert next(change for change in found if change.field == "order_sn").before is None


def test_time_alone_changes_what_no_event_did() -> None:
    found = changes(given(awaiting_shipment()), MONDAY_9, SHIP_BY + hours(1))
    assert ("violations", None) in fields(found)
    assert {change.event for change in found} == {None}
    assert all(change.version is None and change.occurred_at is None for change in found)


def test_time_passes_between_versions_too() -> None:
    late = given(awaiting_shipment(), buyer_contacted(at=THURSDAY_9))
    found = {change.field: change for change in changes(late, 2, 3)}
    assert (found["violations"].event, found["deadlines"].event) == (None, None)
    assert not found["violations"].before
    assert [broken["kind"] for broken in found["violations"].after] == ["late_shipment"]
    assert changes(late, 2, 3, as_of=THURSDAY_9) == [], "how things stood at one moment no time changes"


def test_from_nothing_events_are_judged_when_the_first_one_occurred() -> None:
    found = changes(given(awaiting_shipment(), buyer_contacted(at=THURSDAY_9)), 0, 3)
    assert [change.event for change in found if change.field == "violations"] == ["OrderPlaced", None]


def test_events_and_time_are_told_apart() -> None:
    found = changes(given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12)), MONDAY_9, THURSDAY_9)
    assert ("status", "TrackingUploaded") in fields(found)
    assert ("violations", None) in fields(found), "no scan within 24 hours"
    assert ("violations", "TrackingUploaded") not in fields(found)


def test_a_number_that_another_order_had_shows_with_its_upload() -> None:
    story = given(awaiting_shipment(), tracking_uploaded(at=MONDAY_12), buyer_contacted(at=MONDAY_15))
    used = RelatedFacts(uses=[Use("SF1", "another", MONDAY_10)])

    def warned(since: int, until: int, at_first: RelatedFacts) -> list[str | None]:
        first, last = (order_at(Viewpoint(at_version=end), ORDER_SN, story.history, NOW) for end in (since, until))
        found = diff(
            ORDER_SN, story.book, first._replace(related_facts=at_first), last._replace(related_facts=used)
        )
        return [change.event for change in found if change.field == "warnings"]

    assert warned(2, 4, NO_RELATED_FACTS) == ["TrackingUploaded"]
    assert warned(3, 4, NO_RELATED_FACTS) == [None], "it was told of later"
    assert warned(3, 4, used) == []


def test_an_application_beyond_the_limit_shows_when_it_is_filed() -> None:
    first, last = (order_at(Viewpoint(at_version=end), ORDER_SN, IN_REVIEW.history, NOW) for end in (2, 3))
    delisted = {"SKU-1": fold_sku("SKU-1", [Recorded(SkuDelisted("sold out"), 1, 9, MONDAY_8, MONDAY_8)])}
    related_facts = RelatedFacts(delisted, filed=[MONDAY_10] * 10)
    found = diff(
        ORDER_SN,
        IN_REVIEW.book,
        first._replace(related_facts=RelatedFacts(delisted)),
        last._replace(related_facts=related_facts),
    )
    (warned,) = (change for change in found if change.field == "warnings")
    assert warned.event == "StockoutRequested"
    assert [warning["code"] for warning in warned.after] == ["daily_limit"]


def test_the_place_in_the_log_is_no_change() -> None:
    assert {"version", "position"}.isdisjoint(change.field for change in changes(IN_REVIEW, 1, 3))


def test_what_was_told_late_belongs_to_when_it_happened() -> None:
    story = given(awaiting_shipment()).and_(Fact(stockout_requested().event, MONDAY_12), learned_at=THURSDAY_9)
    found = changes(story, MONDAY_9, MONDAY_15)
    status = next(change for change in found if change.field == "status")
    assert (status.occurred_at, status.recorded_at) == (MONDAY_12, THURSDAY_9)


def test_what_was_learned_of_how_things_stood_at_one_moment() -> None:
    """The application was filed on Monday and told of on Thursday."""
    story = given(awaiting_shipment()).and_(Fact(stockout_requested().event, MONDAY_12), learned_at=THURSDAY_9)
    of_monday = changes(story, SHIP_BY, THURSDAY_9, as_of=MONDAY_15)
    assert ("status", "StockoutRequested") in fields(of_monday)
    assert {change.event for change in of_monday} == {"StockoutRequested"}, "no time passed between"
    assert changes(story, SHIP_BY, THURSDAY_9, as_of=MONDAY_9) == [], "nothing was learned of the time before"


def test_what_happened_by_what_was_known_at_one_moment() -> None:
    story = given(awaiting_shipment()).and_(Fact(stockout_requested().event, MONDAY_12), learned_at=THURSDAY_9)
    happened = partial(changes, story, MONDAY_9, MONDAY_15)
    assert "StockoutRequested" not in {change.event for change in happened(known_at=SHIP_BY)}
    assert happened(known_at=THURSDAY_9) == happened()
    assert changes(story, 1, 3, as_of=MONDAY_9 - days(1)) == [], "before the order was"


def test_back_in_time_nothing_is_added() -> None:
    assert all(change.event is None for change in changes(IN_REVIEW, MONDAY_15, MONDAY_9))
