"""``request-stockouts``: a list of order numbers in, stockout applied for each, an answer for every row out."""

import csv
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from api.cli.terminal import Failed, Json, err, identifier, moment, out, print_json, shown, with_program
from api.program import Program
from infrastructure.files.sheets import UnreadableSheet
from infrastructure.imports.stockout_applications import (
    ApplicationReport,
    Request,
    RowOutcome,
    request_stockouts,
)
from infrastructure.imports.stockout_lists import REASONS, Reason, StockoutListReader

_SHOWN = 20

_RESULT_COLUMNS = (
    "line",
    "order_sn",
    "outcome",
    "code",
    "detail",
    "order_status",
    "version",
    "decision_earliest",
    "decision_latest",
    "warnings",
)


def _reason(stated: str) -> Reason:
    if reason := REASONS.get(stated):
        return reason
    raise typer.BadParameter(f"{stated!r} is none of {', '.join(dict.fromkeys(REASONS.values()))}")


def request_stockouts_of(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="The list: CSV or XLSX with a column of order numbers."
        ),
    ],
    shop: Annotated[str, typer.Option("--shop", metavar="SHOP", parser=identifier, help="The shop's id.")],
    reason: Annotated[
        Reason | None,
        typer.Option(
            parser=_reason,
            metavar="REASON",
            help="no_supply, production_delay, oversold or other; for rows that do not say one themselves.",
        ),
    ] = None,
    sku: Annotated[
        list[str] | None,
        typer.Option(metavar="SKU", help="Apply for this SKU alone; may be repeated. Default: all of the order."),
    ] = None,
    occurred_at: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="When it was applied for (default: now)."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", dir_okay=False, help="Where to write what became of every row."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would happen and append nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Apply for stockout of every order of a list; a row that can't be taken never stops the others."""
    request = Request(shop, "request-stockouts", reason, tuple(sku or ()), occurred_at)
    report = with_program(lambda program: _applied(program, file, request, results, dry_run=dry_run))
    if as_json:
        print_json(report)
    else:
        _print_report(report, dry_run=dry_run)


async def _applied(
    program: Program, file: Path, request: Request, results: Path | None, *, dry_run: bool
) -> ApplicationReport:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    report = ApplicationReport()
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(StockoutListReader(file))
            write = stack.enter_context(results.open("w", encoding="utf-8-sig", newline="")) if results else None
            bar = stack.enter_context(Progress(*columns, console=err, disable=not err.is_terminal))
            task = bar.add_task(file.name, total=reader.total_bytes)
            rows_out = csv.writer(write) if write else None
            if rows_out:
                rows_out.writerow(_RESULT_COLUMNS)

            def on_batch(rows: Sequence[RowOutcome]) -> None:
                if rows_out:
                    rows_out.writerows(_cells(row) for row in rows)
                bar.update(task, completed=reader.bytes_read)

            submit = program.submitter(dry_run=dry_run)
            await request_stockouts(reader, request, submit, program.book, report, on_batch)
            bar.update(task, completed=reader.total_bytes)
        except UnreadableSheet as error:
            raise Failed(f"{file.name} can't be read: {error}") from error
        except OSError as error:
            raise Failed(f"{error.filename or results} can't be written: {error.strerror or error}") from error
    return report


def _cells(row: RowOutcome) -> tuple[object, ...]:
    window = row.expected_decision
    return (
        row.line,
        row.order_sn,
        row.outcome,
        row.code,
        row.detail,
        row.order_status,
        row.version,
        shown(window.earliest) if window else None,
        shown(window.latest) if window else None,
        " ".join(warning.detail for warning in row.warnings),
    )


def _print_report(report: ApplicationReport, *, dry_run: bool) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("rows read", str(report.rows_read))
    table.add_row("would be applied for" if dry_run else "applied for", str(report.applied))
    table.add_row("under review already", str(report.already_under_review))
    table.add_row("refused", str(report.refused))
    table.add_row("rejected", str(report.rejected))
    out.print(table)
    missed = Counter(warning.code for row in report.rows for warning in row.warnings)
    for code, count in missed.items():
        out.print(f"warning {code}: {count} of the rows applied for")
    told = [row for row in report.rows if row.outcome in ("refused", "rejected")]
    for row in told[:_SHOWN]:
        out.print(f"line {row.line}: {row.order_sn or ''} {row.code}: {row.detail}")
    if report.refused + report.rejected > min(len(told), _SHOWN):
        more = report.refused + report.rejected - min(len(told), _SHOWN)
        out.print(f"and {more} more; --results writes every row into a file")
