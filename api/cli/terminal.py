"""What the commands share: talking to people and to programs, times, ids, and the program itself."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from api.program import Program, database, enrol
from domain.calendar import BEIJING
from domain.kernel import CLOCK_SKEW, EARLIEST, ID_IN_WORDS, is_id
from domain.money.period import BadPeriod, DayRange
from domain.rules.ruleset import RuleBook
from domain.viewpoint import NOW, Viewpoint
from infrastructure.database.pool import ReadConnection, WriteConnection
from infrastructure.files.lines import UnreadableSheet
from infrastructure.files.tables import TableReader
from infrastructure.pinduoduo.exports import UnreadableExport
from infrastructure.projections.view import View
from infrastructure.projections.worker import Worker
from infrastructure.queries.errors import QueryError, UnknownCase, UnknownSku
from infrastructure.queries.moments import parse_day, parse_moment
from infrastructure.queries.paging import Cursor, Page, decode_cursor, encode_cursor, every_item
from infrastructure.queries.views_at import views_at
from infrastructure.runtime import clock
from infrastructure.runtime.rule_sets import rule_book
from infrastructure.runtime.settings import Settings

_WIDE = 160
"""Columns of a table that goes into a file or a pipe."""

_CONTROLS = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")}, "\N{REPLACEMENT CHARACTER}")


class Plain(Console):
    """Shows text as it is. Brackets and control characters in data from elsewhere style nothing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(text.translate(_CONTROLS), **options)


out = Plain(width=None if sys.stdout.isatty() else _WIDE)
err = Plain(stderr=True)

PAGE = 500
"""Items of a list that are read at once."""

USUAL_PAGE = 50
"""Items of a page that is asked for without saying how many."""

T = TypeVar("T")
K = TypeVar("K", bound=tuple[Any, ...])
R = TypeVar("R", bound=TableReader)

OnProgress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""


class CommandFailed(Exception):
    """The command could not do what it was asked; the message says why."""


def complain(message: str) -> None:
    """Say what went wrong, in one line: what it names can be copied from it."""
    err.print(f"shiplock: {message}", style="red", soft_wrap=True)


def print_json(body: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(body)).decode() + "\n")


def moment(given: str) -> datetime:
    """A time given on the command line: RFC 3339, or without offset in Beijing time."""
    try:
        naive = datetime.fromisoformat(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r} is not a time such as 2026-03-02T09:00:00+08:00") from None
    aware = naive.replace(tzinfo=BEIJING) if naive.tzinfo is None else naive
    try:
        return parse_moment(aware.isoformat())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def past_moment(given: str) -> datetime:
    """A time at which something happened: since the platform was founded, and at most ten minutes from now."""
    at = moment(given)
    if not EARLIEST <= at <= clock.now() + CLOCK_SKEW:
        raise typer.BadParameter(f"{given!r} must lie between 2015-01-01 and ten minutes from now")
    return at


def day(given: str) -> date:
    """A day given on the command line."""
    try:
        return parse_day(given)
    except ValueError as error:
        raise typer.BadParameter(f"{given!r}: {error}") from None


def identifier(given: str) -> str:
    if not is_id(given):
        raise typer.BadParameter(f"{given!r} is not an id: {ID_IN_WORDS}")
    return given


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ShopArgument = Annotated[str, typer.Argument(metavar="SHOP", parser=identifier, help="The shop's id.")]
OrderArgument = Annotated[str, typer.Argument(metavar="ORDER", parser=identifier, help="The order's number.")]
AsOf = Annotated[
    datetime | None,
    typer.Option("--as-of", parser=moment, metavar="TIME", help="As it stood then, by what had happened."),
]
KnownAt = Annotated[
    datetime | None,
    typer.Option("--known-at", parser=moment, metavar="TIME", help="As the log knew it then."),
]
FirstDay = Annotated[
    date | None,
    typer.Option("--from", parser=day, metavar="DAY", help="The first day (default: six before the last)."),
]
LastDay = Annotated[
    date | None, typer.Option("--to", parser=day, metavar="DAY", help="The last day (default: today).")
]


