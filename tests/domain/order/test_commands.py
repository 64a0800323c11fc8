"""The bodies of commands: their fields, and the values that are refused."""

import msgspec
import pytest

from domain.order.decisions.table import ACTIONS
from tests.domain.vocabulary import A_COMMAND_FOR, MONDAY_12


def test_every_action_of_the_contract_is_there() -> None:
    assert set(A_COMMAND_FOR) == set(ACTIONS)
    assert len(ACTIONS) == 28
    assert {name: ACTIONS[name].command for name in ACTIONS} == {
        name: type(command) for name, command in A_COMMAND_FOR.items()
    }


@pytest.mark.parametrize("name", list(ACTIONS))
def test_a_body_travels_as_json_and_back(name: str) -> None:
    command = A_COMMAND_FOR[name]
    told = msgspec.structs.replace(command, occurred_at=MONDAY_12, note="by phone")
    for body in (command, told):
        assert msgspec.json.decode(msgspec.json.encode(body), type=type(command)) == body


@pytest.mark.parametrize("name", list(ACTIONS))
def test_the_example_of_an_action_is_a_body(name: str) -> None:
    example = ACTIONS[name].example
    command = msgspec.convert(example, ACTIONS[name].command)
    assert set(example) <= set(msgspec.structs.asdict(command))


@pytest.mark.parametrize("name", list(ACTIONS))
def test_a_field_that_does_not_exist_is_refused(name: str) -> None:
    body = {**msgspec.to_builtins(A_COMMAND_FOR[name]), "colour": "red"}
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.convert(body, type(A_COMMAND_FOR[name]))


@pytest.mark.parametrize(
    ("action", "field", "value"),
    [
        ("place", "lines", []),
        ("place", "paid_fen", -1),
        ("place", "paid_fen", 10**12 + 1),
        ("place", "goods_type", "livestock"),
        ("place", "group_id", ""),
        ("pay", "paid_fen", 1.5),
        ("pay", "paid_fen", "100"),
        ("change-ship-by", "ship_by", "2026-03-06T09:00:00"),
        ("change-ship-by", "ship_by", "soon"),
        ("change-ship-by", "reason", "weather"),
        ("upload-tracking", "tracking_number", ""),
        ("upload-tracking", "tracking_number", "SF1\x00"),
        ("upload-tracking", "tracking_number", "SF1\n"),
        ("upload-tracking", "tracking_number", "SF\t1"),
        ("upload-tracking", "tracking_number", "S" * 65),
        ("upload-tracking", "carrier", ""),
        ("upload-tracking", "carrier", "SF\n"),
        ("upload-tracking", "lines", [{"sku_id": "SKU-1", "quantity": 0}]),
        ("hand-to-supplier", "supplier_id", ""),
        ("hand-to-supplier", "supplier_id", "S\n17"),
        ("hand-to-supplier", "expected_tracking_at", "2026-03-02T09:00:00"),
        ("record-supplier-tracking", "tracking_number", ""),
        ("record-supplier-stockout", "reason", ""),
        ("request-stockout", "reason", "unknown"),
        ("complete-review", "outcome", "maybe"),
        ("refund", "amount_fen", 0),
        ("refund", "amount_fen", -5),
        ("refund", "initiated_by", "unknown"),
        ("place-hold", "hold", "stockout_review"),
        ("contact-buyer", "message", "a\x00b"),
        ("contact-buyer", "message", "x" * 2_001),
        ("file-complaint", "finding", "late"),
        ("appeal", "violation_id", "x" * 201),
        ("form-group", "occurred_at", "2026-03-02T09:00:00"),
        ("form-group", "note", ""),
    ],
)
def test_a_value_without_meaning_is_refused_and_the_field_is_named(action: str, field: str, value: object) -> None:
    command = A_COMMAND_FOR[action]
    body = {**msgspec.to_builtins(command), field: value}
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.json.decode(msgspec.json.encode(body), type=type(command))
