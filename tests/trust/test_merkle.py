"""The Merkle tree against the vectors of Certificate Transparency and a slow, obvious model."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import LogProofError
from trust.transparency.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    grown,
    inclusion_proof,
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)

VECTORS = (
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    (
        "606162636465666768696a6b6c6d6e6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
)
"""Entries in hex, and the root once each is in: Certificate Transparency's reference tree."""


class Tree:
    """A tree in memory, grown entry by entry."""

    def __init__(self, *entries: bytes) -> None:
        self.stored: dict[tuple[int, int], bytes] = {}
        self.leaves: list[bytes] = []
        for entry in entries:
            for level, offset, hashed in grown(self.node, len(self.leaves), leaf_hash(entry)):
                assert (level, offset) not in self.stored
                self.stored[level, offset] = hashed
            self.leaves.append(leaf_hash(entry))

    def node(self, level: int, offset: int) -> bytes:
        return self.stored[level, offset]


def slow_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\1" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


def numbered(count: int) -> Tree:
    return Tree(*(str(number).encode() for number in range(count)))


def test_the_reference_tree() -> None:
    tree = Tree(*(bytes.fromhex(entry) for entry, _ in VECTORS))
    for size, (_, root) in enumerate(VECTORS, start=1):
        assert root_hash(tree.node, size).hex() == root
    assert root_hash(tree.node, 0) == EMPTY_ROOT


@given(st.integers(1, 130))
def test_the_root_is_the_definitions(size: int) -> None:
    tree = numbered(size)
    for part in (size, size // 2):
        assert root_hash(tree.node, part) == slow_root(tree.leaves[:part])


@given(st.data())
def test_every_entry_is_proven_and_only_where_it_is(data: st.DataObject) -> None:
    tree = numbered(data.draw(st.integers(1, 130)))
    size = data.draw(st.integers(1, len(tree.leaves)))
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(tree.node, index, size), root_hash(tree.node, size)
    assert len(proof) <= size.bit_length()
    verify_inclusion(tree.leaves[index], index, size, proof, root)
    other = data.draw(st.integers(0, size - 1).filter(lambda value: value != index) | st.none())
    if other is not None:
        with pytest.raises(LogProofError):
            verify_inclusion(tree.leaves[other], index, size, proof, root)
        with pytest.raises(LogProofError):
            verify_inclusion(tree.leaves[index], other, size, proof, root)
    with pytest.raises(LogProofError):
        verify_inclusion(tree.leaves[index], index, size, [*proof, root], root)


@given(st.data())
def test_a_log_that_grew_is_consistent(data: st.DataObject) -> None:
    tree = numbered(data.draw(st.integers(1, 130)))
    new = data.draw(st.integers(0, len(tree.leaves)))
    old = data.draw(st.integers(0, new))
    roots = root_hash(tree.node, old), root_hash(tree.node, new)
    proof = consistency_proof(tree.node, old, new)
    verify_consistency(old, new, *roots, proof)
    if proof:
        flipped = [bytes([proof[0][0] ^ 1]) + proof[0][1:], *proof[1:]]
        with pytest.raises(LogProofError, match="rewritten"):
            verify_consistency(old, new, *roots, flipped)
        with pytest.raises(LogProofError):
            verify_consistency(old, new, *roots, proof[:-1])


@given(st.integers(2, 60), st.data())
def test_a_rewritten_log_shows(size: int, data: st.DataObject) -> None:
    honest = numbered(size)
    changed = data.draw(st.integers(0, size - 2))
    entries = [str(number).encode() for number in range(size)]
    entries[changed] = b"forged"
    forged = Tree(*entries)
    old = data.draw(st.integers(changed + 1, size - 1))
    proof = consistency_proof(forged.node, old, size)
    with pytest.raises(LogProofError):
        verify_consistency(
            old, size, root_hash(honest.node, old), root_hash(forged.node, size), proof
        )


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    tree = numbered(3)
    with pytest.raises(LogProofError):
        inclusion_proof(tree.node, index, size)
    with pytest.raises(LogProofError):
        verify_inclusion(b"\0" * 32, index, size, [], EMPTY_ROOT)


def test_a_log_does_not_shrink() -> None:
    with pytest.raises(LogProofError, match="3 entries and has 2"):
        verify_consistency(3, 2, EMPTY_ROOT, EMPTY_ROOT, [])
    with pytest.raises(LogProofError):
        consistency_proof(numbered(3).node, 3, 2)


def test_a_proof_holds_hashes_and_nothing_else() -> None:
    tree = numbered(3)
    with pytest.raises(LogProofError, match="no SHA-256"):
        verify_inclusion(tree.leaves[0], 0, 3, [b"short"], root_hash(tree.node, 3))