def period_of(since: date | None, until: date | None, judged_at: datetime) -> DayRange:
    """The days of a report, which are judged at a moment."""
    try:
        return DayRange.of(since, until, judged_at)
    except BadPeriod as error:
        raise typer.BadParameter(str(error), param_hint="--from") from None


def settings() -> Settings:
    return Settings.from_environment(os.environ)


def book() -> RuleBook:
    """The rules in force, by the settings."""
    return rule_book(settings().rules_dir)


def connected(url: str, work: Callable[[WriteConnection], Awaitable[T]]) -> T:
    """Run something on one connection to a database."""

    async def run() -> T:
        async with await WriteConnection.connect(url, autocommit=True) as connection:
            await connection.execute("SET TIME ZONE 'UTC'")
            return await work(connection)

    return asyncio.run(run())


def with_program(work: Callable[[Program], Awaitable[T]], *, enrolling: str | None = None) -> T:
    """Run something with the program on its database, and take both down again.

    What imports data of a shop also enrols the shop (``enrolling``).
    """

    async def run(url: str) -> T:
        async with Program.running(url, book(), worker=None) as program:
            return await work(program)

    with database(settings()) as url:
        if enrolling:
            enrol(url, enrolling)
        try:
            return asyncio.run(run(url))
        except QueryError as error:
            raise CommandFailed(_sentence(error)) from None


def _sentence(error: QueryError) -> str:
    """Say why there is no answer, and which command helps."""
    match error:
        case UnknownSku():
            return f"The shop has no SKU {error.sku_id}; no order names it, and nothing was told of it."
        case UnknownCase():
            shop = error.shop_id
            return f"The shop has no stockout case {error.case_id}; `shiplock cases {shop}` lists those there are."
        case _:
            return str(error)


def read_log(read: Callable[[ReadConnection, RuleBook], Awaitable[T]]) -> T:
    """Read what comes from the log itself, which is never behind."""

    async def work(program: Program) -> T:
        async with program.pool.read() as connection:
            return await read(connection, program.book)

    return with_program(work)


def read_views(
    shop: str,
    read: Callable[[ReadConnection, RuleBook, datetime], Awaitable[T]],
    *,
    viewpoint: Viewpoint = NOW,
    views: Sequence[View] = (),
) -> T:
    """What ``read`` makes of the views of a shop; it also gets the rules, and the moment to judge at.

    Of now the views are read once they show all that is in the shop's log. For another moment the whole shop is
    folded, with a bar, into the ``views`` that ``read`` needs.
    """
    now = clock.now()

    async def of_now(program: Program) -> T:
        await Worker(program.pool, program.book).catch_up(shop)
        async with program.pool.read() as connection:
            return await read(connection, program.book, now)

    async def of_then(program: Program) -> T:
        with folding(shop) as on_progress:
            async with views_at(program.url, shop, program.book, viewpoint, views, on_progress) as connection:
                return await read(connection, program.book, viewpoint.judged_at(now))

    return with_program(of_now if viewpoint.is_now else of_then)


