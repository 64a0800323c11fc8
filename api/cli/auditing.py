"""``audit``: checkpoints of the log, proofs, and whether the log still is what was signed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import psycopg
import typer
from rich.table import Table
from rich.text import Text

from api.cli.terminal import (
    CommandFailed,
    Json,
    ShopArgument,
    complain,
    connected,
    done_of_total,
    err,
    identifier,
    out,
    print_items,
    print_json,
    progress,
    settings,
    shown,
)
from api.program import database
from infrastructure.audit import bundle
from infrastructure.audit.archive import Archive, LogDiffers
from infrastructure.audit.bundle import BadBundle, CannotBundle
from infrastructure.audit.checkpoint import Signed
from infrastructure.audit.keys import BadKey, followed
from infrastructure.audit.note import BadNote, VerifierKey
from infrastructure.audit.proving import prove_inclusion
from infrastructure.audit.signing import make_checkpoint, shops_to_sign
from infrastructure.audit.verification import OnProgress, Verified, verify
from infrastructure.database.pool import WriteConnection
from infrastructure.log.log import read_stream
from infrastructure.log.streams import ORDER
from infrastructure.runtime.processes import Died

app = typer.Typer(
    help="Proof: checkpoints of the log, and whether it still is what was signed.", no_args_is_help=True
)

MOST_SHOWN = 20
"""So many problems of a shop, and events of a bundle, are printed; --json has more."""

_HAS_LOG = """
SELECT EXISTS (SELECT FROM shop_log WHERE shop_id = %(shop)s) OR EXISTS (SELECT FROM event WHERE shop_id = %(shop)s)
"""

Shops = Annotated[
    str | None,
    typer.Argument(metavar="SHOP", parser=identifier, help="The shop's id; or --all.", show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="Every shop that has a log or a checkpoint.")]


class _Key(msgspec.Struct):
    handover: str | None


class _Keys(msgspec.Struct):
    items: list[_Key]


Size = Annotated[
    int | None, typer.Option(min=1, metavar="SIZE", help="By the checkpoint of this size (default: the newest).")
]


@app.command("verify")
def verify_logs(
    shop: Shops = None,
    everything: All = False,
    processes: Annotated[int | None, typer.Option(min=1, max=256, help="How many (default: one a core).")] = None,
    as_json: Json = False,
) -> None:
    """Recompute logs from their events and compare them with every checkpoint; status 1 if anything is wrong."""
    archive = Archive.of(settings())
    with database(settings()) as url, _progress("events") as on_progress, _failures_in_words():
        logs = list(
            verify(
                url, _shops(url, archive, shop, everything), archive, processes=processes, on_progress=on_progress
            )
        )
    if as_json:
        print_json({"intact": all(log.intact for log in logs), "items": logs})
    else:
        for log in logs:
            _print_verified(log)
    if not all(log.intact for log in logs):
        raise typer.Exit(1)


def _print_verified(log: Verified) -> None:
    if log.intact:
        held = (
            f"every checkpoint holds ({log.checkpoints:,}, the newest at {log.newest_checkpoint:,})"
            if log.checkpoints
            else "there is no checkpoint yet to compare them with"
        )
        out.print(f"Shop {log.shop_id}: {log.events:,} events are sound; {held}.")
        return
    headline = f"{log.events:,} events, and something is wrong"
    out.print(Text.assemble(f"Shop {log.shop_id}: ", (headline, "red")))
    table = Table("where", "what")
    for problem in log.problems[:MOST_SHOWN]:
        place = (
            f"position {problem.position}" if problem.position is not None else f"checkpoint {problem.checkpoint}"
        )
        table.add_row(place, problem.detail)
    out.print(table)
    if len(log.problems) > MOST_SHOWN:
        out.print(f"... and {len(log.problems) - MOST_SHOWN} more")


@app.command("checkpoint")
def checkpoint(
    shop: Shops = None,
    everything: All = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="In a large log recompute only what came since the last one.")
    ] = False,
    niceness: Annotated[int, typer.Option("--nice", min=0, max=19, help="Leave the machine to others first.")] = 0,
    as_json: Json = False,
) -> None:
    """Sign what the log is now, after recomputing it; a log that was changed gets none and status 1."""
    os.nice(niceness)
    archive = Archive.of(settings())
    made: list[dict[str, object]] = []
    refused = False
    with database(settings()) as url, _progress("events") as on_progress, _failures_in_words():
        for shop_id in _shops(url, archive, shop, everything):
            try:
                checkpointed = make_checkpoint(url, shop_id, archive, whole=not quick, on_progress=on_progress)
            except LogDiffers as error:
                complain(f"{error} Look with: shiplock audit verify {shop_id}")
                refused = True
                continue
            if checkpointed:
                note, size = checkpointed.signed.note, checkpointed.signed.checkpoint.size
                made.append({"shop_id": shop_id, "size": size, "new": checkpointed.new, "note": note})
    if as_json:
        print_json({"items": made})
    else:
        for entry in made:
            out.print(entry["note"], soft_wrap=True)
    if refused:
        raise typer.Exit(1)


@app.command("prove")
def prove(
    shop: ShopArgument,
    position: Annotated[int, typer.Argument(min=1, metavar="POSITION", help="The event's position in the log.")],
    size: Size = None,
    as_json: Json = False,
) -> None:
    """Prove that an event is in a checkpoint, as C2SP's tlog-proof writes it."""

    async def work(connection: WriteConnection) -> None:
        signed = _signed(archive, shop, size)
        if position > signed.checkpoint.size:
            raise CommandFailed(
                f"Checkpoint {signed.checkpoint.size} does not reach position {position}; make a newer one with: "
                f"shiplock audit checkpoint {shop}"
            )
        (proof,) = await prove_inclusion(connection, shop, [position], signed)
        if as_json:
            print_json(proof)
        else:
            out.print(proof.text(), soft_wrap=True, end="")

    archive = Archive.of(settings())
    with database(settings()) as url, _failures_in_words():
        connected(url, work)


