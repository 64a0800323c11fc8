"""``import-bill``, ``reconcile``, ``unmatched-charges``, ``penalties``: what broken rules cost by rule and bill."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, get_args

import msgspec
import typer

from api.cli.terminal import (
    PAGE,
    AsOf,
    At,
    FirstDay,
    Json,
    KnownAt,
    LastDay,
    Limit,
    ShopArgument,
    folding,
    identifier,
    moment,
    out,
    page_or_all,
    period_of,
    print_facts,
    print_first,
    print_json,
    print_page,
    print_table,
    read_views,
    reading_file,
    shown,
    with_program,
    yuan,
)
from api.program import Program
from domain.money.attribution import By
from domain.money.reconciliation import Difference, DifferenceKind
from domain.rules.ruleset import RuleBook
from domain.viewpoint import Viewpoint
from infrastructure.database.pool import ReadConnection
from infrastructure.imports.bills import BillReport, import_bill
from infrastructure.pinduoduo.bills import BillReader
from infrastructure.queries import reconciliation
from infrastructure.queries.paging import Page, every_item
from infrastructure.queries.penalties import PenaltySum, penalty_sums, penalty_sums_at
from infrastructure.queries.reconciliation import UnmatchedCharge, UnmatchedKey, list_differences, list_unmatched
from infrastructure.runtime import clock


class Reconciliation(msgspec.Struct, frozen=True):
    """Every difference, and for each kind how many there are and what they come to."""

    items: list[Difference]
    counts: dict[DifferenceKind, int]
    difference_fen: int


def import_bill_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The bill: CSV or XLSX.")
    ],
    shop: Annotated[str, typer.Option("--shop", metavar="SHOP", parser=identifier, help="The shop's id.")],
    dry_run: Annotated[bool, typer.Option(help="Say what would happen and append nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Record the penalties of a bill, and what appeals brought back, with the orders they are for."""
    report = with_program(
        lambda program: _imported(program, file, shop, dry_run=dry_run), enrolling=None if dry_run else shop
    )
    if as_json:
        print_json(report)
        return
    print_facts(
        {
            "lines read": report.lines_read,
            "penalties to record" if dry_run else "penalties recorded": report.charges,
            "returns to record" if dry_run else "returns recorded": report.returns,
            "known already": report.known,
            "about something else": report.other,
            "of no order that the shop has": report.unmatched,
            "rejected": report.rejected,
            "charged, given back": f"{yuan(report.charged_fen)}, {yuan(report.returned_fen)}",
        }
    )
    print_first(
        [f"{line.place}: {line.order_sn or ''} {line.reason}" for line in report.left_out],
        report.rejected,
        "--json lists up to 1,000",
    )
    if report.notes:
        out.print("Recorded, although something was wrong with the line:")
        print_first(
            [f"{line.place}: {line.order_sn or ''} {line.reason}" for line in report.notes],
            report.lines_noted,
            "--json lists up to 1,000",
        )


async def _imported(program: Program, file: Path, shop: str, *, dry_run: bool) -> BillReport:
    report = BillReport()
    with reading_file(file, lambda: BillReader(file, now=clock.now())) as (reader, show):
        await import_bill(reader, shop, program.pool, program.submitter(dry_run=dry_run), report, lambda _: show())
    return report


def reconcile(
    shop: ShopArgument,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from", parser=moment, metavar="TIME", help="Orders charged, or with a violation, from then."
        ),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", parser=moment, metavar="TIME", help="And before then.")
    ] = None,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    as_json: Json = False,
) -> None:
    """Where the platform's bills and the rules disagree: charged or not, and how much."""

    async def read(connection: ReadConnection, book: RuleBook, now: datetime) -> list[Difference]:
        return await every_item(
            lambda after: list_differences(connection, shop, book, now, PAGE, after, since=since, until=until)
        )

    viewpoint = Viewpoint(as_of, known_at)
    differences = read_views(shop, read, viewpoint=viewpoint, views=reconciliation.VIEWS_READ)
    kinds: tuple[DifferenceKind, ...] = get_args(DifferenceKind)
    counts = {kind: sum(1 for each in differences if each.difference == kind) for kind in kinds}
    total = sum(each.difference_fen for each in differences)
    if as_json:
        print_json(Reconciliation(differences, counts, total))
        return
    print_table(
        differences,
        ("order", lambda each: each.order_sn),
        ("difference", lambda each: each.difference.replace("_", " ")),
        ("of", lambda each: (each.kind or "given back").replace("_", " ")),
        ("by the rules", lambda each: yuan(each.expected_fen)),
        ("by the bill", lambda each: yuan(each.billed_fen)),
        ("too much", lambda each: yuan(each.difference_fen)),
    )
    summary = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items() if count)
    out.print(f"{summary or 'no differences'}; {yuan(total)} too much in all")


def unmatched_charges(
    shop: ShopArgument,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Limit = None,
    cursor: At = None,
    as_json: Json = False,
) -> None:
    """Lines of the platform's bills that name no order of the shop's log."""

    async def read(connection: ReadConnection, _: RuleBook, __: datetime) -> Page[UnmatchedCharge, UnmatchedKey]:
        return await page_or_all(
            lambda size, start: list_unmatched(connection, shop, size, start), UnmatchedKey, limit, cursor
        )

    print_page(
        read_views(
            shop,
            read,
            viewpoint=Viewpoint(as_of, known_at),
            views=reconciliation.UNMATCHED_VIEWS_READ,
        ),
        ("at", lambda each: shown(each.at)),
        ("order", lambda each: each.order_sn or "none named"),
        ("of", lambda each: (each.kind or "given back").replace("_", " ")),
        ("amount", lambda each: yuan(each.amount_fen)),
        ("line", lambda each: each.line_id),
        as_json=as_json,
    )


def penalties(
    shop: ShopArgument,
    by: Annotated[By, typer.Option(help="Sum up by order, by sku or by day.")] = "day",
    since: FirstDay = None,
    until: LastDay = None,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    as_json: Json = False,
) -> None:
    """What broken rules cost, by order, by SKU or by day."""
    now = clock.now()
    viewpoint = Viewpoint(as_of, known_at)
    period = period_of(since, until, viewpoint.judged_at(now))

    async def fold(program: Program) -> list[PenaltySum]:
        with folding(shop) as on_progress:
            sums = await penalty_sums_at(
                program.url, shop, program.book, by, period, viewpoint, now, on_progress=on_progress
            )
        return sums.items

    async def read(connection: ReadConnection, _: RuleBook, __: datetime) -> list[PenaltySum]:
        return await every_item(lambda after: penalty_sums(connection, shop, by, period, now, PAGE, after))

    sums = read_views(shop, read) if viewpoint.is_now else with_program(fold)
    if as_json:
        print_json({"items": sums})
        return
    print_table(
        sums,
        (by, lambda each: each.key),
        ("violations", lambda each: str(each.violations)),
        ("penalties", lambda each: yuan(each.penalties_fen)),
        ("of unknown amount", lambda each: str(each.unknown_penalties)),
    )
    out.print(f"{yuan(sum(each.penalties_fen for each in sums))} in all")