def bar(*columns: ProgressColumn) -> Progress:
    """A bar on standard error, with these columns before the time that is left; nothing where nobody watches."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )


def done_of_total(what: str) -> ProgressColumn:
    """The column of a bar that says how many of how many of these are done."""
    return TextColumn(f"{{task.completed:,.0f}} of {{task.total:,.0f}} {what}")


@contextmanager
def progress(
    description: str, column: ProgressColumn, total: int | None = 0
) -> Iterator[Callable[[int, int], None]]:
    """A bar, and the function that tells it how much is done, and of how much."""
    with bar(column) as shown_bar:
        task = shown_bar.add_task(description, total=total)
        yield lambda done, total: shown_bar.update(task, completed=done, total=total)


@contextmanager
def folding(shop: str) -> Iterator[OnProgress]:
    """A bar that shows how many events of a shop are folded, and of how many."""
    with progress(f"events of {shop}", MofNCompleteColumn(), total=None) as on_progress:
        yield on_progress


SHOWN = 20
"""So many lines of a report are printed; the rest is where the report says."""


Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, max=PAGE, help="A page of so many (default: the whole list)."),
]
At = Annotated[
    str | None, typer.Option("--cursor", metavar="CURSOR", help="Where the page begins, as another page told it.")
]


async def page_or_all(
    read: Callable[[int, Cursor[K] | None], Awaitable[Page[T, K]]], key: Any, limit: int | None, at: str | None
) -> Page[T, K]:
    """One page of a list with keys of a type, or all of it where no page is asked for."""
    if limit is None and at is None:
        return Page(await every_item(partial(read, PAGE)), None)
    try:
        cursor = decode_cursor(at, key)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--cursor") from error
    return await read(limit or USUAL_PAGE, cursor)


Column = tuple[str, Callable[[T], str]]
"""A column of a table: its head, and what an item has in it."""


def print_page(page: Page[T, Any], *columns: Column[T], as_json: bool) -> None:
    """A page of a list, as JSON or as a table, with the cursors of those behind and before it, if there are any."""
    places = {"next_cursor": encode_cursor(page.next), "previous_cursor": encode_cursor(page.previous)}
    cursors = {name: cursor for name, cursor in places.items() if cursor}
    if as_json:
        print_json({"items": page.items} | cursors)
        return
    print_table(page.items, *columns)
    for name, cursor in cursors.items():
        out.print(f"{name.partition('_')[0]} page: --cursor {cursor}", soft_wrap=True)


def print_items(items: Sequence[T], *columns: Column[T], as_json: bool) -> None:
    """A list as JSON or as a table."""
    if as_json:
        print_json({"items": items})
    else:
        print_table(items, *columns)


def print_table(items: Iterable[T], *columns: Column[T]) -> None:
    table = Table(*(head for head, _ in columns))
    for item in items:
        table.add_row(*(cell(item) for _, cell in columns))
    out.print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Facts, a line each: what it is, and its value."""
    table = Table(show_header=False, box=None)
    for what, value in facts.items():
        table.add_row(what, str(value))
    out.print(table)


def print_first(lines: Sequence[str], count: int, where: str) -> None:
    """The first of ``count`` lines, of which ``lines`` may be the beginning; ``where`` says how to see all."""
    for line in lines[:SHOWN]:
        out.print(line)
    if count > (printed := min(len(lines), SHOWN)):
        out.print(f"and {count - printed} more; {where}")


@contextmanager
def reading_file(
    file: Path, open_reader: Callable[[], R], *columns: ProgressColumn, **fields: Any
) -> Iterator[tuple[R, Callable[..., None]]]:
    """Open a file of rows, with a bar that shows how much of it is read.

    Yields the reader, and the function that moves the bar. It takes new values of ``fields``, which ``columns``
    show. A file that can't be read is a failure that says why.
    """
    try:
        with open_reader() as reader, bar(DownloadColumn(), *columns) as shown_bar:
            task = shown_bar.add_task(file.name, total=reader.total_bytes, **fields)

            def show(**fields: Any) -> None:
                shown_bar.update(task, completed=reader.bytes_read, **fields)

            yield reader, show
            shown_bar.update(task, completed=reader.total_bytes)
    except (UnreadableExport, UnreadableSheet) as error:
        raise CommandFailed(f"{file.name} can't be read: {error}") from error


def shown(at: datetime | None) -> str:
    """A time as a shop's people read it: Beijing time, to the second."""
    return "-" if at is None else at.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def yuan(fen: int | None) -> str:
    return "-" if fen is None else f"¥{fen / 100:.2f}"
