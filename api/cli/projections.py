"""``projections``: the views of the log, rebuilt beside the live ones, activated, and gone back from."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop
from rich.progress import TextColumn, TimeElapsedColumn
from rich.table import Table

from api.cli.exporting import declared, export
from api.cli.terminal import (
    At,
    CommandFailed,
    Json,
    Limit,
    ShopArgument,
    bar,
    book,
    done_of_total,
    err,
    identifier,
    moment,
    out,
    page_or_all,
    print_json,
    print_page,
    settings,
    shown,
)
from api.program import database
from domain.rules.ruleset import RuleBook
from infrastructure.database.pool import Pool, ReadConnection, connection_pool
from infrastructure.projections import builds, parking, rebuild
from infrastructure.projections.builds import Build
from infrastructure.projections.verification import SAMPLE, Verification, verify
from infrastructure.projections.views import VIEWS
from infrastructure.queries.paging import Page
from infrastructure.queries.projections import Parked, ParkedKey, Projection, list_parked, overview
from infrastructure.runtime import clock

app = typer.Typer(help="The views of the log: rebuild them, activate, go back.", no_args_is_help=True)
app.command()(export)

T = TypeVar("T")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A projection, as `projections list` names it.")]
BuildArgument = Annotated[int, typer.Argument(metavar="BUILD", min=1, help="A build's number.")]


@app.command("list")
def list_projections(as_json: Json = False) -> None:
    """Every projection: which build answers, which it can go back to, and how its builds stand."""

    async def read(pool: Pool, url: str) -> list[Projection]:
        async with pool.read() as connection:
            return await overview(connection)

    projections = _with_pool(read)
    if as_json:
        print_json({"items": projections})
        return
    table = Table("projection", "version", "behind", "parked", "build", "state", "events", "asked for", "shows")
    for projection in projections:
        for build in projection.builds:
            roles = {projection.active: "active", projection.previous: "previous"}
            first = build is projection.builds[0]
            table.add_row(
                projection.name if first else "",
                str(projection.version) if first else "",
                f"{projection.behind:,}" if first else "",
                str(projection.parked) if first else "",
                f"{build.id} {roles.get(build.id, '')}",
                build.state,
                f"{build.done:,} of {build.total:,}",
                shown(build.requested_at),
                _scope_in_words(build.scope),
            )
    out.print(table)


@app.command("rebuild")
def rebuild_projections(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Which projections, in one pass.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All projections, in one pass.")] = False,
    activate: Annotated[bool, typer.Option("--activate", help="Activate it when it is verified.")] = False,
    processes: Annotated[int | None, typer.Option(min=1, max=256, help="How many (default: one a core).")] = None,
    shop: Annotated[
        str | None, typer.Option("--shop", metavar="SHOP", parser=identifier, help="Whose log.")
    ] = None,
    to_position: Annotated[
        int | None, typer.Option(min=1, help="As the shop's log stood at this position.")
    ] = None,
    known_at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="As the logs were known then.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Judge by this rule set (TOML).")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew even if one was begun and not finished.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rebuild projections beside the live ones, and verify them; one that was interrupted is gone on with.

    With --to-position, --known-at or --rules the build shows the past, or other rules: it is read, not activated.
    """
    views = list(VIEWS) if everything else [declared(name) for name in names or ()]
    if not views:
        raise typer.BadParameter("name the projections to rebuild, or say --all")
    if (shop is None) != (to_position is None):
        raise typer.BadParameter("--shop and --to-position go together")
    scope: dict[str, Any] = {}
    if shop is not None:
        scope |= {"shop_id": shop, "to_position": to_position}
    if known_at is not None:
        scope["known_at"] = known_at.isoformat()
    if rules is not None:
        scope["rules"] = rules.read_text(encoding="utf-8")
    if scope and activate:
        raise typer.BadParameter("what does not show the present can't be activated")
    book = _book(scope)

    async def build(pool: Pool, url: str) -> rebuild.Progress:
        async with pool.write() as connection:
            begun = None if scope or fresh else await rebuild.unfinished(connection, views, book)
            planned = begun or await rebuild.request(connection, views, book, scope)
        if begun:
            err.print(f"Going on with build {begun.id}.")
        progress = await _run(pool, url, planned, book, processes)
        if activate and progress.state == "ready":
            async with pool.write() as connection:
                await builds.activate(connection, progress.id, book)
        return progress

    _print_progress(_with_pool(build), as_json=as_json, activated=activate)


