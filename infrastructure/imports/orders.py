"""An order export into a shop's log, through the one door for all writes.

The file is read as a stream and observed in batches. What is known already appends nothing, so a file can be
imported again, also after a crash.
"""

from collections.abc import Callable, Iterable

import msgspec

from infrastructure.commands.intents import OrderOutcome, SnapshotIntent
from infrastructure.files.cells import RejectedRow
from infrastructure.imports.batches import MOST_REASONS, Submit, batches, outcomes_of
from infrastructure.pinduoduo.exports import Row

ACTOR = "import"


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

    def reject(self, row: RejectedRow) -> None:
        self.rows_rejected += 1
        if len(self.rejected) < MOST_REASONS:
            self.rejected.append(row)

    def count(self, outcome: OrderOutcome) -> None:
        self.events_appended += outcome.events
        if not outcome.events:
            self.orders_unchanged += 1
        elif outcome.order.version == outcome.events:
            self.orders_new += 1
        else:
            self.orders_changed += 1


async def import_orders(
    rows: Iterable[Row | RejectedRow],
    shop_id: str,
    submit: Submit,
    report: ImportReport,
    progress: Callable[[ImportReport], None] = lambda report: None,
) -> ImportReport:
    """Observe every row. ``progress`` is called after each batch with the counts so far.

    Raises what stops the command path, such as ``Unavailable``. What was committed by then stays, and importing the
    file again goes on from there.
    """
    for batch in batches(rows):
        intents = []
        for row in batch:
            if isinstance(row, RejectedRow):
                report.reject(row)
            else:
                intents.append(SnapshotIntent(shop_id, row.snapshot, ACTOR))
        for outcome in await outcomes_of(submit, intents):
            report.count(outcome)
        progress(report)
    return report
