"""Stockout applications for many orders, through the one door for all writes. Every row of a list gets an answer.

An order whose application is under review is left as it is: a list may be sent again after an interruption.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from domain.calendar import ExpectedDecision
from domain.order.commands import RequestStockout
from domain.order.state import Status
from domain.order.warnings import OrderWarning, warnings
from domain.rules.ruleset import RuleBook
from infrastructure.commands.intents import Giver, OrderCommand, OrderOutcome
from infrastructure.files.tables import RejectedRow
from infrastructure.imports.batches import MiscountedRows, Submit, batches, outcomes_of
from infrastructure.imports.stockout_lists import Entry, Reason

MOST_ROWS = 10_000
"""Rows that a report holds; the rest are only counted, and handed on as they are done."""

MOST_HELD = 50_000
"""Rows of a list among which those of one order are looked for."""

MOST_SKUS = 200
"""How many SKUs one application may name, as in the command."""

RowResult = Literal["applied", "already_under_review", "refused", "rejected"]


class Request(NamedTuple):
    """The values for every row that does not give its own, and who applies."""

    shop_id: str
    giver: Giver
    reason: Reason | None = None
    sku_ids: tuple[str, ...] = ()
    occurred_at: datetime | None = None


class RowOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a row: ``refused`` by the order's state, ``rejected`` because the row makes no sense.

    ``expected_decision`` is the window in which the platform's decision can be expected, ``warnings`` are the
    conditions of the platform that the application misses. ``sheet`` is the sheet's name in a workbook; ``note``
    says what was wrong with the row, though it could be read.
    """

    line: int
    outcome: RowResult
    order_sn: str | None = None
    code: str | None = None
    detail: str | None = None
    order_status: Status | None = None
    version: int | None = None
    expected_decision: ExpectedDecision | None = None
    warnings: tuple[OrderWarning, ...] = ()
    sheet: str | None = None
    note: str | None = None


class ApplicationReport(msgspec.Struct):
    """Counts of rows, the last position reached, and the first rows one by one.

    Every row that was read is applied for, under review already, refused or rejected.
    """

    rows_read: int = 0
    applied: int = 0
    already_under_review: int = 0
    refused: int = 0
    rejected: int = 0
    position: int = 0
    rows: list[RowOutcome] = msgspec.field(default_factory=list)

    def add(self, rows: Iterable[RowOutcome]) -> None:
        for row in rows:
            setattr(self, row.outcome, getattr(self, row.outcome) + 1)
            if len(self.rows) < MOST_ROWS:
                self.rows.append(row)

    def counted(self, rows: Iterable[Entry | RejectedRow]) -> Iterator[Entry | RejectedRow]:
        """Count rows as they are read."""
        for row in rows:
            self.rows_read += 1
            yield row

    def check(self) -> None:
        """Raises ``MiscountedRows`` if a row is not accounted for."""
        accounted_for = self.applied + self.already_under_review + self.refused + self.rejected
        if accounted_for != self.rows_read:
            raise MiscountedRows(self.rows_read, accounted_for)


class _Application(NamedTuple):
    """One command, and the rows it was made of."""

    rows: Sequence[Entry]
    order_sn: str
    command: RequestStockout


OnBatch = Callable[[Sequence[RowOutcome]], None]


async def request_stockouts(
    rows: Iterable[Entry | RejectedRow],
    request: Request,
    submit: Submit,
    book: RuleBook,
    report: ApplicationReport,
    on_batch: OnBatch = lambda rows: None,
) -> ApplicationReport:
    """Apply for every row. ``on_batch`` is handed the rows of each batch when they are done.

    Raises what stops the command path, such as ``Unavailable``. What was applied for by then stays, and the list
    can be sent again.
    """
    for batch in batches(_applications(report.counted(rows), request)):
        intents = [
            OrderCommand(request.shop_id, each.order_sn, each.command, **request.giver._asdict())
            for each in batch
            if isinstance(each, _Application)
        ]
        outcomes = iter(await outcomes_of(submit, intents))
        done: list[RowOutcome] = []
        for each in batch:
            if isinstance(each, RejectedRow):
                rejected = RowOutcome(each.line, "rejected", code="invalid_request", detail=each.detail)
                done.append(replace(rejected, sheet=each.sheet))
            else:
                outcome = next(outcomes)
                report.position = max(report.position, outcome.position)
                done += _row_outcomes(each, outcome, book)
        report.add(done)
        on_batch(done)
    report.check()
    return report


def _applications(rows: Iterator[Entry | RejectedRow], request: Request) -> Iterator[_Application | RejectedRow]:
    """Rows that name SKUs of one order are one application for these, also where others stand between them."""
    held: list[Entry] = []
    for row in _by_order(rows):
        if isinstance(row, Entry) and row.reason is None and request.reason is None:
            row = RejectedRow(row.line, None, "no reason: the row has none, and none was given for all", row.sheet)
        joins = isinstance(row, Entry) and held and _same(held[-1], row) and len(held) < MOST_SKUS
        if held and not joins:
            yield _application(held, request)
            held = []
        if isinstance(row, Entry):
            held.append(row)
        else:
            yield row
    if held:
        yield _application(held, request)


def _by_order(rows: Iterator[Entry | RejectedRow]) -> Iterator[Entry | RejectedRow]:
    """The rows, those of one order together, where the first of them stands. Of a long list each part by itself."""
    while part := [*islice(rows, MOST_HELD)]:
        together: dict[object, list[Entry | RejectedRow]] = {}
        for place, row in enumerate(part):
            key = (row.order_sn, row.reason) if isinstance(row, Entry) and row.sku_id is not None else place
            together.setdefault(key, []).append(row)
        for same in together.values():
            yield from same


def _same(one: Entry, other: Entry) -> bool:
    named = one.sku_id is not None and other.sku_id is not None
    return named and (one.order_sn, one.reason) == (other.order_sn, other.reason)


def _application(rows: Sequence[Entry], request: Request) -> _Application:
    """A row that names no SKU is about those of the request, else about the whole order."""
    named = dict.fromkeys(row.sku_id for row in rows if row.sku_id is not None)
    reason = rows[0].reason or request.reason
    assert reason is not None
    command = RequestStockout(
        reason=reason, sku_ids=tuple(named) or request.sku_ids, occurred_at=request.occurred_at or UNSET
    )
    return _Application(tuple(rows), rows[0].order_sn, command)


def _row_outcomes(application: _Application, outcome: OrderOutcome, book: RuleBook) -> list[RowOutcome]:
    """What became of an application, once for each row that it was made of."""
    order, refusal = outcome.order, outcome.refusal
    result: RowResult = "applied"
    if refusal is not None:
        result = "already_under_review" if refusal.code == "review_already_open" else "refused"
    rules = book.governing(order)
    review = order.open_review
    window = None
    if review is not None and review.time_known:
        window = rules.review.expected_decision(review.requested_at)
    row = RowOutcome(
        application.rows[0].line,
        result,
        application.order_sn,
        refusal.code if refusal else None,
        refusal.detail if refusal else None,
        order.status if order.is_placed else None,
        order.version or None,
        window,
        warnings(order, rules, outcome.related_facts) if result == "applied" else (),
    )
    return [replace(row, line=each.line, sheet=each.sheet, note=each.note) for each in application.rows]
