"""``way-out``: what can be done about an order that may not be shipped in time, and what each way costs."""

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from api.cli.terminal import (
    Json,
    OrderArgument,
    ShopArgument,
    moment,
    out,
    print_json,
    read_log,
    shown,
    yuan,
)
from domain.rules.ruleset import RuleBook
from domain.stockout.way_out import Option, WayOut
from infrastructure.database.pool import ReadConnection
from infrastructure.queries.way_out import find_way_out
from infrastructure.runtime import clock


def way_out(
    shop: ShopArgument,
    number: OrderArgument,
    at: Annotated[
        datetime | None,
        typer.Option("--at", parser=moment, metavar="TIME", help="What it would cost to act then (default: now)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """The ways out of an order, each with its price; sending something else is listed as the fraud it is."""

    async def read(connection: ReadConnection, book: RuleBook) -> WayOut:
        return await find_way_out(connection, shop, number, book, at or clock.now())

    ways = read_log(read)
    if as_json:
        print_json(ways)
        return
    if ways.because:
        out.print(ways.because)
    else:
        table = Table("way", "cost", "violations", "costs the same until", "decision expected", "possible")
        for option in ways.options:
            expected = option.expected_decision
            table.add_row(
                option.way.replace("_", " "),
                yuan(option.penalty_fen),
                ", ".join(f"{v.kind} {yuan(v.penalty_fen)}" for v in option.violations) or "none",
                shown(option.until),
                f"{shown(expected.earliest)} to {shown(expected.latest)}" if expected else "-",
                _possible(option),
            )
        out.print(table)
        for option in ways.options:
            for warning in option.warnings:
                out.print(Text(f"{option.way.replace('_', ' ')}: {warning.detail}", style="yellow"))
    out.print(f"Whatever is done, {yuan(ways.standing_fen)} stands already.")


def _possible(option: Option) -> str | Text:
    if option.never:
        return Text.assemble(("never:", "red"), f" {option.because}")
    return "yes" if option.possible else f"no: {option.because}"
