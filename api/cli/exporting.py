"""``projections export``: a view into a file that other programs read."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import (
    CommandFailed,
    Json,
    done_of_total,
    identifier,
    out,
    print_json,
    progress,
    with_program,
)
from api.program import Program
from infrastructure.log.log import read_heads_of_shops
from infrastructure.projections.builds import CannotDo
from infrastructure.projections.export import Exported, Format
from infrastructure.projections.export import export as export_view
from infrastructure.projections.view import View
from infrastructure.projections.views import BY_NAME
from infrastructure.projections.worker import Worker


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A projection, as `projections list` names it.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", dir_okay=False, help="Where to; a file that is there is replaced.")
    ],
    shop: Annotated[
        str | None, typer.Option("--shop", metavar="SHOP", parser=identifier, help="Only this shop's.")
    ] = None,
    build_id: Annotated[
        int | None, typer.Option("--build", min=1, help="As this build holds it (default: the active one).")
    ] = None,
    format: Annotated[Format | None, typer.Option("--format", help="Default: by the file's ending.")] = None,
    as_json: Json = False,
) -> None:
    """Write a projection into a CSV or Parquet file."""
    view, chosen = declared(name), format or _by_ending(file)
    exported = with_program(lambda program: _export(program, view, file, chosen, shop, build_id))
    if as_json:
        print_json(exported)
    else:
        out.print(
            f"{exported.rows:,} rows of {exported.view}, build {exported.build}: "
            f"{exported.bytes:,} bytes in {exported.file}",
            soft_wrap=True,
        )


def declared(name: str) -> View:
    """The view of a projection's name."""
    if name not in BY_NAME:
        raise typer.BadParameter(f"no projection is called {name!r}; there are {', '.join(BY_NAME)}")
    return BY_NAME[name]


def _by_ending(file: Path) -> Format:
    try:
        return Format(file.suffix.removeprefix(".").lower())
    except ValueError:
        raise typer.BadParameter(
            f"{file.name} ends neither in .csv nor in .parquet; say which with --format"
        ) from None


async def _export(
    program: Program, view: View, file: Path, format: Format, shop: str | None, build_id: int | None
) -> Exported:
    """Export with a bar that shows how far it is; what answers now is brought up to date before."""
    if build_id is None:
        await _catch_up(program, shop)
    try:
        with progress(file.name, done_of_total("rows")) as on_progress:
            async with program.pool.read() as connection:
                return await export_view(
                    connection, view, file, format, shop_id=shop, build_id=build_id, on_progress=on_progress
                )
    except CannotDo as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"{file} can't be written: {error.strerror or error}") from error


async def _catch_up(program: Program, shop: str | None) -> None:
    """Bring a shop's views, or every shop's, to the head of its log as it is now."""
    worker = Worker(program.pool, program.book)
    async with program.pool.read() as connection:
        shops = [shop] if shop else list(await read_heads_of_shops(connection))
    for each in shops:
        await worker.catch_up(each)
