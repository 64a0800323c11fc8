"""``request-stockouts``: a list of order numbers in, stockout applied for each, an answer for every row out."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import (
    CommandFailed,
    Json,
    identifier,
    out,
    past_moment,
    print_facts,
    print_first,
    print_json,
    reading_file,
    shown,
    with_program,
)
from api.program import Program
from infrastructure.commands.intents import Giver
from infrastructure.imports.stockout_applications import (
    ApplicationReport,
    Request,
    RowOutcome,
    request_stockouts,
)
from infrastructure.imports.stockout_lists import REASONS, Reason, StockoutListReader

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
    "sheet",
    "note",
)


def _reason(given: str) -> Reason:
    if reason := REASONS.get(given):
        return reason
    raise typer.BadParameter(f"{given!r} is none of {', '.join(dict.fromkeys(REASONS.values()))}")


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
        typer.Option(parser=past_moment, metavar="TIME", help="When it was applied for (default: now)."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", dir_okay=False, help="Where to write what became of every row."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would happen and append nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Apply for stockout of every order of a list; a row that can't be taken never stops the others."""
    request = Request(shop, Giver("request-stockouts"), reason, tuple(sku or ()), occurred_at)
    report = with_program(lambda program: _applied(program, file, request, results, dry_run=dry_run))
    if as_json:
        print_json(report)
    else:
        _print_report(report, dry_run=dry_run)


async def _applied(
    program: Program, file: Path, request: Request, results: Path | None, *, dry_run: bool
) -> ApplicationReport:
    report = ApplicationReport()
    with reading_file(file, lambda: StockoutListReader(file)) as (reader, show), _results_file(results) as write:

        def on_batch(rows: Sequence[RowOutcome]) -> None:
            write(rows)
            show()

        submit = program.submitter(dry_run=dry_run)
        await request_stockouts(reader, request, submit, program.book, report, on_batch)
    return report


@contextmanager
def _results_file(file: Path | None) -> Iterator[Callable[[Sequence[RowOutcome]], None]]:
    """What writes rows into a CSV file; nothing is written without one."""
    if file is None:
        yield lambda rows: None
        return
    try:
        with file.open("w", encoding="utf-8-sig", newline="") as text:
            cells = csv.writer(text)
            cells.writerow(_RESULT_COLUMNS)
            yield lambda rows: cells.writerows(_cells(row) for row in rows)
    except OSError as error:
        raise CommandFailed(f"{error.filename or file} can't be written: {error.strerror or error}") from error


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
        row.sheet,
        row.note,
    )


def _print_report(report: ApplicationReport, *, dry_run: bool) -> None:
    print_facts(
        {
            "rows read": report.rows_read,
            "would be applied for" if dry_run else "applied for": report.applied,
            "under review already": report.already_under_review,
            "refused": report.refused,
            "rejected": report.rejected,
        }
    )
    missed = Counter(warning.code for row in report.rows for warning in row.warnings)
    for code, count in missed.items():
        out.print(f"warning {code}: {count} of the rows applied for")
    print_first(
        [
            f"line {row.line}: {row.order_sn or ''} {row.code}: {row.detail}"
            for row in report.rows
            if row.outcome in ("refused", "rejected")
        ],
        report.refused + report.rejected,
        "--results writes every row into a file",
    )