@app.command("resume")
def resume(
    build_id: BuildArgument,
    processes: Annotated[int | None, typer.Option(min=1, max=256, help="How many (default: one a core).")] = None,
    as_json: Json = False,
) -> None:
    """Go on with a rebuild that was interrupted."""

    async def go_on(pool: Pool, url: str) -> rebuild.Progress:
        async with pool.read() as connection:
            build = await _build(connection, build_id)
        return await _run(pool, url, build, _book(build.scope), processes)

    progress = _with_pool(go_on)
    _print_progress(progress, as_json=as_json)


@app.command("activate")
def activate_build(
    name: Name,
    build_id: Annotated[int | None, typer.Option("--build", min=1, help="Which (default: the latest).")] = None,
    as_json: Json = False,
) -> None:
    """Let a verified rebuild answer; the build before is kept current to go back to."""
    view = declared(name)

    async def flip(pool: Pool, url: str) -> int:
        async with pool.write() as connection:
            latest = await builds.latest_ready(connection, view.name)
            chosen = build_id or (latest.id if latest else None)
            if chosen is None:
                raise CommandFailed(f"No rebuild of {name} waits to be activated.")
            await builds.activate(connection, chosen, book())
            return chosen

    _print_active(_with_pool(flip), name, as_json=as_json)


@app.command("rollback")
def roll_back(name: Name, as_json: Json = False) -> None:
    """Let the build answer again that did before."""
    view = declared(name)

    async def flip(pool: Pool, url: str) -> int:
        async with pool.write() as connection:
            return await builds.roll_back(connection, view.name, book())

    _print_active(_with_pool(flip), name, as_json=as_json)


@app.command("drop")
def drop(build_id: BuildArgument) -> None:
    """Remove a build and its tables; not one that answers for a projection."""

    async def remove(pool: Pool, url: str) -> None:
        async with pool.write() as connection:
            await builds.drop(connection, build_id)

    _with_pool(remove)
    err.print(f"Build {build_id} is gone.")


@app.command("verify")
def verify_build(
    build_id: BuildArgument,
    everything: Annotated[bool, typer.Option("--everything", help="Compare every order, not a sample.")] = False,
    as_json: Json = False,
) -> None:
    """Compare a build with the log: counts, versions, and the rows of a sample folded anew."""

    async def compare(pool: Pool, url: str) -> Verification:
        async with pool.read() as connection:
            build = await _build(connection, build_id)
            return await verify(connection, build, _book(build.scope), sample=None if everything else SAMPLE)

    verification = _with_pool(compare)
    if as_json:
        print_json(verification._asdict())
    else:
        out.print(_comparison(verification.orders, verification.compared))
        out.print(f"build {verification.checksum}\nlog   {verification.expected}")
        for difference in verification.differences:
            out.print(difference)
    if verification.differences:
        raise CommandFailed(f"Build {build_id} differs from the log.")


ParkedArgument = Annotated[str, typer.Argument(metavar="ID", help="The order's number, or the SKU's id.")]


@app.command("parked")
def parked(name: Name, limit: Limit = None, cursor: At = None, as_json: Json = False) -> None:
    """Orders and SKUs with an event that can't be applied; views show them as they were before it."""
    declared(name)

    async def read(pool: Pool, url: str) -> Page[Parked, ParkedKey]:
        async with pool.read() as connection:
            return await page_or_all(partial(list_parked, connection), ParkedKey, limit, cursor)

    print_page(
        _with_pool(read),
        ("shop", lambda parked: parked.shop_id),
        ("order or SKU", lambda parked: parked.order_sn or parked.sku_id or parked.stream),
        ("from position", lambda parked: str(parked.position)),
        ("events", lambda parked: str(parked.events)),
        ("state", lambda parked: parked.state),
        ("tried", lambda parked: str(parked.attempts)),
        ("error", lambda parked: parked.error),
        as_json=as_json,
    )


