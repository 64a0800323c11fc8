"""The Merkle tree of RFC 9162, section 2.1: roots, proofs, and the check of a proof.

Leaf n of a log's tree is the leaf hash of the event at position n + 1. A complete subtree has a level and a number:
``(level, number)`` covers ``2 ** level`` leaves from leaf ``number * 2 ** level`` on. A proof is described by
ranges of leaves, so that the hashes of complete subtrees are enough to make one.

The existing package (pymerkle) keeps the entries of a tree itself and is under the GPL. We keep the hashes in a
table, and this file is all that we need besides.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

_sha256 = hashlib.sha256

EMPTY = _sha256().digest()
"""The root of a tree without leaves."""

HASH_BYTES = 32

_begun_node = _sha256(b"\x01").copy
"""The started hash of an inner node. To continue a copy of it takes two thirds of the time of a new hash."""

Node = tuple[int, int]
"""A complete subtree: its level, and its number among the subtrees of that level."""

Range = tuple[int, int]
"""Leaves: the first, and the one after the last."""


def parent(left: bytes, right: bytes) -> bytes:
    node = _begun_node()
    node.update(left + right)
    return node.digest()


def split(size: int) -> int:
    """How many leaves the left part of a tree has: the largest power of two below its size."""
    return 1 << (size - 1).bit_length() - 1


def complete(leaves: Range) -> list[Node]:
    """The largest complete subtrees that make up a range of leaves, from left to right."""
    start, end = leaves
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def joined(hashes: Sequence[bytes]) -> bytes:
    """The root over complete subtrees, from left to right, each smaller than the one before."""
    *rest, root = hashes or (EMPTY,)
    for left in reversed(rest):
        root = parent(left, root)
    return root


def levels(leaves: Sequence[bytes]) -> list[Sequence[bytes]]:
    """The hashes of all complete subtrees over some leaves, level by level, the leaves first."""
    rows, new_node = [leaves], _begun_node
    while len(row := rows[-1]) > 1:
        above = []
        for left, right in zip(row[::2], row[1::2], strict=False):
            node = new_node()
            node.update(left + right)
            above.append(node.digest())
        rows.append(above)
    return rows


class Growing:
    """A tree that grows to the right. It keeps only its peaks: the complete subtrees that it consists of."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self._peaks = [(level, peak) for (level, _), peak in zip(complete((0, size)), peaks, strict=True)]

    def append(self, node: bytes, level: int = 0) -> None:
        """Add a complete subtree of that level on the right."""
        if self.size % (1 << level):
            raise ValueError(f"a subtree of level {level} can't begin at leaf {self.size}")
        self.size += 1 << level
        while self._peaks and self._peaks[-1][0] == level:
            node = parent(self._peaks.pop()[1], node)
            level += 1
        self._peaks.append((level, node))

    def copy(self) -> "Growing":
        return Growing(self.size, (peak for _, peak in self._peaks))

    def root(self) -> bytes:
        return joined([peak for _, peak in self._peaks])


# ---- proofs -----------------------------------------------------------------------------------------


def inclusion(index: int, size: int) -> list[Range]:
    """The ranges of leaves whose roots prove that a leaf is in a tree, from the leaf up to the root."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} has no leaf {index}")
    path: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def consistency(old: int, new: int) -> list[Range]:
    """The ranges of leaves whose roots prove that a tree of size ``new`` begins with one of size ``old``."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} can't begin with one of {old}")
    path: list[Range] = []
    start, end = 0, new
    while old and old != end:
        middle = start + split(end - start)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    if start:
        path.append((start, end))
    return path[::-1]


def proof(ranges: Iterable[Range], hash_of: Callable[[Node], bytes]) -> list[bytes]:
    """The hashes of a proof, made of the hashes of complete subtrees."""
    return [joined([hash_of(node) for node in complete(leaves)]) for leaves in ranges]


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that a leaf is in the tree of this size and root (section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    number, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if number & 1 or number == last:
            node = parent(sibling, node)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            node = parent(node, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and node == root


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether a proof shows that the larger tree begins with the smaller one (section 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old == 0:
        return not path and old_root == EMPTY
    if old == new:
        return not path and old_root == new_root
    first, *rest = [old_root, *path] if old & (old - 1) == 0 else list(path) or [b""]
    number, last = old - 1, new - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    before = after = first
    for node in rest:
        if last == 0:
            return False
        if number & 1 or number == last:
            before, after = parent(node, before), parent(node, after)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            after = parent(after, node)
        number, last = number >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root
