"""Bringing a bill of the platform into a shop's log, through the one door for all writes.

A bill's line becomes an event of the order it names, once: a bill may be brought in again. What names no order of
the shop is not lost but told, line by line.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import msgspec
from msgspec.structs import replace

from domain.history import Metadata, Recorded
from domain.kernel import Refusal
from domain.order.commands import RecordCharge, RecordReturn
from domain.order.decisions.table import decide
from domain.order.events import OrderEvent
from domain.order.fold import fold
from domain.rules.ruleset import RuleBook
from infrastructure.commands.committer import CommandPath
from infrastructure.commands.intents import OrderCommand
from infrastructure.database.pool import Pool
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER
from infrastructure.pinduoduo.bills import BillLine, Other, Rejected
from infrastructure.runtime import clock

ACTOR = "import-bill"
BATCH = 500
MOST_REASONS = 1_000
"""Lines that a report names one by one; the rest are only counted."""


class LeftOut(msgspec.Struct, frozen=True):
    """A line that did not go in: where it stands, the order it names, why not, and a code if it was refused."""

    line: int
    order_sn: str | None
    reason: str
    code: str | None = None


class BillReport(msgspec.Struct):
    """What became of a bill's lines, ``other`` being those about something else than penalties.

    ``unmatched`` name no order of the shop, ``rejected`` make no sense or contradict what was told before;
    ``left_out`` names the first of both. Amounts are of the lines that are in the log now, in fen.
    """

    lines_read: int = 0
    charges: int = 0
    returns: int = 0
    known: int = 0
    other: int = 0
    unmatched: int = 0
    rejected: int = 0
    charged_fen: int = 0
    returned_fen: int = 0
    position: int = 0
    left_out: list[LeftOut] = msgspec.field(default_factory=list)

    def leave_out(self, line: int, order_sn: str | None, reason: str, code: str | None = None) -> None:
        if code == "unknown_order":
            self.unmatched += 1
        else:
            self.rejected += 1
        if len(self.left_out) < MOST_REASONS:
            self.left_out.append(LeftOut(line, order_sn, reason, code))

    def count(self, line: BillLine, refusal: Refusal | None, events: int) -> None:
        if refusal:
            self.leave_out(line.line, line.order_sn, refusal.detail, refusal.code)
            return
        if not events:
            self.known += 1
        elif line.kind is None:
            self.returns += 1
        else:
            self.charges += 1
        if line.kind is None:
            self.returned_fen += line.amount_fen
        else:
            self.charged_fen += line.amount_fen


Progress = Callable[[BillReport], None]


async def import_bill(
    lines: Iterable[BillLine | Rejected | Other],
    shop_id: str,
    path: CommandPath,
    report: BillReport,
    progress: Progress = lambda report: None,
    actor: str = ACTOR,
) -> BillReport:
    """Record every line; ``progress`` is called after each batch with the counts so far.

    Raises what stops the command path, such as ``Unavailable``; what was recorded by then stays, and the bill can
    be brought in again.
    """
    for batch in _batches(lines, report):
        intents = [OrderCommand(shop_id, line.order_sn, _command(line), actor) for line in batch]
        for line, outcome in zip(batch, await path.submit(intents), strict=True):
            if isinstance(outcome, Exception):
                raise outcome
            report.position = max(report.position, outcome.position if outcome.events else 0)
            report.count(line, outcome.refusal, outcome.events)
        progress(report)
    return report


async def preview_bill(
    lines: Iterable[BillLine | Rejected | Other],
    shop_id: str,
    pool: Pool,
    book: RuleBook,
    report: BillReport,
    progress: Progress = lambda report: None,
) -> BillReport:
    """What ``import_bill`` would do, with nothing appended; later lines know what earlier ones would append."""
    would_be: dict[str, list[Recorded[OrderEvent]]] = {}
    now = clock.now()
    for batch in _batches(lines, report):
        async with pool.read() as connection:
            streams = [(shop_id, OF_ORDER.stream(line.order_sn)) for line in batch]
            histories = await read_histories(connection, streams)
        for line, stream in zip(batch, streams, strict=True):
            history = [*histories[stream], *would_be.get(line.order_sn, ())]
            order = fold(line.order_sn, history)
            decision, occurred_at = decide(history, order, _command(line), book, now)
            if isinstance(decision, Refusal):
                report.count(line, decision, 0)
                continue
            would_be.setdefault(line.order_sn, []).extend(
                Recorded(event, version, order.position, occurred_at, now, Metadata(actor=ACTOR))
                for version, event in enumerate(decision, start=order.version + 1)
            )
            report.count(line, None, len(decision))
        progress(report)
    return report


def _command(line: BillLine) -> RecordCharge | RecordReturn:
    told: RecordCharge | RecordReturn
    if line.kind is None:
        told = RecordReturn(amount_fen=line.amount_fen, line_id=line.line_id)
    else:
        told = RecordCharge(kind=line.kind, amount_fen=line.amount_fen, line_id=line.line_id)
    return replace(told, occurred_at=line.at)


def _batches(lines: Iterable[BillLine | Rejected | Other], report: BillReport) -> Iterator[Sequence[BillLine]]:
    source = iter(lines)
    while taken := list(islice(source, BATCH)):
        report.lines_read += len(taken)
        batch = []
        for line in taken:
            if isinstance(line, BillLine):
                batch.append(line)
            elif isinstance(line, Rejected):
                report.leave_out(line.line, None, line.reason)
            else:
                report.other += 1
        yield batch
