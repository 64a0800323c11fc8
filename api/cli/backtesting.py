"""``rules backtest``: what a shop's history would have cost under another rule set."""

import asyncio
import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TextColumn
from rich.table import Column, Table
from rich.text import Text

from api.cli.terminal import (
    AsOf,
    CommandFailed,
    Json,
    ShopArgument,
    bar,
    book,
    done_of_total,
    moment,
    out,
    print_json,
    settings,
    shown,
    yuan,
)
from api.program import database
from domain.money.backtest import Charged, OrderDifference
from infrastructure.log.replay import ReplayFailed
from infrastructure.queries import backtest as backtesting
from infrastructure.queries.backtest import Backtest, BacktestProgress, BacktestScope, Compared
from infrastructure.runtime import clock
from infrastructure.runtime.atomic_files import replacing
from infrastructure.runtime.rule_sets import read_file

SHOWN = 10
"""Orders printed for people; all of them go to a file."""


def backtest(
    shop: ShopArgument,
    rules: Annotated[
        Path, typer.Option("--rules", metavar="FILE", dir_okay=False, help="The rule set to judge by, in TOML.")
    ],
    since: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, metavar="TIME", help="Only orders whose group formed from then on."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--to", parser=moment, metavar="TIME", help="Only orders whose group formed before."),
    ] = None,
    as_of: AsOf = None,
    orders_to: Annotated[
        Path | None,
        typer.Option("--orders-to", metavar="FILE", dir_okay=False, help="Write every order that differs as CSV."),
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, max=256, help="How many (default: one a core).")] = None,
    as_json: Json = False,
) -> None:
    """Judge a shop's orders by another rule set and say what would differ. Nothing is changed."""
    other = read_file(rules)
    try:
        request = BacktestScope(rules=other, since=since, until=until, as_of=as_of)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--from") from None
    try:
        with database(settings()) as url, _differences_file(orders_to) as write, _bar(shop) as on_progress:
            result = asyncio.run(
                backtesting.backtest(
                    url,
                    shop,
                    book(),
                    request,
                    clock.now(),
                    processes=processes,
                    on_progress=on_progress,
                    on_differences=write,
                )
            )
    except ReplayFailed as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print_json(result)
    else:
        _print_result(result, orders_to)


@contextmanager
def _differences_file(file: Path | None) -> Iterator[Callable[[Sequence[OrderDifference]], None] | None]:
    """What writes the orders that differ into a file, which is there whole or not at all; nothing without one."""
    if file is None:
        yield None
        return
    try:
        with replacing(file) as binary, TextIOWrapper(binary, encoding="utf-8", newline="") as text:
            rows = csv.writer(text, lineterminator="\n")
            rows.writerow(("order_sn", "since", "paid_fen", "now", "then", "difference_fen"))

            def write(differences: Sequence[OrderDifference]) -> None:
                for difference in differences:
                    now, then = _in_words(difference.now), _in_words(difference.then)
                    since = difference.since.isoformat()
                    rows.writerow(
                        (difference.order_sn, since, difference.paid_fen, now, then, difference.difference_fen)
                    )

            yield write
    except OSError as error:
        raise CommandFailed(f"{file} can't be written: {error.strerror or error}") from error


def _in_words(charged: Sequence[Charged]) -> str:
    """Violations as a cell holds them: ``late_shipment 300; stockout 500``, in fen."""
    return "; ".join(f"{each.kind} {'?' if each.penalty_fen is None else each.penalty_fen}" for each in charged)


@contextmanager
def _bar(shop: str) -> Iterator[Callable[[BacktestProgress], None]]:
    with bar(done_of_total("events"), TextColumn("{task.fields[rate]:,.0f}/s")) as shown_bar:
        task = shown_bar.add_task(f"judging {shop}", total=0, rate=0)

        def progress(reached: BacktestProgress) -> None:
            rate = reached.done / reached.seconds if reached.seconds else 0
            shown_bar.update(task, completed=reached.done, total=reached.total, rate=rate)

        yield progress


def _print_result(result: Backtest, orders_to: Path | None) -> None:
    out.print(
        f"{result.orders:,} orders of shop {result.shop_id} judged as of {shown(result.as_of)}, "
        f"by the rules in force and by {result.rules}: {result.differing:,} fare otherwise.",
        soft_wrap=True,
    )
    table = Table("violation", "now", "then", "penalties now", "penalties then", "difference", "orders differing")
    for compared in (*result.kinds, result.total):
        table.add_row(*_row(compared))
    out.print(table)
    if unknown := result.total.now.unknown_penalties + result.total.then.unknown_penalties:
        out.print(f"{unknown:,} penalties can't be known, as the payment isn't; they are left out of the sums.")
    if result.unreadable:
        unreadable = ", ".join(result.unreadable[:SHOWN])
        out.print(Text.assemble((f"{len(result.unreadable)} orders can't be read whole:", "red"), f" {unreadable}"))
    if orders_to:
        out.print(f"The orders that differ are in {orders_to}.", soft_wrap=True)
    elif result.items:
        orders = Table(Column("order", no_wrap=True), "paid", "no more, and instead", "difference")
        for item in result.items[:SHOWN]:
            orders.add_row(
                item.order_sn,
                yuan(item.paid_fen),
                _changes(item),
                _signed(item.difference_fen),
            )
        out.print(orders)
        if result.differing > SHOWN:
            out.print(f"These {SHOWN} of {result.differing:,} differ most; --orders-to FILE writes all of them.")


def _changes(item: OrderDifference) -> str:
    """What there would be no more, and what instead."""
    gone = [f"-{_in_words([charged])}" for charged in item.now if charged not in item.then]
    come = [f"+{_in_words([charged])}" for charged in item.then if charged not in item.now]
    return "\n".join((*gone, *come))


def _row(compared: Compared) -> tuple[str, ...]:
    return (
        compared.kind or "all",
        f"{compared.now.violations:,}",
        f"{compared.then.violations:,}",
        yuan(compared.now.penalties_fen),
        yuan(compared.then.penalties_fen),
        _signed(compared.difference.penalties_fen),
        f"{compared.orders_differing:,}",
    )


def _signed(fen: int | None) -> str:
    """A difference in yuan: what would have been saved has a minus."""
    if not fen:
        return yuan(fen)
    return f"{'-' if fen < 0 else '+'}{yuan(abs(fen))}"
