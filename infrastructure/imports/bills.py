"""A bill of the platform into a shop's log, through the one door for all writes.

A line of the bill becomes an event of the order that it names, once: a bill may be imported again. A line of an
order that the log does not have yet waits in the order's own stream. Lines that name no order stand in a stream
with those of the same content.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence, Set

import msgspec
from msgspec.structs import replace

from domain.order.commands import NO_ORDER, RecordBilledCharge, RecordBilledReturn
from infrastructure.commands.intents import Giver, OrderCommand, OrderOutcome
from infrastructure.database.pool import Pool
from infrastructure.files.tables import RejectedRow
from infrastructure.imports.batches import MOST_REASONS, MiscountedRows, Submit, batches, outcomes_of
from infrastructure.log.log import read_histories
from infrastructure.log.streams import OF_ORDER
from infrastructure.pinduoduo.bills import BillLine, OtherLine

GIVER = Giver("import-bill")


class LeftOut(msgspec.Struct, frozen=True):
    """A line that did not go in: where it stands, the order it names, why not, and a code if it was refused.

    ``sheet`` is the sheet's name in a workbook.
    """

    line: int
    order_sn: str | None
    reason: str
    code: str | None = None
    sheet: str | None = None

    @property
    def place(self) -> str:
        """Where the line stands, for people."""
        return f"{self.sheet}, line {self.line}" if self.sheet else f"line {self.line}"


class BillReport(msgspec.Struct):
    """What became of a bill's lines, ``other`` being those about something else than penalties.

    Every line that was read is a charge, a return, known, other, or rejected. ``rejected`` lines make no sense or
    contradict an earlier line; ``left_out`` names the first of them. ``notes`` names the first lines that count
    although something was wrong with them, and ``lines_noted`` counts all. ``unmatched`` counts those in the log
    that name no order that it has. Amounts are of the lines that are in the log now, in fen.
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
    lines_noted: int = 0
    left_out: list[LeftOut] = msgspec.field(default_factory=list)
    notes: list[LeftOut] = msgspec.field(default_factory=list)

    def leave_out(self, line: LeftOut) -> None:
        self.rejected += 1
        if len(self.left_out) < MOST_REASONS:
            self.left_out.append(line)

    def note(self, line: LeftOut) -> None:
        self.lines_noted += 1
        if len(self.notes) < MOST_REASONS:
            self.notes.append(line)

    def check(self) -> None:
        """Raises ``MiscountedRows`` if a line is not accounted for."""
        accounted_for = self.charges + self.returns + self.known + self.other + self.rejected
        if accounted_for != self.lines_read:
            raise MiscountedRows(self.lines_read, accounted_for)

    def count(self, line: BillLine, outcome: OrderOutcome) -> None:
        if refusal := outcome.refusal:
            self.leave_out(LeftOut(line.line, line.order_sn, refusal.detail, refusal.code, line.sheet))
            return
        if line.note:
            self.note(LeftOut(line.line, line.order_sn, line.note, sheet=line.sheet))
        if not outcome.order.is_placed:
            self.unmatched += 1
        if not outcome.events:
            self.known += 1
        elif line.kind is None:
            self.returns += 1
        else:
            self.charges += 1
        if line.kind is None:
            self.returned_fen += line.amount_fen
        else:
            self.charged_fen += line.amount_fen
        if outcome.events:
            self.position = max(self.position, outcome.position)


async def import_bill(
    lines: Iterable[BillLine | RejectedRow | OtherLine],
    shop_id: str,
    pool: Pool,
    submit: Submit,
    report: BillReport,
    progress: Callable[[BillReport], None] = lambda report: None,
    giver: Giver = GIVER,
) -> BillReport:
    """Record every line. ``progress`` is called after each batch with the counts so far.

    Raises what stops the command path, such as ``Unavailable``. What was recorded by then stays, and the bill can
    be imported again.
    """
    for batch in batches(lines):
        report.lines_read += len(batch)
        taken = []
        for line in batch:
            if isinstance(line, BillLine):
                taken.append(line)
            elif isinstance(line, RejectedRow):
                report.leave_out(LeftOut(line.line, None, line.detail, sheet=line.sheet))
            else:
                report.other += 1
                if line.note:
                    report.note(LeftOut(line.line, None, line.note, sheet=line.sheet))
        alone = await _alone(pool, shop_id, taken)
        intents = [
            OrderCommand(shop_id, _order_of(line, alone), _command(line), **giver._asdict()) for line in taken
        ]
        for line, outcome in zip(taken, await outcomes_of(submit, intents), strict=True):
            report.count(line, outcome)
        progress(report)
    report.check()
    return report


def _order_of(line: BillLine, alone: Set[str]) -> str:
    """The order of a line. One that names no order has a number that no order of the platform has."""
    if line.order_sn:
        return line.order_sn
    by_id = _number_by_id(line)
    return by_id if by_id in alone else NO_ORDER + line.content


def _number_by_id(line: BillLine) -> str:
    return NO_ORDER + hashlib.sha256(line.line_id.encode()).hexdigest()[:32]


async def _alone(pool: Pool, shop_id: str, lines: Sequence[BillLine]) -> Set[str]:
    """Which of the lines without an order stand alone in a stream that is named by their id, as all once did."""
    numbers = [_number_by_id(line) for line in lines if not line.order_sn]
    if not numbers:
        return set()
    async with pool.read() as connection:
        histories = await read_histories(connection, [(shop_id, OF_ORDER.stream(number)) for number in numbers])
    return {OF_ORDER.id_of(stream) for (_, stream), history in histories.items() if history}


def _command(line: BillLine) -> RecordBilledCharge | RecordBilledReturn:
    command: RecordBilledCharge | RecordBilledReturn
    if line.kind is None:
        command = RecordBilledReturn(amount_fen=line.amount_fen, line_id=line.line_id)
    else:
        command = RecordBilledCharge(kind=line.kind, amount_fen=line.amount_fen, line_id=line.line_id)
    return replace(
        command, occurred_at=line.at, number=line.number, earlier_ids=line.earlier_ids, within=line.within
    )
