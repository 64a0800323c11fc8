"""What a mistaken import brought is taken back, by a command or by a later import."""

import pytest
from msgspec.structs import replace as changed

from domain.history import Metadata
from domain.order import commands as c
from domain.order import events as e
from domain.order.snapshot import Snapshot
from tests.domain.vocabulary import (
    FRIDAY_9,
    MONDAY_9,
    MONDAY_12,
    ORDER_SN,
    THURSDAY_9,
    TUESDAY_9,
    WEDNESDAY_9,
    Fact,
    awaiting_shipment,
    cancelled,
    given,
    refunded,
    review_completed,
    stockout_requested,
)

EXPORT = Metadata(via="export", observed=True)


def imported(fact: Fact) -> Fact:
    return Fact(fact.event, fact.at, EXPORT)


REFUNDED = (*awaiting_shipment(), imported(refunded("unknown", "unknown", at=TUESDAY_9)))
VERSION = len(REFUNDED)
ALIVE = Snapshot(
    order_sn=ORDER_SN,
    seen_at=WEDNESDAY_9,
    via="export",
    phase="awaiting_shipment",
    lines=given(*awaiting_shipment()).order.lines,
    group_formed_at=MONDAY_9,
)


def withdraw(version: int = VERSION) -> c.WithdrawFact:
    return c.WithdrawFact(version=version, reason="the export was another shop's")


def test_an_imported_refund_is_taken_back_and_the_clock_runs_as_if_it_never_was() -> None:
    story = given(*REFUNDED)
    story.at(WEDNESDAY_9).shows(status="refunded")
    story.when(withdraw(), at=WEDNESDAY_9).then(e.FactWithdrawn(VERSION, "the export was another shop's"))
    taken_back = given(*REFUNDED, Fact(e.FactWithdrawn(VERSION, "mistake"), WEDNESDAY_9))
    taken_back.at(WEDNESDAY_9).shows(status="awaiting_shipment").has_no_violations()
    taken_back.at(FRIDAY_9).has_violations("late_shipment")
    taken_back.when(withdraw(), at=THURSDAY_9).then_nothing()


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ([imported(cancelled("unknown", at=TUESDAY_9))], "awaiting_shipment"),
        ([imported(stockout_requested(at=TUESDAY_9))], "awaiting_shipment"),
        (
            [stockout_requested(at=TUESDAY_9), imported(review_completed("approved", at=WEDNESDAY_9))],
            "stockout_review",
        ),
    ],
)
def test_other_closings_and_locks_are_taken_back(facts: list[Fact], status: str) -> None:
    story = given(*awaiting_shipment(), *facts)
    version = story.order.version
    story.when(withdraw(version), at=THURSDAY_9).then(e.FactWithdrawn(version, "the export was another shop's"))
    after = given(*awaiting_shipment(), *facts, Fact(e.FactWithdrawn(version, "mistake"), THURSDAY_9))
    after.at(THURSDAY_9).shows(status=status)


def test_what_a_command_said_stands() -> None:
    told = given(*awaiting_shipment(), refunded("merchant", "changed_mind", at=TUESDAY_9))
    told.when(withdraw(), at=WEDNESDAY_9).rejects("nothing_to_withdraw")


def test_only_closings_and_locks_can_be_taken_back() -> None:
    given(*REFUNDED).when(withdraw(1), at=WEDNESDAY_9).rejects("invalid_request", pointer="/version", because="3")


def test_a_later_import_that_shows_the_order_alive_takes_the_closing_back() -> None:
    learned = given(*REFUNDED).sees(ALIVE).story_after
    assert [type(each.event) for each in learned.history][-1] is e.FactWithdrawn
    learned.at(WEDNESDAY_9).shows(status="awaiting_shipment").has_anomalies()


def test_the_mistaken_file_imported_again_closes_nothing() -> None:
    learned = given(*REFUNDED).sees(ALIVE).story_after
    mistaken = changed(ALIVE, refunded=True, seen_at=TUESDAY_9)
    learned.sees(mistaken).learns_nothing()


def test_a_closing_that_a_command_told_is_contradicted_not_taken_back() -> None:
    told = given(*awaiting_shipment(), refunded("merchant", "changed_mind", at=MONDAY_12))
    told.sees(ALIVE).story_after.at(WEDNESDAY_9).shows(status="refunded").has_anomalies("closed_order_alive")