@app.command("export")
def export(
    shop: ShopArgument,
    order: Annotated[
        str | None,
        typer.Argument(metavar="ORDER", parser=identifier, help="An order's number; or --from and --to."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Where to.")
    ] = None,
    since: Annotated[int | None, typer.Option("--from", min=1, metavar="POSITION", help="The first.")] = None,
    until: Annotated[int | None, typer.Option("--to", min=1, metavar="POSITION", help="The last.")] = None,
    size: Size = None,
    as_json: Json = False,
) -> None:
    """Write events, proofs, checkpoint and public key into one file, a bundle, that anybody can check.

    Where the newest checkpoint does not reach the events yet, one is made first.
    """
    if (order is None) == (since is None) or (since is None) != (until is None):
        raise typer.BadParameter("name an order, or positions with --from and --to")
    into = file or Path(f"{shop}-{order or f'{since}-{until}'}.bundle.jsonl")
    archive = Archive.of(settings())

    async def last_of_order(connection: WriteConnection) -> int:
        events = await read_stream(connection, shop, ORDER + str(order))
        return events[-1].position if events else 0

    async def work(connection: WriteConnection) -> int:
        signed = _signed(archive, shop, size)
        if order is not None:
            return await bundle.export_order(connection, shop, order, signed, into)
        assert since is not None
        assert until is not None
        return await bundle.export_range(connection, shop, since, until, signed, into)

    with database(settings()) as url, _failures_in_words():
        if size is None:
            last = connected(url, last_of_order) if order is not None else until or 0
            newest = archive.newest(shop)
            if newest is None or newest.checkpoint.size < last:
                make_checkpoint(url, shop, archive, whole=False)
        count = connected(url, work)
    if as_json:
        print_json({"file": str(into), "events": count, "size": _signed(archive, shop, size).checkpoint.size})
    else:
        out.print(f"{count:,} events in {into}. Check it with: shiplock audit check-bundle {into}", soft_wrap=True)


@app.command("check-bundle")
def check_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A bundle.")],
    keys: Annotated[
        list[str] | None, typer.Option("--key", metavar="KEY", help="A verifier key you trust; may be given again.")
    ] = None,
    handovers: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="The operator's keys (GET …/audit/keys, or audit keys --json): trust those that yours leads to.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a bundle with nothing but the file: no database, no network; status 1 if it does not hold."""
    try:
        trusted = [VerifierKey.parse(key) for key in keys or ()]
    except BadNote as error:
        raise typer.BadParameter(f"--key: {error}") from None
    if handovers:
        notes = _handovers(handovers)
        if not trusted:
            raise typer.BadParameter("--handovers lead on from a key that you trust; say it with --key")
        trusted = [each for key in trusted for each in followed(key, notes)]
    try:
        with file.open("rb") as given:
            checked = bundle.check(given, trusted)
            given.seek(0)
            events = [event for event, _ in zip(bundle.events(given), range(MOST_SHOWN), strict=False)]
    except (BadBundle, OSError) as error:
        if as_json:
            print_json({"holds": False, "detail": str(error)})
        raise CommandFailed(f"{file} proves nothing: {error}") from None
    if as_json:
        print_json({"holds": True} | msgspec.structs.asdict(checked))
        return
    what = (
        f"order {checked.order_sn}"
        if checked.order_sn
        else f"positions {checked.from_position} to {checked.to_position}"
    )
    out.print(f"The bundle holds: {checked.events:,} events of {what} of shop {checked.shop_id}.")
    table = Table("position", "version", "type", "occurred", "recorded")
    for event in events:
        row = (str(event.position), str(event.version), event.type)
        table.add_row(*row, shown(event.occurred_at), shown(event.recorded_at))
    out.print(table)
    if checked.events > len(events):
        out.print(f"... and {checked.events - len(events):,} more")
    out.print(f"All are in the checkpoint of {checked.checkpoint_size:,} events, signed by")
    out.print(checked.key, soft_wrap=True)
    if checked.order_sn:
        out.print("They are the order's first; whether it has later ones, only a range of positions can show.")
    if not checked.key_trusted:
        out.print(
            "The key is the one in the bundle, taken on trust. Compare it with the one you were given by "
            "other means, or say it with --key.",
            style="yellow",
        )


def _handovers(file: Path) -> list[str]:
    try:
        keys = msgspec.json.decode(file.read_bytes(), type=_Keys).items
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise typer.BadParameter(
            f"--handovers: {file} has no keys as `audit keys --json` tells them: {error}"
        ) from None
    return [key.handover for key in keys if key.handover]


@app.command("keys")
def list_keys(shop: ShopArgument, as_json: Json = False) -> None:
    """The public keys of a shop's checkpoints, and the sizes that each has signed."""
    with _failures_in_words():
        keys = Archive.of(settings()).history(shop)
    print_items(
        keys,
        ("verifier key", lambda key: key.verifier_key),
        ("first size", lambda key: str(key.from_size or "-")),
        ("last size", lambda key: str(key.until_size or "-")),
        ("", lambda key: "signs now" if key.current else ""),
        as_json=as_json,
    )


@app.command("rotate-key")
def rotate_key(
    lost: Annotated[
        bool, typer.Option("--lost", help="The present private key is gone and can't hand over.")
    ] = False,
) -> None:
    """Sign with a new key from now on; what older ones signed stays verifiable."""
    with _failures_in_words():
        key = Archive.of(settings()).keys.rotate(lost=lost)
    err.print(f"Key {key.number} signs from now on. Tell those who check you: shiplock audit keys SHOP")


# ---- shared -----------------------------------------------------------------------------------------


@contextmanager
def _failures_in_words() -> Iterator[None]:
    """What stands in the way is a failure that says why."""
    try:
        yield
    except (LogDiffers, BadKey, CannotBundle, Died) as error:
        raise CommandFailed(str(error)) from error
    except psycopg.DataError as error:
        raise CommandFailed(
            f"The log has what can't be read; look with: shiplock audit verify --all ({error})"
        ) from error
    except OSError as error:
        raise CommandFailed(f"{error.filename or 'A file'}: {error.strerror or error}") from error


@contextmanager
def _progress(what: str) -> Iterator[OnProgress]:
    with progress("recomputing", done_of_total(what)) as on_progress:
        yield on_progress


def _shops(url: str, archive: Archive, shop: str | None, everything: bool) -> list[str]:
    if (shop is None) != everything:
        raise typer.BadParameter("name a shop, or say --all")
    if shop is None:
        return shops_to_sign(url, archive)
    with psycopg.connect(url) as connection:
        row = connection.execute(_HAS_LOG, {"shop": shop}).fetchone()
    if not (row and row[0]) and not archive.checkpoints.of(shop):
        raise CommandFailed(f"Shop {shop} has neither a log nor a checkpoint; is that its id?")
    return [shop]


def _signed(archive: Archive, shop: str, size: int | None) -> Signed:
    signed = archive.newest(shop, size)
    if signed is None:
        which = f"checkpoint of size {size}" if size else "checkpoint"
        raise CommandFailed(f"Shop {shop} has no {which}; make one with: shiplock audit checkpoint {shop}")
    return signed
