"""What orders and SKUs share: ids, amounts, and when a command may have occurred."""

from datetime import UTC, timedelta, timezone

import msgspec
import pytest

from domain.kernel import (
    CLOCK_SKEW,
    EARLIEST,
    Fen,
    Identifier,
    OrderSn,
    PositiveFen,
    Refusal,
    ShopId,
    is_id,
    is_identifier,
    occurrence,
    too_early,
)
from domain.order.commands import FailGroup
from tests.domain.vocabulary import MICROSECOND, MONDAY_8, MONDAY_9, MONDAY_10, hours


@pytest.mark.parametrize("text", ["1", "180831-481803633911509", "shop_7", "a" * 64, "A-"])
def test_ids_are_letters_digits_underscores_and_dashes(text: str) -> None:
    assert is_id(text)
    assert msgspec.convert(text, ShopId) == msgspec.convert(text, OrderSn) == text


@pytest.mark.parametrize("text", ["", "-1", "_a", "a" * 65, "a b", "a/b", "a.b", "1\n", "\n1", "订单", "１"])
def test_no_other_text_is_an_id(text: str) -> None:
    assert not is_id(text)
    for kind in (ShopId, OrderSn):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, kind)


@pytest.mark.parametrize("text", ["x" * 64, "袜子 1", "SKU/1", "-"])
def test_an_id_that_others_give_is_any_printable_text_of_up_to_64_characters(text: str) -> None:
    assert is_identifier(text)
    assert msgspec.convert(text, Identifier) == text


@pytest.mark.parametrize("text", ["", "x" * 65, "a\n", "a\x00", "\x7f"])
def test_no_other_text_is_an_id_that_others_give(text: str) -> None:
    assert not is_identifier(text)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, Identifier)


def test_amounts_are_whole_fen_from_nothing_or_from_one() -> None:
    assert msgspec.convert(0, Fen) == 0
    assert msgspec.convert(10**12, PositiveFen) == 10**12
    for amount, kind in ((-1, Fen), (10**12 + 1, Fen), (0, PositiveFen), (10**12 + 1, PositiveFen)):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(amount, kind)


def test_a_command_without_a_time_occurs_now_and_never_before_the_latest_event() -> None:
    command = FailGroup()
    assert occurrence(command, None, MONDAY_9) == MONDAY_9
    assert occurrence(command, MONDAY_8, MONDAY_9) == MONDAY_9
    assert occurrence(command, MONDAY_9 + CLOCK_SKEW, MONDAY_9) == MONDAY_9 + CLOCK_SKEW
    assert occurrence(command, MONDAY_10, MONDAY_9) == MONDAY_9 + CLOCK_SKEW


@pytest.mark.parametrize("at", [EARLIEST, MONDAY_8, MONDAY_9 + CLOCK_SKEW])
def test_a_command_occurs_at_its_own_time(at: object) -> None:
    occurred_at = occurrence(msgspec.convert({"occurred_at": at}, FailGroup), MONDAY_10, MONDAY_9)
    assert occurred_at == at


def test_the_time_of_a_command_is_turned_into_utc() -> None:
    there = timezone(timedelta(hours=-7))
    occurred_at = occurrence(FailGroup(occurred_at=MONDAY_8.astimezone(there)), None, MONDAY_9)
    assert not isinstance(occurred_at, Refusal)
    assert (occurred_at, occurred_at.tzinfo) == (MONDAY_8, UTC)


@pytest.mark.parametrize("at", [EARLIEST - MICROSECOND, MONDAY_9 + CLOCK_SKEW + MICROSECOND, MONDAY_9 + hours(1)])
def test_a_time_before_the_platform_or_too_far_ahead_is_refused(at: object) -> None:
    refusal = occurrence(msgspec.convert({"occurred_at": at}, FailGroup), None, MONDAY_9)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.pointer) == ("invalid_request", "/occurred_at")


def test_a_refusal_for_being_too_early_names_what_came_first() -> None:
    assert too_early("the hold was placed", MONDAY_8) == Refusal(
        "invalid_request", "That was before the hold was placed (2026-03-02T00:00:00+00:00).", "/occurred_at"
    )
