"""Files as people's tools write them: the same orders come out, or a line says why not.

A table of orders is written in a dialect, read back, and compared with the same table in plain writing.
"""

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.history import Metadata, Recorded
from domain.order.events import OrderEvent
from domain.order.fold import evolve
from domain.order.observations import observe
from domain.order.state import Order
from domain.order.violations import violations
from infrastructure.files.tables import RejectedRow
from infrastructure.pinduoduo.exports import ExportReader, Row
from infrastructure.runtime.rule_sets import shipped_rules
from tests.infrastructure.pinduoduo.dialects import (
    EXPORTED,
    PLAIN,
    Damage,
    Dialect,
    Record,
    damages,
    dialects,
    lines_of_rows,
    tables,
    write,
)

BOOK = shipped_rules()
SEEN = EXPORTED.astimezone(UTC)
LONG_AFTER = SEEN + timedelta(days=60)


class Read(NamedTuple):
    """What came out of a file: orders by number, and the lines about which something was said."""

    orders: dict[str, Order]
    told: set[int]
    rejected: int
    rows: int


def read(content: bytes, known: dict[str, Order] | None = None) -> Read:
    """Read a file into a log that has these orders already."""
    orders = dict(known or {})
    told: set[int] = set()
    rejected = rows = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "export")
        file.write_bytes(content)
        with ExportReader(file, seen_at=SEEN, now=SEEN) as reader:
            for row in reader:
                if isinstance(row, RejectedRow):
                    told.add(row.line)
                    rejected += 1
                    rows += 1
                    continue
                told |= {note.line for note in row.notes}
                rows += row.rows
                number = row.snapshot.order_sn
                orders[number] = observed(orders.get(number, Order(number)), row)
            assert reader.rows_read == rows, "every row is accounted for"
    return Read(orders, told, rejected, rows)


def observed(order: Order, row: Row) -> Order:
    for each in observe(order, row.snapshot, BOOK):
        version = order.version + 1
        metadata = Metadata(via="export", observed=each.observed, within=each.within)
        recorded: Recorded[OrderEvent] = Recorded(each.event, version, version, each.occurred_at, SEEN, metadata)
        order = evolve(order, recorded)
    return order


def facts(order: Order) -> tuple[object, ...]:
    """What a shop would look up of an order; times to the minute, since some dialects have no seconds."""

    def minute(at: datetime | None) -> datetime | None:
        return at.replace(second=0) if at else None

    return (
        order.status,
        sorted(
            (line.sku_id, line.goods_id, line.name, line.quantity, line.unit_price_fen, line.sku_code)
            for line in order.lines
        ),
        order.paid_fen,
        minute(order.paid_at),
        minute(order.group_formed_at),
        minute(order.promised_ship_by),
        minute(order.received_at),
        [(parcel.tracking_number, parcel.carrier, minute(parcel.uploaded_at)) for parcel in order.parcels],
        order.refunded_fen,
        [hold.hold for hold in order.holds],
        [anomaly.code for anomaly in order.anomalies],
    )


def broken(order: Order) -> set[str]:
    """The kinds of violations that stand long after."""
    return {violation.kind for violation in violations(order, BOOK.governing(order), LONG_AFTER)}


def claims_no_more(after: Read, clean: Read) -> None:
    for number, order in after.orders.items():
        assert number in clean.orders, f"nobody has an order {number}"
        assert broken(order) <= broken(clean.orders[number])


@settings(max_examples=200, deadline=None)
@given(tables(), dialects())
def test_any_dialect_gives_the_same_orders(table: Sequence[Record], dialect: Dialect) -> None:
    clean = read(write(table, PLAIN))
    assert not clean.told
    after = read(write(table, dialect))
    assert not after.told
    assert {number: facts(order) for number, order in after.orders.items()} == {
        number: facts(order) for number, order in clean.orders.items()
    }
    claims_no_more(after, clean)


@settings(max_examples=100, deadline=None)
@given(tables(), dialects(), dialects())
def test_the_same_table_in_another_dialect_says_nothing_new(
    table: Sequence[Record], first: Dialect, second: Dialect
) -> None:
    """Only the seconds that the first did not have are learned, once."""
    known = read(write(table, first)).orders
    again = read(write(table, second), known).orders
    if not first.is_coarse:
        assert again == known
    third = read(write(table, first), again).orders
    assert third == again
    claims_no_more(read(write(table, second), known), read(write(table, PLAIN)))


@settings(max_examples=100, deadline=None)
@given(tables(), dialects(), st.randoms(use_true_random=False))
def test_rows_of_one_order_need_not_be_neighbours(
    table: Sequence[Record], dialect: Dialect, random: Random
) -> None:
    shuffled = [*table]
    random.shuffle(shuffled)
    clean, after = read(write(table, PLAIN)), read(write(shuffled, dialect))
    assert not after.told
    assert {number: facts(order) for number, order in after.orders.items()} == {
        number: facts(order) for number, order in clean.orders.items()
    }


damaged_tables = tables().flatmap(
    lambda table: st.tuples(st.just(table), dialects(), st.lists(damages(table), min_size=1, max_size=3))
)


@settings(max_examples=300, deadline=None)
@given(damaged_tables)
def test_what_is_damaged_is_told_and_the_rest_comes_out(
    case: tuple[Sequence[Record], Dialect, list[Damage]],
) -> None:
    table, dialect, damaged = case
    clean, after = read(write(table, PLAIN)), read(write(table, dialect, damaged))
    lines = lines_of_rows(table, dialect)
    for number, order in clean.orders.items():
        rows = {line for line, row in zip(lines, table, strict=True) if row["order_sn"] == number}
        same = number in after.orders and facts(after.orders[number]) == facts(order)
        assert same or rows & after.told, f"{number} differs, and no line says why"
    assert after.rows == len(table), "no row vanishes"
    claims_no_more(after, clean)


@settings(max_examples=200, deadline=None)
@given(tables(), dialects().filter(lambda dialect: dialect.form == "csv"), st.data())
def test_a_download_that_broke_off_in_its_last_row_gives_no_half_of_anything(
    table: Sequence[Record], dialect: Dialect, data: st.DataObject
) -> None:
    """Only in its last cell a whole row and a cut one look alike."""
    whole = write(table, dialect)
    encoding = {"utf-16": "utf-16-le", "utf-8-sig": "utf-8"}.get(dialect.encoding, dialect.encoding)
    end, delimiter = dialect.line_end.encode(encoding), dialect.delimiter.encode(encoding)
    begin = len(write(table[:-1], dialect))
    last = whole.rindex(delimiter, begin, len(whole) - len(end))
    cut = whole[: data.draw(st.integers(begin, last))]
    clean, after = read(write(table, PLAIN)), read(cut)
    line = lines_of_rows(table, dialect)[-1]
    is_begun = bool(cut[begin:].decode(encoding, errors="replace").strip(" "))
    for number, order in clean.orders.items():
        same = number in after.orders and facts(after.orders[number]) == facts(order)
        assert same or number == table[-1]["order_sn"]
        assert same or line in after.told or not is_begun
    claims_no_more(after, clean)