@app.command("retry")
def retry(shop: ShopArgument, of: ParkedArgument) -> None:
    """Try a parked order or SKU again."""

    async def again(pool: Pool, url: str) -> bool:
        async with pool.write() as connection:
            return await parking.retry(connection, shop, of, clock.now())

    if not _with_pool(again):
        raise CommandFailed(f"Order or SKU {of} of shop {shop} is not parked.")
    err.print("A worker will try it again.")


@app.command("discard")
def discard(shop: ShopArgument, of: ParkedArgument) -> None:
    """Give up an event that can't be applied and what follows it in its order or SKU; the log keeps them."""

    async def give_up(pool: Pool, url: str) -> bool:
        async with pool.write() as connection:
            return await parking.discard(connection, shop, of)

    if not _with_pool(give_up):
        raise CommandFailed(f"Order or SKU {of} of shop {shop} is not parked.")
    err.print("Views show it as it was before; rebuilds pass over the rest. `projections retry` brings it back.")


def _with_pool(work: Callable[[Pool, str], Awaitable[T]]) -> T:
    """Run something with a pool of connections to the migrated database."""

    async def run(url: str) -> T:
        async with connection_pool(url, size=6) as pool:
            await rebuild.prepare(pool, url, book())
            return await work(pool, url)

    with database(settings()) as url:
        return uvloop.run(run(url))


async def _build(connection: ReadConnection, build_id: int) -> Build:
    build = await builds.find(connection, build_id)
    if build is None:
        raise CommandFailed(f"There is no build {build_id}.")
    return build


async def _run(pool: Pool, url: str, build: Build, book: RuleBook, processes: int | None) -> rebuild.Progress:
    """Work on a build with a bar that shows how far it is."""
    columns = done_of_total("events"), TextColumn("{task.fields[rate]}"), TimeElapsedColumn()
    with bar(*columns) as shown_bar:
        task = shown_bar.add_task(f"build {build.id}", total=build.total, rate="")

        def show(progress: rebuild.Progress) -> None:
            rate = f"{progress.events_per_second:,.0f}/s" if progress.events_per_second else ""
            state = progress.state.replace("_", " ")
            shown_bar.update(task, completed=progress.done, description=f"build {build.id}: {state}", rate=rate)

        return await rebuild.run(pool, url, book, build.id, processes=processes, on_progress=show)


def _print_progress(progress: rebuild.Progress, *, as_json: bool, activated: bool = False) -> None:
    if as_json:
        print_json(progress)
    if progress.state == "failed":
        raise CommandFailed(f"Build {progress.id} failed. {progress.error}")
    if as_json:
        return
    rate = f", {progress.events_per_second:,.0f} events a second" if progress.events_per_second else ""
    out.print(f"Build {progress.id} of {', '.join(progress.views)}: {progress.total:,} events folded{rate}.")
    if progress.verification:
        checked = progress.verification
        out.print(f"Verified: {_comparison(checked['orders'], checked['compared'])}.")
    if activated:
        out.print("It is active.")
    elif progress.live:
        out.print(f"Activate it with: shiplock projections activate {progress.views[0]} --build {progress.id}")


def _comparison(orders: int, compared: int) -> str:
    """What a verification looked at; a build without the list of orders holds none to be counted."""
    counted = f"{orders:,} orders are listed, " if orders else ""
    return f"{counted}{compared:,} orders and SKUs were compared row by row"


def _print_active(build_id: int, name: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "active": build_id})
    else:
        out.print(f"Build {build_id} answers for {name}.")


def _book(scope: dict[str, Any]) -> RuleBook:
    """What judges a build: the rules of its scope, or those in force."""
    if "rules" not in scope:
        return book()
    try:
        return RuleBook.parse([scope["rules"]])
    except ValueError as error:
        raise CommandFailed(f"The rule set makes no sense: {error}") from error


def _scope_in_words(scope: dict[str, Any]) -> str:
    parts = []
    if "shop_id" in scope:
        parts.append(f"shop {scope['shop_id']} at position {scope['to_position']}")
    if "known_at" in scope:
        parts.append(f"as known at {shown(datetime.fromisoformat(scope['known_at']))}")
    if "rules" in scope:
        parts.append("by other rules")
    return ", ".join(parts) or "the present"
