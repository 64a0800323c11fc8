"""Applying for stockout of many orders, through the one door for all writes, with an answer for every row.

A list is taken in batches. An order whose application is under review is left
as it is: a list may be sent again after an interruption.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from domain.calendar import ExpectedDecision
from domain.history import Metadata, Recorded
from domain.kernel import Refusal
from domain.order.commands import RequestStockout
from domain.order.decisions.table import decide
from domain.order.events import OrderEvent
from domain.order.fold import evolve, fold
from domain.order.state import Order, Status
from domain.order.warnings import OrderWarning, RelatedFacts, warnings
from domain.rules.ruleset import RuleBook
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import OrderCommand
from infrastructure.database.pool import Pool
from infrastructure.imports.stockout_lists import Entry, Reason, Rejected
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER
from infrastructure.queries.related_facts import (
    ReadRelatedFacts,
    read_no_related_facts,
    read_skus,
    related_facts_request,
)

BATCH = 500
MOST_ROWS = 10_000
"""Rows that a report holds; the rest are only counted, and handed on as they are done."""

MOST_SKUS = 200
"""How many SKUs one application may name, as in the command."""

RowResult = Literal["applied", "already_under_review", "refused", "rejected"]


class Request(NamedTuple):
    """What is asked for every row that does not say it itself, and who asks."""

    shop_id: str
    actor: str
    reason: Reason | None = None
    sku_ids: tuple[str, ...] = ()
    occurred_at: datetime | None = None


class RowOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a row: ``refused`` by the order's state, ``rejected`` because the row makes no sense.

    ``expected_decision`` is the window in which the platform's decision can be expected, ``warnings`` are the
    conditions of the platform that the application misses.
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


class ApplicationReport(msgspec.Struct):
    """Counts of rows, the last position reached, and the first rows one by one."""

    rows_read: int = 0
    applied: int = 0
    already_under_review: int = 0
    refused: int = 0
    rejected: int = 0
    position: int = 0
    rows: list[RowOutcome] = msgspec.field(default_factory=list)

    def add(self, rows: Iterable[RowOutcome]) -> None:
        for row in rows:
            self.rows_read += 1
            setattr(self, row.outcome, getattr(self, row.outcome) + 1)
            if len(self.rows) < MOST_ROWS:
                self.rows.append(row)


class _Application(NamedTuple):
    """One command, and the lines it was made of."""

    lines: Sequence[int]
    order_sn: str
    command: RequestStockout


OnBatch = Callable[[Sequence[RowOutcome]], None]


async def request_stockouts(
    rows: Iterable[Entry | Rejected],
    request: Request,
    path: CommandPath,
    book: RuleBook,
    report: ApplicationReport,
    on_batch: OnBatch = lambda rows: None,
) -> ApplicationReport:
    """Apply for every row; ``on_batch`` is handed the rows of each batch when they are done.

    Raises what stops the command path, such as ``Unavailable``; what was applied for by then stays, and
    the list can be sent again.
    """
    for batch in _batches(rows, request):
        applications = [each for each in batch if isinstance(each, _Application)]
        intents = [
            OrderCommand(request.shop_id, application.order_sn, application.command, request.actor)
            for application in applications
        ]
        told = []
        for application, outcome in zip(applications, await path.submit(intents), strict=True):
            if isinstance(outcome, Exception):
                raise outcome
            report.position = max(report.position, outcome.position)
            told.append(_outcomes(application, outcome.order, outcome.refusal, book, outcome.related_facts))
        _report(batch, told, report, on_batch)
    return report


async def preview_stockouts(
    rows: Iterable[Entry | Rejected],
    request: Request,
    pool: Pool,
    book: RuleBook,
    now: datetime,
    report: ApplicationReport,
    on_batch: OnBatch = lambda rows: None,
    read_related_facts: ReadRelatedFacts = read_no_related_facts,
) -> ApplicationReport:
    """What ``request_stockouts`` would answer at that moment, with nothing appended."""
    would_apply: dict[str, Order] = {}
    filed: list[tuple[str, OrderEvent, datetime]] = []
    for batch in _batches(rows, request):
        applications = [each for each in batch if isinstance(each, _Application)]
        async with pool.read() as connection:
            histories = await read_histories(
                connection, [(request.shop_id, OF_ORDER.stream(each.order_sn)) for each in applications]
            )
            orders = {stream: fold(OF_ORDER.id_of(stream[1]), history) for stream, history in histories.items()}
            skus = await read_skus(connection, request.shop_id, orders.values())
            asked = [
                related_facts_request(
                    request.shop_id, orders[request.shop_id, OF_ORDER.stream(each.order_sn)], now, each.command
                )
                for each in applications
            ]
            others = await read_related_facts(connection, [each for each in asked if each])
        for before in filed:
            others.learn(request.shop_id, *before)
        told = []
        for application in applications:
            number = application.order_sn
            history = histories[request.shop_id, OF_ORDER.stream(number)]
            order = would_apply.get(number) or orders[request.shop_id, OF_ORDER.stream(number)]
            related_facts = others.facts_of(request.shop_id, order, application.command, skus)
            decision, occurred_at = decide(history, order, application.command, book, now, related_facts)
            refusal = decision if isinstance(decision, Refusal) else None
            for event in () if isinstance(decision, Refusal) else decision:
                metadata = Metadata(actor=request.actor)
                told_of = Recorded(event, order.version + 1, order.position, occurred_at, now, metadata)
                order = would_apply[number] = evolve(order, told_of)
                filed.append((number, event, occurred_at))
                others.learn(request.shop_id, *filed[-1])
            told.append(_outcomes(application, order, refusal, book, related_facts))
        _report(batch, told, report, on_batch)
    return report


def _batches(rows: Iterable[Entry | Rejected], request: Request) -> Iterator[list[_Application | Rejected]]:
    source = _applications(iter(rows), request)
    while batch := list(islice(source, BATCH)):
        yield batch


def _applications(rows: Iterator[Entry | Rejected], request: Request) -> Iterator[_Application | Rejected]:
    """Neighbouring rows that name SKUs of one order are one application for these."""
    held: list[Entry] = []
    for row in rows:
        if isinstance(row, Entry) and row.reason is None and request.reason is None:
            row = Rejected(row.line, "no reason: the row has none, and none was given for all")
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
    return _Application(tuple(row.line for row in rows), rows[0].order_sn, command)


def _outcomes(
    application: _Application, order: Order, refusal: Refusal | None, book: RuleBook, related_facts: RelatedFacts
) -> list[RowOutcome]:
    outcome: RowResult = "applied"
    if refusal is not None:
        outcome = "already_under_review" if refusal.code == "review_already_open" else "refused"
    review = order.open_review
    window = None
    if review is not None and review.time_known:
        window = book.governing(order).review.expected_decision(review.requested_at)
    made = RowOutcome(
        application.lines[0],
        outcome,
        application.order_sn,
        refusal.code if refusal else None,
        refusal.detail if refusal else None,
        order.status if order.version else None,
        order.version or None,
        window,
        warnings(order, book.governing(order), related_facts) if outcome == "applied" else (),
    )
    return [replace(made, line=line) for line in application.lines]


def _report(
    batch: Sequence[_Application | Rejected],
    told: Sequence[Sequence[RowOutcome]],
    report: ApplicationReport,
    on_batch: OnBatch,
) -> None:
    """In the order of the list; ``told`` has the rows of each application."""
    answers = iter(told)
    rows: list[RowOutcome] = []
    for each in batch:
        if isinstance(each, Rejected):
            rows.append(RowOutcome(each.line, "rejected", code="invalid_request", detail=each.reason))
        else:
            rows += next(answers)
    report.add(rows)
    on_batch(rows)
