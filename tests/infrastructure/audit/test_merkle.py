"""The Merkle tree: the test vectors of Certificate Transparency, and laws for trees of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.audit import merkle
from infrastructure.log.canonical import leaf_hash

ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 9162, section 2.1.1, literally."""
    if not leaves:
        return merkle.EMPTY
    if len(leaves) == 1:
        return leaves[0]
    k = merkle.split(len(leaves))
    return merkle.parent(root(leaves[:k]), root(leaves[k:]))


def proof_of(ranges: list[merkle.Range], leaves: list[bytes]) -> list[bytes]:
    rows = merkle.levels(leaves)
    return merkle.proof(ranges, lambda node: rows[node[0]][node[1]])


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % n) for n in range(count)]


def test_roots_are_the_published_ones() -> None:
    grown = merkle.Growing()
    for size, expected in enumerate(ROOTS):
        assert root(LEAVES[:size]).hex() == expected
        assert grown.root().hex() == expected
        if size < len(LEAVES):
            grown.append(LEAVES[size])


@pytest.mark.parametrize(("place", "expected"), INCLUSION.items())
def test_inclusion_proofs_are_the_published_ones(place: tuple[int, int], expected: list[str]) -> None:
    index, size = place
    proof = proof_of(merkle.inclusion(index, size), LEAVES[:size])
    assert [node.hex() for node in proof] == expected
    assert merkle.included(LEAVES[index], index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("sizes", "expected"), CONSISTENCY.items())
def test_consistency_proofs_are_the_published_ones(sizes: tuple[int, int], expected: list[str]) -> None:
    old, new = sizes
    proof = proof_of(merkle.consistency(old, new), LEAVES[:new])
    assert [node.hex() for node in proof] == expected
    assert merkle.consistent(old, bytes.fromhex(ROOTS[old]), new, bytes.fromhex(ROOTS[new]), proof)


SIZES = st.integers(1, 300)


@given(st.data(), SIZES)
def test_every_leaf_is_proven_and_only_at_its_index(data: st.DataObject, size: int) -> None:
    tree = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    proof = proof_of(merkle.inclusion(index, size), tree)
    assert merkle.included(tree[index], index, size, proof, root(tree))

    another = data.draw(st.integers(-1, size + 3).filter(lambda n: n != index))
    assert not merkle.included(tree[index], another, size, proof, root(tree))
    assert not merkle.included(leaf_hash(b"another"), index, size, proof, root(tree))
    assert not merkle.included(tree[index], index, size, proof, root([*tree, leaf_hash(b"another")]))
    assert not merkle.included(tree[index], index, size, [*proof, tree[0]], root(tree))
    for n in range(len(proof)):
        assert not merkle.included(tree[index], index, size, proof[:n] + proof[n + 1 :], root(tree))
        wrong = [*proof[:n], leaf_hash(b"wrong"), *proof[n + 1 :]]
        assert not merkle.included(tree[index], index, size, wrong, root(tree))


@given(st.data(), SIZES)
def test_a_tree_is_proven_to_begin_with_an_older_one_and_no_other(data: st.DataObject, new: int) -> None:
    tree = leaves(new)
    old = data.draw(st.integers(0, new))
    proof = proof_of(merkle.consistency(old, new), tree)
    before, after = root(tree[:old]), root(tree)
    assert merkle.consistent(old, before, new, after, proof)

    rewritten = [leaf_hash(b"another"), *tree[1:]]
    if old:
        assert not merkle.consistent(old, root(rewritten[:old]), new, after, proof)
        assert not merkle.consistent(
            old, before, new, root(rewritten), proof_of(merkle.consistency(old, new), rewritten)
        )
    assert not merkle.consistent(old, before, new, after, [*proof, before])
    for n in range(len(proof)):
        assert not merkle.consistent(old, before, new, after, proof[:n] + proof[n + 1 :])
        wrong = [*proof[:n], leaf_hash(b"wrong"), *proof[n + 1 :]]
        assert not merkle.consistent(old, before, new, after, wrong)
    assert not merkle.consistent(new + 1, before, new, after, proof)


@given(st.lists(st.integers(0, 90), max_size=6))
def test_a_tree_that_grew_in_steps_is_the_tree_of_all_leaves(steps: list[int]) -> None:
    tree = leaves(sum(steps))
    rows = merkle.levels(tree)
    grown = merkle.Growing()
    for step in steps:
        for level, number in merkle.complete((grown.size, grown.size + step)):
            grown.append(rows[level][number], level)
        assert grown.root() == root(tree[: grown.size]) == grown.copy().root()


def test_indexes_and_sizes_outside_a_tree_are_refused() -> None:
    with pytest.raises(ValueError, match="no leaf 3"):
        merkle.inclusion(3, 3)
    with pytest.raises(ValueError, match="can't begin with one of 4"):
        merkle.consistency(4, 3)
    with pytest.raises(ValueError, match="level 1 can't begin at leaf 1"):
        merkle.Growing(1, LEAVES[:1]).append(LEAVES[1], 1)
