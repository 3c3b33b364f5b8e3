"""The Merkle tree of RFC 6962 (section 2.1): append, prove, verify, each in O(log n).

A node is (level, offset): leaf i is (0, i), and (l, i) covers the 2**l leaves from i * 2**l.
Only complete nodes are stored; what hangs over the right edge is computed when it is asked for. The
tree lives wherever ``Nodes`` reads it from; nothing here keeps state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from trust.errors import LogProofError

EMPTY_ROOT: Final = hashlib.sha256().digest()
"""The root of a tree without leaves."""

Nodes = Callable[[int, int], bytes]
"""Reads the hash of a complete node: ``nodes(level, offset)`` gives 32 bytes."""


class Node(NamedTuple):
    """A complete node to store: the hash is 32 bytes."""

    level: int
    offset: int
    hash: bytes


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry; its prefix keeps a leaf from passing for an inner node."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\1" + left + right).digest()


def grown(nodes: Nodes, size: int, leaf: bytes) -> list[Node]:
    """The nodes that a tree of ``size`` leaves gains with one more, the leaf itself first."""
    new = [Node(0, size, leaf)]
    while new[-1].offset % 2:
        level, offset, right = new[-1]
        new.append(Node(level + 1, offset // 2, node_hash(nodes(level, offset - 1), right)))
    return new


def root_hash(nodes: Nodes, size: int) -> bytes:
    """The root over the first ``size`` leaves."""
    return _range_hash(nodes, 0, size) if size else EMPTY_ROOT


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """The audit path of leaf ``index`` in the tree of ``size`` leaves (RFC 6962, 2.1.1).

    Raises:
        LogProofError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise LogProofError(f"a log of {size} entries has no entry {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_hash(nodes, middle, end))
            end = middle
        else:
            path.append(_range_hash(nodes, start, middle))
            start = middle
    return path[::-1]


def consistency_proof(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """The proof that the tree of ``old`` leaves begins the tree of ``new`` (RFC 6962, 2.1.2).

    Raises:
        LogProofError: not 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise LogProofError(f"a log of {new} entries cannot go on from {old}")
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range_hash(nodes, middle, end))
            end = middle
        else:
            path.append(_range_hash(nodes, start, middle))
            start, whole = middle, False
    if not whole:
        path.append(_range_hash(nodes, start, end))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Return if ``proof`` shows the leaf hash ``leaf`` at ``index`` under ``root``.

    Raises:
        LogProofError: it does not.
    """
    if not 0 <= index < size:
        raise LogProofError(f"a log of {size} entries has no entry {index}")
    hashed, last = leaf, size - 1
    rest = _hashes(proof)
    while last:
        if index % 2 or index == last:
            hashed = node_hash(next(rest, b""), hashed)
            while not index % 2 and index:
                index, last = index // 2, last // 2
        else:
            hashed = node_hash(hashed, next(rest, b""))
        index, last = index // 2, last // 2
    if next(rest, None) is not None or hashed != root:
        raise LogProofError(
            "the entry is not in the log that was signed",
            fix="keep the answer as evidence: the log was rewritten, or the answer forged",
        )


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if ``proof`` shows that the log only grew from ``old`` to ``new`` entries.

    RFC 9162, 2.1.4.2 gives the algorithm.

    Raises:
        LogProofError: it does not: entries were changed, removed or put in between.
    """
    if not 0 <= old <= new:
        raise _rewritten(f"it had {old} entries and has {new} now")
    if old in (0, new):
        same = old_root == (EMPTY_ROOT if old == 0 else new_root)
        if proof or not same:
            raise _rewritten("the roots differ")
        return
    rest = _hashes(proof)
    index, last = old - 1, new - 1
    while index % 2:
        index, last = index // 2, last // 2
    first = old_root if not index else next(rest, b"")
    before = after = first
    while last:
        if index % 2 or index == last:
            sibling = next(rest, b"")
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not index % 2 and index:
                index, last = index // 2, last // 2
        else:
            after = node_hash(after, next(rest, b""))
        index, last = index // 2, last // 2
    if next(rest, None) is not None or before != old_root or after != new_root:
        raise _rewritten("the earlier log is no beginning of it")


def _range_hash(nodes: Nodes, start: int, end: int) -> bytes:
    """The hash over leaves ``start`` to ``end``; ``start`` is a multiple of the split size."""
    parts: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        parts.append(nodes(level, start >> level))
        start += 1 << level
    hashed = parts.pop()
    while parts:
        hashed = node_hash(parts.pop(), hashed)
    return hashed


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def _hashes(proof: Sequence[bytes]) -> Iterator[bytes]:
    for hashed in proof:
        if len(hashed) != 32:
            raise LogProofError("a proof holds something that is no SHA-256")
        yield hashed


def _rewritten(why: str) -> LogProofError:
    return LogProofError(
        f"the log was rewritten: {why}",
        fix="keep both signed heads as evidence, and ask whoever runs the registry",
    )
