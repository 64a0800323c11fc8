"""Bundles: whole in themselves, and not one byte can be another."""

import io
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrastructure.audit import bundle
from infrastructure.audit.archive import LogDiffers
from infrastructure.audit.bundle import BadBundle, CannotBundle
from infrastructure.audit.note import VerifierKey
from infrastructure.database.pool import WriteConnection
from tests.infrastructure.audit.signed import REHASH, SignedLog
from tests.orders import SHOP, order_sn

Connection = WriteConnection
ORDER = order_sn(3)


@pytest.fixture
def of_order(log: SignedLog, tmp_path: Path) -> bytes:
    signed, file = log.sign(), tmp_path / "order.jsonl"
    count = log.on_connection(lambda c: bundle.export_order(c, SHOP, ORDER, signed, file))
    assert count == 2
    return file.read_bytes()


@pytest.fixture
def of_range(log: SignedLog, tmp_path: Path) -> bytes:
    signed, file = log.sign(), tmp_path / "range.jsonl"
    assert log.on_connection(lambda c: bundle.export_range(c, SHOP, 14, 17, signed, file)) == 4
    return file.read_bytes()


def check(content: bytes, *trusted: VerifierKey) -> bundle.Checked:
    return bundle.check(io.BytesIO(content), trusted)


def test_the_bundle_of_an_order_tells_its_events(log: SignedLog, of_order: bytes) -> None:
    found = check(of_order)
    assert (found.shop_id, found.order_sn, found.events) == (SHOP, ORDER, 2)
    assert (found.from_position, found.to_position, found.checkpoint_size) == (4, 19, 30)
    assert found.key_trusted is False
    assert [event.type for event in bundle.events(io.BytesIO(of_order))] == ["OrderPlaced", "GroupFormed"]
    (key,) = log.archive.keys.verifiers(SHOP)
    assert check(of_order, key).key_trusted is True


def test_the_bundle_of_a_range_has_every_position_of_it(of_range: bytes) -> None:
    found = check(of_range)
    assert (found.order_sn, found.from_position, found.to_position, found.events) == (None, 14, 17, 4)


def test_a_key_that_is_not_trusted_is_refused(of_order: bytes) -> None:
    with pytest.raises(BadBundle, match="not a key you trust"):
        check(of_order, VerifierKey(f"shiplock/{SHOP}", bytes(32)))


def test_after_a_rotation_old_bundles_and_old_keys_still_hold(log: SignedLog, of_order: bytes) -> None:
    (key,) = log.archive.keys.verifiers(SHOP)
    log.archive.keys.rotate()
    assert check(of_order, key).key_trusted
    assert check(of_order, *log.archive.keys.verifiers(SHOP)).key_trusted


def test_no_byte_can_be_another(of_order: bytes) -> None:
    for n in range(len(of_order)):
        for changed in (of_order[n] ^ 1, of_order[n] ^ 0x20, 0x20):
            if changed != of_order[n]:
                with pytest.raises(BadBundle):
                    check(of_order[:n] + bytes([changed]) + of_order[n + 1 :])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nothing_can_be_put_in_taken_out_or_exchanged(of_range: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(of_range)))
    end = data.draw(st.integers(start, min(start + 40, len(of_range))))
    put = data.draw(st.binary(max_size=8) | st.sampled_from([b" ", b"\n", b"0", b"null", b'"x":1,', b"\r\n"]))
    changed = of_range[:start] + put + of_range[end:]
    if changed != of_range:
        with pytest.raises(BadBundle):
            check(changed)


def test_lines_can_not_be_left_out_doubled_or_moved(of_range: bytes) -> None:
    header, *events = of_range.splitlines(keepends=True)
    for lines in (events[1:], events[:-1], [*events, events[-1]], events[::-1], [events[0], *events], []):
        with pytest.raises(BadBundle):
            check(b"".join([header, *lines]))
    fewer = msgspec.json.decode(header) | {"events": 3, "to_position": 16}
    assert check(b"".join([msgspec.json.encode(fewer) + b"\n", *events[:3]])).events == 3, (
        "a smaller range is one too"
    )


def test_events_of_another_order_or_shop_are_not_those_of_this_one(of_order: bytes) -> None:
    for one, other in ((ORDER, order_sn(4)), (SHOP, "100000002")):
        with pytest.raises(BadBundle):
            check(of_order.replace(one.encode(), other.encode(), 1))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}\n", b"[" * 100_000, b"\xff\xfe", b'{"shiplock_bundle":2}\n', b"PK\x03\x04", bytes(1000)],
)
def test_what_is_no_bundle_is_refused(content: bytes) -> None:
    with pytest.raises(BadBundle):
        check(content)


def test_what_can_not_be_bundled_is_said_and_leaves_nothing(log: SignedLog, tmp_path: Path) -> None:
    signed, file = log.sign(), tmp_path / "bundle.jsonl"

    async def order(connection: Connection) -> int:
        return await bundle.export_order(connection, SHOP, "nothing", signed, file)

    async def beyond(connection: Connection) -> int:
        return await bundle.export_range(connection, SHOP, 29, 31, signed, file)

    async def some(connection: Connection) -> int:
        return await bundle.export_range(connection, SHOP, 1, 30, signed, file)

    for work in (order, beyond):
        with pytest.raises(CannotBundle):
            log.on_connection(work)
    log.tamper("UPDATE event SET payload = '\\xff' WHERE position = 7")
    with pytest.raises(CannotBundle, match="no text"):
        log.on_connection(some)
    log.tamper("UPDATE event SET payload = '{}' WHERE position = 7")
    with pytest.raises(LogDiffers, match="position 7"):
        log.on_connection(some)
    log.tamper(REHASH)
    with pytest.raises(LogDiffers):
        log.on_connection(some)
    log.tamper("DELETE FROM event WHERE position = 7")
    with pytest.raises((CannotBundle, LogDiffers)):
        log.on_connection(some)
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == []
