"""Stored events stay readable: one golden file for each shape a type ever had."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from domain.access import events as access
from domain.history import Metadata
from domain.order import events as e
from domain.sku import events as sku
from infrastructure.log import codec
from infrastructure.log.codec import (
    UnreadableEvent,
    decode_event,
    decode_metadata,
    encode_event,
    encode_metadata,
    schema_version,
)

GOLDEN = Path(__file__).parent / "golden"
MOMENT = datetime(2026, 3, 4, 1, 5, 0, 250000, tzinfo=UTC)

EVENTS: list[e.OrderEvent] = [
    e.OrderPlaced((e.Line("52000301", "520003", "泰国金枕榴莲 1个", 2, 12900),), "presale", 25800, "g1"),
    e.LinesCompleted((e.Line("52000301", "520003", "泰国金枕榴莲 1个", 2, 12900, "A-301"),), 25800),
    e.OrderPaid(25800),
    e.GroupFormed(MOMENT),
    e.GroupFailed(),
    e.ShipByChanged(MOMENT, "festival"),
    e.TrackingUploaded("顺丰速运", "SF1", (e.ParcelLine("52000301", 1),)),
    e.TrackingReplaced("中通快递", "JT1", "SF1", "lost"),
    e.ParcelPickedUp("SF1"),
    e.ParcelDelivered("SF1"),
    e.ReceiptConfirmed(),
    e.StockoutRequested("oversold", ("52000301",)),
    e.ReviewCompleted("rejected"),
    e.OrderRefunded("merchant", "out_of_stock", 12900),
    e.OrderCancelled("changed_mind"),
    e.HoldPlaced("risk_control", "shown by the platform"),
    e.HoldReleased("manual", "checked"),
    e.BuyerContacted("chat", "您好"),
    e.ParcelComplaintFiled("different_goods", "photo"),
    e.ParcelComplaintDecided("upheld"),
    e.ViolationAppealed("260302-1:late_shipment", "slip"),
    e.AppealDecided("260302-1:late_shipment", "overturned"),
    e.PenaltyCharged("late_shipment", 300, "20260306-000017"),
    e.PenaltyReturned(300, "20260320-000004"),
    e.HandedToSupplier("S-17", MOMENT),
    e.SupplierOutOfStock("S-17", "sold out"),
    e.TakenBackFromSupplier("S-17", "too slow"),
    e.ContradictionObserved("paid_differs", "1 fen", "2 fen"),
    e.FactWithdrawn(4, "the export was another shop's", MOMENT),
]

SKU_EVENTS: list[sku.SkuEvent] = [
    sku.StockCounted(120),
    sku.CapacitySet(50, 80),
    sku.SkuDelisted("out of stock"),
    sku.SkuRelisted(),
]


ACCESS_EVENTS: list[access.AccessEvent] = [
    access.MerchantAdded(),
    access.ShopEnrolled("merchant0001"),
    access.ClientAdded("merchant0001"),
    access.PersonAdded("merchant0001"),
    access.PersonRemoved(),
    access.PrincipalDisabled(),
    access.PrincipalEnabled(),
    access.RoleGranted("viewer", ("100000001",)),
    access.RoleWithdrawn("viewer", ("100000001",)),
    access.KeyIssued("key0000001", "0" * 64, MOMENT, ("100000001",), ("orders:read",), ("203.0.113.0/24",)),
    access.KeyEndSet("key0000001", MOMENT),
    access.KeyRevoked("key0000001"),
    access.LimitsSet(1_000, 5_000),
]


def test_every_type_of_event_is_here() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(e.OrderEvent))
    assert {type(event) for event in SKU_EVENTS} == set(get_args(sku.SkuEvent))
    assert {type(event) for event in ACCESS_EVENTS} == set(get_args(access.AccessEvent))
    every = [*EVENTS, *SKU_EVENTS, *ACCESS_EVENTS]
    assert set(codec.TYPES) == {type(event).__name__ for event in every}
    assert len(every) == len(codec.TYPES), "no two have the same name"


@pytest.mark.parametrize("event", [*EVENTS, *SKU_EVENTS, *ACCESS_EVENTS], ids=lambda event: type(event).__name__)
def test_an_event_is_stored_as_its_golden_file_says_and_read_back_the_same(event: codec.AnyEvent) -> None:
    name, version, payload = encode_event(event)
    golden = (GOLDEN / f"{name}.{version}.json").read_bytes().rstrip(b"\n")
    assert payload == golden
    assert decode_event(name, version, golden) == event


def test_every_golden_file_is_still_readable() -> None:
    files = sorted(GOLDEN.glob("*.json"))
    assert len(files) >= len(codec.TYPES)
    for file in files:
        name, version, _ = file.name.split(".")
        assert type(decode_event(name, int(version), file.read_bytes())).__name__ == name


@pytest.mark.parametrize(
    ("kind", "version", "payload"),
    [
        ("NeverHeardOf", 1, b'{"type":"NeverHeardOf"}'),
        ("NeverHeardOf", 1, b'{"type":"GroupFailed"}'),
        ("GroupFailed", 2, b'{"type":"GroupFailed"}'),
        ("GroupFailed", 0, b'{"type":"GroupFailed"}'),
        ("OrderPaid", 1, b'{"type":"GroupFailed"}'),
        ("OrderPaid", 1, b'{"type":"OrderPaid"}'),
        ("OrderPaid", 1, b'{"type":"OrderPaid","paid_fen":"1"}'),
        ("OrderPaid", 1, b"\xff\x00"),
        ("OrderPaid", 1, b'{"type":"OrderPaid","paid_fen":1'),
        ("OrderCancelled", 1, b'{"type":"OrderCancelled","reason":"\xff"}'),
        pytest.param("OrderPaid", 1, b'{"type":"OrderPaid","x":' + b"[" * 100_000, id="nested"),
        ("OrderPaid", 1, b""),
    ],
)
def test_unreadable_events_raise_an_error(kind: str, version: int, payload: bytes) -> None:
    with pytest.raises(UnreadableEvent, match=kind):
        decode_event(kind, version, payload)


def test_an_old_shape_is_upcast_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_fen(old: dict[str, Any]) -> dict[str, Any]:
        return {"type": "OrderPaid", "paid": old["yuan"] * 100}

    def renamed(old: dict[str, Any]) -> dict[str, Any]:
        return {"type": "OrderPaid", "paid_fen": old["paid"]}

    upcasters: Mapping[tuple[str, int], codec.Upcaster] = {("OrderPaid", 1): in_fen, ("OrderPaid", 2): renamed}
    monkeypatch.setattr(codec, "UPCASTERS", upcasters)
    assert schema_version("OrderPaid") == 3
    assert decode_event("OrderPaid", 1, b'{"type":"OrderPaid","yuan":2}') == e.OrderPaid(200)
    assert decode_event("OrderPaid", 2, b'{"type":"OrderPaid","paid":5}') == e.OrderPaid(5)
    assert encode_event(e.OrderPaid(7)) == ("OrderPaid", 3, b'{"type":"OrderPaid","paid_fen":7}')
    assert decode_event("GroupFailed", 1, b'{"type":"GroupFailed"}') == e.GroupFailed()
    with pytest.raises(UnreadableEvent, match="knows 1 to 3"):
        decode_event("OrderPaid", 4, b'{"type":"OrderPaid","paid_fen":7}')


@pytest.mark.parametrize("payload", [b"[]", b"{}", b'{"yuan":null}', b'{"yuan":"\xff"}', b'{"yuan":1'])
def test_an_upcaster_that_meets_damage_raises_the_same_error(
    monkeypatch: pytest.MonkeyPatch, payload: bytes
) -> None:
    def in_fen(old: dict[str, Any]) -> dict[str, Any]:
        return {"type": "OrderPaid", "paid_fen": old["yuan"] * 100}

    monkeypatch.setattr(codec, "UPCASTERS", {("OrderPaid", 1): in_fen})
    with pytest.raises(UnreadableEvent, match="OrderPaid version 1"):
        decode_event("OrderPaid", 1, payload)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_upcaster_that_changes_nothing_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, event: e.OrderEvent
) -> None:
    name, version, payload = encode_event(event)
    monkeypatch.setattr(codec, "UPCASTERS", {(name, version): dict})
    assert decode_event(name, version, payload) == event


def test_metadata_is_stored_without_defaults_and_read_completely() -> None:
    assert encode_metadata(Metadata()) == b"{}"
    assert decode_metadata(b"{}") == Metadata()
    full = Metadata(actor="import", via="export", observed=True, note="x")
    assert decode_metadata(encode_metadata(full)) == full
    for damaged in (b"[]", b"", b'{"note":"\xff"}'):
        with pytest.raises(UnreadableEvent, match="metadata"):
            decode_metadata(damaged)
