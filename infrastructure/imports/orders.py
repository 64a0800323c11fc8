"""An order export into a shop's log, through the one door for all writes.

The file is read as a stream and observed in batches. What is known already appends nothing, so a file can be
imported again, also after a crash.
"""

from collections.abc import Callable, Iterable

import msgspec
from msgspec.structs import replace

from infrastructure.commands.intents import OrderOutcome, SnapshotIntent
from infrastructure.files.tables import RejectedRow
from infrastructure.imports.batches import MOST_REASONS, MiscountedRows, Submit, batches, outcomes_of
from infrastructure.pinduoduo.exports import Row

ACTOR = "import"

MOST_WORDS = 100
"""Unknown words that a report names."""


class UnknownWords(msgspec.Struct, frozen=True):
    """A word that this program does not know: the file's column, and how many rows have it."""

    column: str
    word: str
    rows: int


class ImportReport(msgspec.Struct):
    """What an import did. Every row that was read is new, changed, unchanged or rejected.

    ``rejected`` names the first rows that did not go in; ``rows_rejected`` counts all. ``notes`` names the first
    facts that did not go in although their rows did; ``rows_noted`` counts all. ``unknown_words`` are the states of
    orders and of after-sales that nobody knows yet.
    """

    rows_read: int = 0
    orders_new: int = 0
    orders_changed: int = 0
    orders_unchanged: int = 0
    events_appended: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    rows_unchanged: int = 0
    rows_rejected: int = 0
    rows_noted: int = 0
    rejected: list[RejectedRow] = msgspec.field(default_factory=list)
    notes: list[RejectedRow] = msgspec.field(default_factory=list)
    unknown_words: list[UnknownWords] = msgspec.field(default_factory=list)

    @property
    def orders(self) -> int:
        return self.orders_new + self.orders_changed + self.orders_unchanged

    @property
    def rows_accounted_for(self) -> int:
        return self.rows_new + self.rows_changed + self.rows_unchanged + self.rows_rejected

    def reject(self, row: RejectedRow) -> None:
        self.rows_rejected += 1
        if len(self.rejected) < MOST_REASONS:
            self.rejected.append(row)

    def count(self, row: Row, outcome: OrderOutcome) -> None:
        self.events_appended += outcome.events
        if not outcome.events:
            self.orders_unchanged += 1
            self.rows_unchanged += row.rows
        elif outcome.order.version == outcome.events:
            self.orders_new += 1
            self.rows_new += row.rows
        else:
            self.orders_changed += 1
            self.rows_changed += row.rows
        if row.notes or row.unknown:
            self._note(row)

    def _note(self, row: Row) -> None:
        self.rows_noted += len(row.notes)
        self.notes += row.notes[: MOST_REASONS - len(self.notes)]
        for unknown in row.unknown:
            for number, known in enumerate(self.unknown_words):
                if (known.column, known.word) == unknown:
                    self.unknown_words[number] = replace(known, rows=known.rows + 1)
                    break
            else:
                if len(self.unknown_words) < MOST_WORDS:
                    self.unknown_words.append(UnknownWords(*unknown, rows=1))

    def check(self, rows_read: int) -> None:
        """Take over the count of the reader. Raises ``MiscountedRows`` if a row is not accounted for."""
        self.rows_read = rows_read
        if self.rows_accounted_for != rows_read:
            raise MiscountedRows(rows_read, self.rows_accounted_for)


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
        orders = []
        for row in batch:
            if isinstance(row, RejectedRow):
                report.reject(row)
            else:
                orders.append(row)
        intents = [SnapshotIntent(shop_id, row.snapshot, ACTOR) for row in orders]
        for row, outcome in zip(orders, await outcomes_of(submit, intents), strict=True):
            report.count(row, outcome)
        progress(report)
    return report
