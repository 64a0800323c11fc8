"""Bringing an order export into a shop's log, through the one door for all writes.

The file is read as a stream and observed in batches, so memory does not grow with it; only a preview keeps what
the orders of the file would become. What is known already appends nothing: importing a file again, or after a
crash, is safe.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec

from domain.history import Metadata, Recorded
from domain.order.fold import evolve, fold
from domain.order.observations import observe
from domain.order.state import Order
from domain.rules.ruleset import RuleBook
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import SnapshotIntent
from infrastructure.database.pool import Pool
from infrastructure.log.log import ORDER, read_histories
from infrastructure.pinduoduo.exports import Rejected, Row
from infrastructure.runtime import clock

ACTOR = "import"
BATCH = 500
MOST_REASONS = 1_000
"""Rejected rows that a report names one by one; the rest are only counted."""


class RejectedRow(msgspec.Struct, frozen=True):
    """A row that did not go in: its line in the file, the column at fault, and why."""

    line: int
    column: str | None
    reason: str


class ImportReport(msgspec.Struct):
    """What an import did. ``rejected`` names the first rows that did not go in; ``rows_rejected`` counts all."""

    rows_read: int = 0
    orders_new: int = 0
    orders_changed: int = 0
    orders_unchanged: int = 0
    events_appended: int = 0
    rows_rejected: int = 0
    rejected: list[RejectedRow] = msgspec.field(default_factory=list)

    @property
    def orders(self) -> int:
        return self.orders_new + self.orders_changed + self.orders_unchanged

    def reject(self, row: Rejected) -> None:
        self.rows_rejected += 1
        if len(self.rejected) < MOST_REASONS:
            self.rejected.append(RejectedRow(row.line, row.column, row.reason))

    def count(self, *, was_new: bool, events: int) -> None:
        self.events_appended += events
        if was_new:
            self.orders_new += 1
        elif events:
            self.orders_changed += 1
        else:
            self.orders_unchanged += 1


async def import_rows(
    rows: Iterable[Row | Rejected],
    shop_id: str,
    path: CommandPath,
    report: ImportReport,
    progress: Callable[[ImportReport], None],
) -> ImportReport:
    """Observe every row; ``progress`` is called after each batch with the counts so far.

    Raises what stops the command path, such as ``Unavailable``; what was committed by then stays, and
    importing the file again goes on from there.
    """
    for batch in _batches(rows, report):
        outcomes = await path.submit([SnapshotIntent(shop_id, row.snapshot, ACTOR) for row in batch])
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            was_new = outcome.order.version == outcome.events
            report.count(was_new=was_new and outcome.events > 0, events=outcome.events)
        progress(report)
    return report


async def preview_rows(
    rows: Iterable[Row | Rejected],
    shop_id: str,
    pool: Pool,
    book: RuleBook,
    report: ImportReport,
    progress: Callable[[ImportReport], None],
) -> ImportReport:
    """What ``import_rows`` would do, with nothing appended; later rows know what earlier ones would append."""
    would_be: dict[str, Order] = {}
    now = clock.now()
    for batch in _batches(rows, report):
        async with pool.read() as connection:
            histories = await read_histories(
                connection, ((shop_id, ORDER + row.snapshot.order_sn) for row in batch)
            )
        for row in batch:
            number = row.snapshot.order_sn
            order = would_be.get(number) or fold(number, histories[shop_id, ORDER + number])
            was_new = order.version == 0
            observations = observe(order, row.snapshot, book)
            for seen in observations:
                metadata = Metadata(actor=ACTOR, via=row.snapshot.via, observed=seen.observed)
                recorded = Recorded(seen.event, order.version + 1, order.position, seen.occurred_at, now, metadata)
                order = would_be[number] = evolve(order, recorded)
            report.count(was_new=was_new, events=len(observations))
        progress(report)
    return report


def _batches(rows: Iterable[Row | Rejected], report: ImportReport) -> Iterator[list[Row]]:
    source = iter(rows)
    while taken := list(islice(source, BATCH)):
        batch = []
        for row in taken:
            if isinstance(row, Rejected):
                report.reject(row)
            else:
                batch.append(row)
        if batch:
            yield batch
