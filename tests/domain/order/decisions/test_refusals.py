"""Every action declares the codes it can be refused with: all that it gives, and none that it does not.

The codes are found in two ways. Orders live at random, and at every step every command is tried: what is refused
then can really happen. And each decision's code is read with all functions it calls: it has no other codes in it.
"""

import dis
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from random import Random
from types import CodeType, FunctionType
from typing import get_args

import msgspec
import pytest
from msgspec.structs import replace

from domain.history import Recorded
from domain.kernel import EARLIEST, Command, Refusal, RefusalCode
from domain.order import commands as c
from domain.order.decisions.table import ACTIONS, COMMON_REFUSALS, LONGEST_HISTORY, decide
from domain.order.events import OrderEvent
from domain.order.fold import evolve
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from domain.sku import decisions as sku_decisions
from domain.sku.state import Sku
from tests.domain.sku_vocabulary import SKU_ID
from tests.domain.vocabulary import (
    A_COMMAND_FOR,
    APPROVE,
    BOOK,
    MONDAY_8,
    ORDER_SN,
    ORDERED,
    RULES,
    hours,
    replace_with,
    upload,
    violation_id,
)

CODES = frozenset(get_args(RefusalCode))

OF_THE_COMMAND_PATH = {"stale_version", "idempotency_key_reused"}
"""These depend on the request, not on the order, so no decision gives them."""

REFUSING = RuleBook([replace(RULES, application=replace(RULES.application, conditions="refuse"))])

COMMANDS: tuple[Command, ...] = (
    *A_COMMAND_FOR.values(),
    c.Place(lines=(replace(ORDERED, quantity=2),), goods_type="direct_mail"),
    c.Pay(paid_fen=4_200),
    c.FormGroup(ship_by=MONDAY_8 + hours(40)),
    c.ChangeShipBy(ship_by=MONDAY_8 + hours(700), reason="buyer_agreed"),
    upload("SF1", SKU_1=1),
    upload("SF2", SKU_1=1),
    replace_with("SF1"),
    replace_with("ZT8", replaces="SF1"),
    replace_with("ZT7", replaces="nowhere"),
    c.RecordPickup(tracking_number="nowhere"),
    c.RecordDelivery(tracking_number="nowhere"),
    c.RecordDelivery(tracking_number="SF1"),
    c.ConfirmReceipt(tracking_number="nowhere"),
    APPROVE,
    c.Refund(initiated_by="buyer", reason="changed_mind", amount_fen=100),
    c.HandToSupplier(supplier_id="S-18"),
    c.PlaceHold(hold="manual", reason="fraud"),
    c.AppealViolation(violation_id=violation_id("stockout")),
    c.DecideComplaint(outcome="dismissed"),
    c.RecordCharge(kind="stockout", amount_fen=400, line_id="bill-1"),
    c.RecordReturn(amount_fen=400, line_id="bill-2"),
)

NAMES = {action.command: name for name, action in ACTIONS.items()}


def lives(book: RuleBook, seed: int, count: int, steps: int) -> Iterator[tuple[str, RefusalCode]]:
    """The refusals of every command at every step of some random lives, as pairs of action and code."""
    random = Random(seed)
    for _ in range(count):
        history: list[Recorded[OrderEvent]] = []
        order, now = Order(ORDER_SN), MONDAY_8
        for _ in range(steps):
            decisions = [(command, *decide(history, order, command, book, now)) for command in COMMANDS]
            yield from ((NAMES[type(each)], made.code) for each, made, _ in decisions if isinstance(made, Refusal))
            accepted = [(made, at) for _, made, at in decisions if not isinstance(made, Refusal) and made]
            events, occurred_at = random.choice(accepted)
            version = order.version + 1
            recorded = Recorded(events[0], version, version, occurred_at, now)
            after = evolve(order, recorded)
            if after.is_closed and random.random() < 0.6:
                continue  # Most orders live longer, or rare states would not be reached.
            history.append(recorded)
            order = after
            now += random.choice((hours(1), hours(12), timedelta(days=2), timedelta(days=9)))


@cache
def happened() -> frozenset[tuple[str, RefusalCode]]:
    return frozenset((*lives(BOOK, 1, count=500, steps=12), *lives(REFUSING, 2, count=20, steps=6)))


def written(function: FunctionType) -> set[str]:
    """The codes in the text of a function and of all functions of the domain that it calls."""
    codes: set[str] = set()
    visited = set()
    functions = [function]
    while functions:
        current = functions.pop()
        visited.add(current)
        for text in texts(current.__code__):
            codes |= CODES.intersection(const for const in text.co_consts if isinstance(const, str))
            names = [each.argval for each in dis.get_instructions(text) if each.opname == "LOAD_GLOBAL"]
            called = [current.__globals__.get(name) for name in names]
            functions += [
                each
                for each in called
                if isinstance(each, FunctionType) and each.__module__.startswith("domain.") and each not in visited
            ]
    return codes


def texts(code: CodeType) -> Iterator[CodeType]:
    """The code of a function with that of the functions and generators in it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from texts(const)


@pytest.mark.parametrize("name", list(ACTIONS))
def test_an_action_declares_every_code_it_gives_and_no_other(name: str) -> None:
    action = ACTIONS[name]
    assert len(set(action.refusals)) == len(action.refusals)
    given = {code for of, code in happened() if of == name}
    assert set(action.refusals) == given - set(COMMON_REFUSALS)
    decision = [each for each in (action.decide, action.conditions) if isinstance(each, FunctionType)]
    codes = set[str]().union(*map(written, decision))
    assert set(action.refusals) == codes - set(COMMON_REFUSALS)


def test_the_common_codes_are_those_that_every_action_gives() -> None:
    assert written(decide) == set(COMMON_REFUSALS)  # type: ignore[arg-type]
    full = Order(ORDER_SN, version=LONGEST_HISTORY, placed_at=MONDAY_8)
    for name, command in A_COMMAND_FOR.items():
        too_old = replace(command, occurred_at=EARLIEST - hours(1))
        refused = [
            decide((), order, each, BOOK, MONDAY_8)[0]
            for order, each in ((Order(ORDER_SN), command), (full, command), (replace(full, version=1), too_old))
        ]
        codes = [each.code if isinstance(each, Refusal) else None for each in refused]
        assert codes == [None if name == "place" else "unknown_order", "history_full", "invalid_request"], name


def test_the_codes_of_a_sku_are_those_that_every_action_gives() -> None:
    decisions = [each.decide for each in sku_decisions.ACTIONS.values()]
    codes = set[str]().union(*(written(each) for each in decisions if isinstance(each, FunctionType)))
    assert codes == set()
    assert written(sku_decisions.decide) == set(sku_decisions.COMMON_REFUSALS)  # type: ignore[arg-type]
    for action in sku_decisions.ACTIONS.values():
        command = msgspec.convert(action.example, action.command)
        too_old = replace(command, occurred_at=EARLIEST - hours(1))
        full = Sku(SKU_ID, version=sku_decisions.LONGEST_HISTORY)
        refused = [
            sku_decisions.decide(sku, each, MONDAY_8)[0] for sku, each in ((full, command), (Sku(SKU_ID), too_old))
        ]
        assert [each.code for each in refused if isinstance(each, Refusal)] == ["history_full", "invalid_request"]


def test_every_code_is_given_by_an_action_or_by_the_command_path() -> None:
    declared = {code for action in ACTIONS.values() for code in action.refusals}
    assert declared | set(COMMON_REFUSALS) | OF_THE_COMMAND_PATH == CODES
    assert not OF_THE_COMMAND_PATH & (declared | set(COMMON_REFUSALS))
