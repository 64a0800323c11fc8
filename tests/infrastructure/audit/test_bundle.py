"""A bundle needs nothing but itself, and a change of any byte is noticed."""

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


def test_the_bundle_of_an_order_has_all_its_events(log: SignedLog, of_order: bytes) -> None:
    checked = check(of_order)
    assert (checked.shop_id, checked.order_sn, checked.events) == (SHOP, ORDER, 2)
    assert (checked.from_position, checked.to_position, checked.checkpoint_size) == (4, 19, 30)
    assert checked.key_trusted is False
    assert [event.type for event in bundle.events(io.BytesIO(of_order))] == ["OrderPlaced", "GroupFormed"]
    (key,) = log.archive.keys.verifiers(SHOP)
    assert check(of_order, key).key_trusted is True


def test_the_bundle_of_a_range_has_every_position_in_it(of_range: bytes) -> None:
    checked = check(of_range)
    assert (checked.order_sn, checked.from_position, checked.to_position, checked.events) == (None, 14, 17, 4)


def test_a_key_that_is_not_trusted_is_refused(of_order: bytes) -> None:
    with pytest.raises(BadBundle, match="not a key you trust"):
        check(of_order, VerifierKey(f"shiplock/{SHOP}", bytes(32)))


def test_after_a_rotation_old_bundles_are_valid_under_the_old_key(log: SignedLog, of_order: bytes) -> None:
    (key,) = log.archive.keys.verifiers(SHOP)
    log.archive.keys.rotate()
    assert check(of_order, key).key_trusted
    assert check(of_order, *log.archive.keys.verifiers(SHOP)).key_trusted


def test_a_bundle_with_any_byte_changed_is_refused(of_order: bytes) -> None:
    for n in range(len(of_order)):
        for changed in (of_order[n] ^ 1, of_order[n] ^ 0x20, 0x20):
            if changed != of_order[n]:
                with pytest.raises(BadBundle):
                    check(of_order[:n] + bytes([changed]) + of_order[n + 1 :])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_bundle_with_bytes_inserted_removed_or_replaced_is_refused(of_range: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(of_range)))
    end = data.draw(st.integers(start, min(start + 40, len(of_range))))
    inserted = data.draw(st.binary(max_size=8) | st.sampled_from([b" ", b"\n", b"0", b"null", b'"x":1,', b"\r\n"]))
    changed = of_range[:start] + inserted + of_range[end:]
    if changed != of_range:
        with pytest.raises(BadBundle):
            check(changed)


def test_a_bundle_with_lines_left_out_doubled_or_moved_is_refused(of_range: bytes) -> None:
    header, *events = of_range.splitlines(keepends=True)
    for lines in (events[1:], events[:-1], [*events, events[-1]], events[::-1], [events[0], *events], []):
        with pytest.raises(BadBundle):
            check(b"".join([header, *lines]))
    fewer = msgspec.json.decode(header) | {"events": 3, "to_position": 16}
    assert check(b"".join([msgspec.json.encode(fewer) + b"\n", *events[:3]])).events == 3, (
        "a smaller range is a valid bundle too"
    )


def test_a_bundle_that_names_another_order_or_shop_is_refused(of_order: bytes) -> None:
    for right, wrong in ((ORDER, order_sn(4)), (SHOP, "100000002")):
        with pytest.raises(BadBundle):
            check(of_order.replace(right.encode(), wrong.encode(), 1))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}\n", b"[" * 100_000, b"\xff\xfe", b'{"shiplock_bundle":2}\n', b"PK\x03\x04", bytes(1000)],
)
def test_a_file_that_is_no_bundle_is_refused(content: bytes) -> None:
    with pytest.raises(BadBundle):
        check(content)


def test_events_that_can_not_be_bundled_raise_an_error_and_leave_no_file(log: SignedLog, tmp_path: Path) -> None:
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
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == []
