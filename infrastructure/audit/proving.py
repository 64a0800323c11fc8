"""Proofs for others: that a signed checkpoint covers an event, and that a newer checkpoint extends an older one.

Every proof is checked before it is handed out.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec

from infrastructure.audit import merkle, tiles
from infrastructure.audit.archive import LogDiffers
from infrastructure.audit.checkpoint import Checkpoint, Signed
from infrastructure.audit.merkle import Node, Range
from infrastructure.database.pool import WriteConnection

T = TypeVar("T")

PROOF_FORMAT = "c2sp.org/tlog-proof@v1"


class InclusionProof(msgspec.Struct, frozen=True):
    """Proves that a checkpoint covers an event. ``proof`` has the hashes from the leaf's sibling up, in base64.

    ``leaf_index`` is the position less one. ``leaf_hash`` is in hexadecimal, as in the order's history.
    """

    shop_id: str
    position: int
    leaf_index: int
    leaf_hash: str
    size: int
    proof: list[bytes]
    checkpoint: str

    def text(self) -> str:
        """The proof in C2SP's text format (https://c2sp.org/tlog-proof)."""
        hashes = "".join(msgspec.json.decode(msgspec.json.encode(node)) + "\n" for node in self.proof)
        return f"{PROOF_FORMAT}\nindex {self.leaf_index}\n{hashes}\n{self.checkpoint}"


class ConsistencyProof(msgspec.Struct, frozen=True):
    """Proves that a checkpoint's log begins with that of an older one. ``proof`` has the hashes in base64."""

    shop_id: str
    from_size: int
    to_size: int
    proof: list[bytes]
    from_checkpoint: str
    to_checkpoint: str


async def prove_inclusion(
    connection: WriteConnection, shop_id: str, positions: Sequence[int], signed: Signed
) -> list[InclusionProof]:
    """Prove that a checkpoint covers these events. No position exceeds its size. Raises ``LogDiffers``."""
    size, root = signed.checkpoint.size, signed.checkpoint.root
    paths = {position: merkle.inclusion(position - 1, size) for position in positions}
    nodes = [(0, position - 1) for position in positions]

    async def prove() -> list[InclusionProof]:
        known = await _read(connection, shop_id, [leaves for path in paths.values() for leaves in path], nodes)
        proofs = []
        for position, path in paths.items():
            leaf, proof = known[0, position - 1], merkle.proof(path, known.__getitem__)
            if not merkle.included(leaf, position - 1, size, proof, root):
                raise LogDiffers(f"The event at position {position} is not the one that checkpoint {size} covers.")
            proofs.append(InclusionProof(shop_id, position, position - 1, leaf.hex(), size, proof, signed.note))
        return proofs

    return await _with_tiles(connection, shop_id, signed.checkpoint, prove)


async def prove_consistency(
    connection: WriteConnection, shop_id: str, older: Signed, newer: Signed
) -> ConsistencyProof:
    """Prove that the newer checkpoint's log begins with the older one's. Raises ``LogDiffers``."""
    old, new = older.checkpoint, newer.checkpoint
    path = merkle.consistency(old.size, new.size)

    async def prove() -> ConsistencyProof:
        proof = merkle.proof(path, (await _read(connection, shop_id, path)).__getitem__)
        if not merkle.consistent(old.size, old.root, new.size, new.root, proof):
            raise LogDiffers(f"The log does not lead from checkpoint {old.size} to checkpoint {new.size}.")
        return ConsistencyProof(shop_id, old.size, new.size, proof, older.note, newer.note)

    return await _with_tiles(connection, shop_id, new, prove)


async def tree_of(connection: WriteConnection, shop_id: str, size: int, checkpoint: Checkpoint) -> merkle.Growing:
    """The tree of the first ``size`` events, made from tiles. The checkpoint must cover them all.

    Raises ``LogDiffers`` if events are missing; whether the tree has the right root is for the caller to check.
    """
    nodes = merkle.complete((0, size))

    async def read() -> merkle.Growing:
        known = await _read(connection, shop_id, [(0, size)] if size else [])
        return merkle.Growing(size, [known[node] for node in nodes])

    return await _with_tiles(connection, shop_id, checkpoint, read)


async def _read(
    connection: WriteConnection, shop_id: str, ranges: Sequence[Range], nodes: Sequence[Node] = ()
) -> dict[Node, bytes]:
    subtrees = [*nodes, *(node for leaves in ranges for node in merkle.complete(leaves))]
    return await tiles.read(connection, shop_id, subtrees)


async def _with_tiles(
    connection: WriteConnection, shop_id: str, checkpoint: Checkpoint, work: Callable[[], Awaitable[T]]
) -> T:
    """Do work that reads tiles. If it fails, add the missing tiles and retry; then renew all tiles and retry."""
    size = checkpoint.size
    for repair in (tiles.extend, tiles.renew):
        with suppress(tiles.Incomplete, LogDiffers):
            return await work()
        with suppress(tiles.Incomplete):
            await repair(connection, shop_id, size)
    try:
        return await work()
    except tiles.Incomplete as error:
        raise LogDiffers(f"Not all {size} events of checkpoint {size} are there: {error}.") from error
