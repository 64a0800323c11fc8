"""Making checkpoints: the size and root of a log now, signed, if the log still begins with the last checkpoint's.

A log that was tampered with gets no more checkpoints.
"""

import asyncio
from typing import NamedTuple

from infrastructure.audit import checkpoint, note, proving, tiles
from infrastructure.audit.archive import Archive, LogDiffers
from infrastructure.audit.checkpoint import Checkpoint, Signed
from infrastructure.audit.merkle import Growing
from infrastructure.audit.recomputing import Run, connect
from infrastructure.audit.segment import SEGMENT_EVENTS, micros
from infrastructure.audit.verification import OTHER_TIME, OnProgress, verify
from infrastructure.database.pool import WriteConnection

WHOLE_UP_TO = 100_000
"""A log with no more events is recomputed as a whole for every checkpoint. It takes a fraction of a second."""


class Made(NamedTuple):
    """A shop's newest checkpoint, and whether this call made it."""

    signed: Signed
    new: bool


def make_checkpoint(
    url: str,
    shop_id: str,
    archive: Archive,
    *,
    whole: bool,
    on_progress: OnProgress = lambda done, total: None,
) -> Made | None:
    """Sign a shop's log as it is now; ``None`` for a shop without events. Raises ``LogDiffers`` and ``BadKey``.

    With ``whole`` every event is recomputed first. Without it, in a large log, only the events since the last
    checkpoint are; the tree before them comes from the tiles and must have that checkpoint's root. An older event
    that was changed is then left for ``verify`` to notice.
    """
    if not archive.checkpoints.accepts(shop_id):
        raise LogDiffers(
            f"{shop_id!r} is no id that a shop can have: its events were not recorded by this program."
        )
    keys = archive.keys
    key = archive.signer()
    last = archive.newest(shop_id)
    small = last is None or last.checkpoint.size <= WHOLE_UP_TO
    if whole or small or last is None:
        size, root = _whole(url, shop_id, archive, on_progress)
    else:
        size, root = _since(url, shop_id, last.checkpoint)
    if last and last.checkpoint.size == size:
        return Made(last, new=False)
    if not size:
        return None
    origin = keys.origin(shop_id)
    text = note.sign(Checkpoint(origin, size, root).text(), origin, key)
    signed = checkpoint.opened(text, keys.verifiers(shop_id))
    try:
        archive.checkpoints.add(shop_id, signed)
    except FileExistsError as error:
        raise LogDiffers(f"There is another checkpoint {size} of shop {shop_id}, and it says otherwise.") from error
    asyncio.run(_extend(url, shop_id, size))
    return Made(signed, new=True)


def shops_to_sign(url: str, archive: Archive) -> list[str]:
    """Every shop that has a log or a checkpoint."""
    with connect(url) as connection:
        logs = connection.execute("SELECT shop_id FROM shop_log UNION SELECT shop_id FROM event").fetchall()
    return sorted({each for (each,) in logs} | set(archive.checkpoints.shops()))


def _whole(url: str, shop_id: str, archive: Archive, on_progress: OnProgress) -> tuple[int, bytes]:
    (verified,) = verify(url, [shop_id], archive, on_progress=on_progress)
    if verified.problems or verified.root is None:
        first = verified.problems[0]
        where = f"checkpoint {first.checkpoint}" if first.position is None else f"position {first.position}"
        raise LogDiffers(f"The log of shop {shop_id} was tampered with; {where}: {first.detail}.")
    return verified.events, bytes.fromhex(verified.root)


def _since(url: str, shop_id: str, last: Checkpoint) -> tuple[int, bytes]:
    """The log's size and root, from the tiles and the events since the last checkpoint."""
    start = last.size // SEGMENT_EVENTS * SEGMENT_EVENTS
    with connect(url) as connection:
        row = connection.execute(
            "SELECT position, timestamptz_send(recorded_at) FROM shop_log WHERE shop_id = %s", (shop_id,)
        ).fetchone()
        head: int = row[0] if row else 0
        if head < last.size:
            raise LogDiffers(f"Checkpoint {last.size} of shop {shop_id} is larger than its log, which has {head}.")
        segments = [part.segment for part in Run(shop_id, start, head, [last.size]).segments(connection)]
    for segment in segments:
        if segment.findings:
            position, detail, _ = segment.findings[0]
            raise LogDiffers(f"The log of shop {shop_id} was tampered with; position {position}: {detail}.")
    if row and segments and segments[-1].recorded[1] != micros(row[1]):
        raise LogDiffers(f"The log of shop {shop_id} was tampered with; position {head}: {OTHER_TIME}.")
    for renewed in (False, True):
        tree = asyncio.run(_tree_of(url, shop_id, start, last, renewed=renewed))
        matches = last.size == start and tree.root() == last.root
        for segment in segments:
            matches = matches or any(_with(tree.copy(), cut).root() == last.root for cut in segment.cuts.values())
            tree = _with(tree, segment.nodes)
        if matches:
            return head, tree.root()
    raise LogDiffers(f"Checkpoint {last.size} of shop {shop_id} no longer holds: what it covers was changed.")


def _with(tree: Growing, nodes: list[tuple[int, bytes]]) -> Growing:
    for level, node in nodes:
        tree.append(node, level)
    return tree


async def _tree_of(url: str, shop_id: str, size: int, last: Checkpoint, *, renewed: bool) -> Growing:
    async with await WriteConnection.connect(url, autocommit=True) as connection:
        if renewed:
            try:
                await tiles.renew(connection, shop_id, size)
            except tiles.Incomplete as error:
                raise LogDiffers(f"Not all {size} events before are there: {error}.") from error
        return await proving.tree_of(connection, shop_id, size, last)


async def _extend(url: str, shop_id: str, size: int) -> None:
    async with await WriteConnection.connect(url, autocommit=True) as connection:
        await tiles.extend(connection, shop_id, size)
